"""AWS IoT Core's own CA as an issuer."""

from collections.abc import Sequence

from secretfree.contract import IssuerKind

from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer


class IotCoreIssuer(Issuer):
    """AWS IoT Core's own CA. It may copy the request's subject, and issues for one Region."""

    @property
    def kind(self) -> IssuerKind:
        """By which the runtime chooses what issues."""
        return IssuerKind.IOT_CORE

    @property
    def subject_is_ours(self) -> bool:
        """It takes no subject from us."""
        return False

    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function have certificates made; this call registers them, too."""
        # The IAM reference gives CreateCertificateFromCsr no resource type.
        function.allow(["iot:CreateCertificateFromCsr"], ["*"])

    @property
    def quota_calls(self) -> Sequence[str]:
        """Signing, and activating what was signed."""
        return ("CreateCertificateFromCsr", "UpdateCertificate")

    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper list certificates: one whose answer was lost is found by its key."""
        # The IAM reference gives ListCertificates no resource type.
        function.allow(["iot:ListCertificates"], ["*"])
