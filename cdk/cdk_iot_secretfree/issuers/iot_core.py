"""AWS IoT Core's own CA as an issuer."""

from collections.abc import Sequence

from secretfree.contract import IssuerKind

from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer


class IotCoreIssuer(Issuer):
    """AWS IoT Core's own CA. It may copy the request's subject. Its certificates are valid in one Region."""

    @property
    def kind(self) -> IssuerKind:
        """The kind, by which the runtime chooses the issuing code."""
        return IssuerKind.IOT_CORE

    @property
    def subject_is_ours(self) -> bool:
        """False: the CA accepts no subject from the caller."""
        return False

    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function request certificates. The same call registers them."""
        # The IAM reference gives CreateCertificateFromCsr no resource type.
        function.allow(["iot:CreateCertificateFromCsr"], ["*"])

    @property
    def quota_calls(self) -> Sequence[str]:
        """Signing a certificate, and activating it."""
        return ("CreateCertificateFromCsr", "UpdateCertificate")

    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper list certificates, to find by its key a certificate whose answer was lost."""
        # The IAM reference gives ListCertificates no resource type.
        function.allow(["iot:ListCertificates"], ["*"])
