"""The issuers: each signs certificates at a path of the API. Each kind of issuer has its own module."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import Duration, Stack
from secretfree.contract import ISSUER_NAME_FORM, IssuerKind, IssuerSetting

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.validation import refuse, require_match


@checks_arguments
class Issuer(ABC):
    """A source of certificates with its own path of the API.

    Args:
        name: distinguishes the issuers of a product line, in metrics, the ledger and the construct tree. Never change
            it: the ledger records certificates under this name.
        path: the API's path, without a slash. Devices have it in their firmware.
    """

    def __init__(self, *, name: str, path: str) -> None:
        self._name = require_match("name", name, ISSUER_NAME_FORM, _NAME_FORM, known=True)
        self._path = require_match("path", path, ISSUER_NAME_FORM, _NAME_FORM, known=True)

    @staticmethod
    def private_ca(
        authority: DeviceAuthority,
        *,
        validity: Duration | None = None,
        previous: Sequence[DeviceAuthority] = (),
        name: str = "private-ca",
        path: str = "new",
    ) -> "Issuer":
        """Certificates of your own Private CA.

        Args:
            authority: the CA that signs.
            validity: of a device's certificate, whole days: up to 7 with a short-lived authority (the default there),
                365 by default elsewhere. It must not outlive the authority's own.
            previous: the CAs that signed before `authority`. Their certificates stay valid until the devices renew. A
                device with a certificate of any other CA gets a new certificate at its next request.
            name: as for `Issuer`; a second CA of the product line needs another name.
            path: as for `Issuer`; a second CA of the product line needs another path.

        Raises:
            InvalidArgumentError: for a validity that the authority cannot give, for previous authorities of which only
                some are registered with AWS IoT Core, and for a name or path of another form.
        """
        from cdk_iot_secretfree.issuers.private_ca import PrivateCaIssuer

        return PrivateCaIssuer(authority, validity=validity, previous=previous, name=name, path=path)

    @staticmethod
    def iot_core(*, name: str = "iot-core", path: str = "proto") -> "Issuer":
        """Certificates of AWS IoT Core's own CA, for development: they are valid in one Region only.

        Args:
            name: as for `Issuer`.
            path: as for `Issuer`.
        """
        from cdk_iot_secretfree.issuers.iot_core import IotCoreIssuer

        return IotCoreIssuer(name=name, path=path)

    @property
    def name(self) -> str:
        """Distinguishes the issuers of a product line."""
        return self._name

    @property
    def path(self) -> str:
        """The API's path, without a slash."""
        return self._path

    @property
    def construct_id(self) -> str:
        """Id of the issuer's function in the construct tree: `PrivateCaIssuer` for `private-ca`."""
        return "".join(part.capitalize() for part in self._name.split("-")) + "Issuer"

    @property
    @abstractmethod
    def kind(self) -> IssuerKind:
        """The kind, by which the runtime chooses the issuing code."""

    @property
    def authority(self) -> DeviceAuthority | None:
        """The Private CA that signs, or None."""
        return None

    @property
    def authorities(self) -> Sequence[DeviceAuthority]:
        """The Private CAs whose certificates are valid: the one that signs, then the previous ones."""
        return ()

    @property
    def validity_days(self) -> int | None:
        """The validity of a certificate, or None where the issuer sets it."""
        return None

    @property
    def quota_calls(self) -> Sequence[str]:
        """The AWS operations that issue a certificate. Each has its own quota."""
        return ()

    @property
    def subject_is_ours(self) -> bool:
        """Whether the certificate's subject comes from policy alone. Otherwise the requester may choose parts of it."""
        return True

    def settings(self, stack: Stack) -> Mapping[IssuerSetting, str]:
        """The settings that the runtime reads for this kind, without the kind itself."""
        del stack  # Only kinds whose settings depend on the stack use it.
        return {}

    @abstractmethod
    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function request and register certificates."""

    def grant_sign(self, function: RuntimeFunction) -> None:
        """Let the function request certificates without registering them."""
        del function
        refuse("issuer", self._name, "an issuer that is a Private CA: Issuer.private_ca(...)")

    @abstractmethod
    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper find certificates that were issued and not recorded."""


_NAME_FORM: Final = "1 to 32 of a-z 0-9 -, a letter first, as in 'private-ca-2'"
