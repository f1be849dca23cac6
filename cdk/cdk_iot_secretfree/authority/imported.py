"""A Private CA that this stack does not create."""

from constructs import Construct

from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.authority.options import AuthorityKind


class ImportedAuthority(DeviceAuthority):
    """A Private CA that this stack does not create."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        kind: AuthorityKind,
        *,
        authority_arn: str,
        certificate_chain: str | None,
        revision: str | None,
    ) -> None:
        super().__init__(scope, id, kind)
        self._arn = authority_arn
        self._certificate_chain = certificate_chain
        self._given_revision = revision
        self._register()

    @property
    def arn(self) -> str:
        return self._arn

    @property
    def certificate_chain(self) -> str | None:
        return self._certificate_chain

    @property
    def _revision(self) -> str | None:
        return self._given_revision
