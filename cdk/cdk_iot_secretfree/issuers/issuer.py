"""Who signs a device's certificate, and at which path of the API: AWS Private CA at /new, AWS IoT Core at /proto."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from aws_cdk import Annotations, Duration, Stack
from secretfree.contract import IssuerKind, IssuerSetting

from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.options import require_validity_days
from cdk_iot_secretfree.validation import refuse, require_instance


class Issuer(ABC):
    """One way to a certificate. Each appears in the API only if the construct was given it."""

    @staticmethod
    def private_ca(authority: DeviceAuthority, *, validity: Duration | None = None) -> "Issuer":
        """`POST /new`: certificates of your own Private CA.

        Args:
            authority: who signs.
            validity: of a device's certificate, whole days: up to 7 with a short-lived authority (the default there),
                365 by default elsewhere. It must not outlive the authority's own.

        Raises:
            InvalidArgumentError: for a validity that the authority cannot give.
        """
        return PrivateCaIssuer(authority, validity=validity)

    @staticmethod
    def iot_core() -> "Issuer":
        """`POST /proto`: certificates of AWS IoT Core's own CA, for development: they are valid in one Region only."""
        return IotCoreIssuer()

    @property
    @abstractmethod
    def name(self) -> str:
        """What the runtime and the metrics call it."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The API's path, without a slash."""

    @property
    @abstractmethod
    def construct_id(self) -> str:
        """Id of the issuer's function in the construct tree."""

    @property
    def authority(self) -> DeviceAuthority | None:
        """The Private CA, where one signs."""
        return None

    @property
    def validity_days(self) -> int | None:
        """Validity of a certificate, where it can be chosen."""
        return None

    @abstractmethod
    def settings(self, stack: Stack) -> Mapping[IssuerSetting, str]:
        """The issuer's settings for the runtime, its kind among them."""

    @abstractmethod
    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function have certificates made and registered."""

    @abstractmethod
    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper find what an issuer made and did not record."""


class PrivateCaIssuer(Issuer):
    """AWS Private CA, through the template that takes subject and extensions from the API alone."""

    def __init__(self, authority: DeviceAuthority, *, validity: Duration | None = None) -> None:
        require_instance("authority", authority, DeviceAuthority, "a DeviceAuthority")
        self._authority = authority
        default_days = _SHORT_LIVED_DAYS if authority.is_short_lived else _DEFAULT_DAYS
        chosen = Duration.days(default_days) if validity is None else validity
        self._validity_days = require_validity_days("validity", chosen, authority.usage_mode)
        longest = authority.validity_days
        # Private CA refuses a certificate that would outlive its CA, and the CA's own has begun before.
        if longest is not None and self._validity_days >= longest:
            refuse("validity", f"{self._validity_days} days", f"less than the authority's own {longest} days")
        if longest is not None and self._validity_days * 2 > longest:
            Annotations.of(authority).add_warning_v2(
                "cdk-iot-secretfree:authorityHeadroom",
                f"Certificates of {self._validity_days} days of an authority of {longest} days: less than "
                f"{longest - self._validity_days} days after it was made, nothing can be issued with it any more. "
                "Renew it in time, or choose a shorter validity.",
            )

    @property
    def name(self) -> str:
        """What the runtime and the metrics call it."""
        return IssuerKind.PRIVATE_CA.value

    @property
    def path(self) -> str:
        """The API's path, without a slash."""
        return "new"

    @property
    def construct_id(self) -> str:
        """Id of the issuer's function in the construct tree."""
        return "PrivateCaIssuer"

    @property
    def authority(self) -> DeviceAuthority:
        """The Private CA."""
        return self._authority

    @property
    def validity_days(self) -> int:
        """Validity of a certificate."""
        return self._validity_days

    def settings(self, stack: Stack) -> Mapping[IssuerSetting, str]:
        """The issuer's settings for the runtime."""
        return {
            IssuerSetting.KIND: IssuerKind.PRIVATE_CA.value,
            IssuerSetting.AUTHORITY_ARN: self._authority.arn,
            IssuerSetting.SIGNING_ALGORITHM: self._authority.signing_algorithm,
            IssuerSetting.TEMPLATE_ARN: _template_arn(stack),
            IssuerSetting.VALIDITY_DAYS: str(self._validity_days),
            IssuerSetting.REGISTERED: "true" if self._authority.is_registered else "false",
        }

    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function have certificates made from the one template, and register them."""
        self._authority.grant_issue(function.role, template_arn=_template_arn(Stack.of(function)))
        register = "RegisterCertificate" if self._authority.is_registered else "RegisterCertificateWithoutCA"
        # The IAM reference gives either no resource type.
        function.allow([f"iot:{register}"], ["*"])

    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper read what was signed: it may have been registered with IoT Core though its record failed."""
        function.allow(["acm-pca:GetCertificate"], [self._authority.arn])


class IotCoreIssuer(Issuer):
    """AWS IoT Core's own CA."""

    @property
    def name(self) -> str:
        """What the runtime and the metrics call it."""
        return IssuerKind.IOT_CORE.value

    @property
    def path(self) -> str:
        """The API's path, without a slash."""
        return "proto"

    @property
    def construct_id(self) -> str:
        """Id of the issuer's function in the construct tree."""
        return "IotCoreIssuer"

    def settings(self, stack: Stack) -> Mapping[IssuerSetting, str]:  # noqa: ARG002 - nothing depends on the stack
        """The issuer's settings for the runtime."""
        return {IssuerSetting.KIND: IssuerKind.IOT_CORE.value}

    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function have certificates made; this call registers them, too."""
        # The IAM reference gives these two no resource type.
        function.allow(["iot:CreateCertificateFromCsr", "iot:ListCertificates"], ["*"])

    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper list certificates: one whose answer was lost is found by its key."""
        # The IAM reference gives ListCertificates no resource type.
        function.allow(["iot:ListCertificates"], ["*"])


_DEFAULT_DAYS: Final = 365
_SHORT_LIVED_DAYS: Final = 7


def _template_arn(stack: Stack) -> str:
    return f"arn:{stack.partition}:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
