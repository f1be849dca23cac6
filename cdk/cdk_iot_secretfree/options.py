"""Options of the construct: enumerations and frozen records, checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aws_cdk import Duration

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import require_match, require_whole_days


class KeyAlgorithm(StrEnum):
    """The key of a certificate authority (AWS Private CA, `CreateCertificateAuthority`)."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    EC_P256 = "EC_prime256v1"
    EC_P384 = "EC_secp384r1"
    EC_P521 = "EC_secp521r1"

    @property
    def signing_algorithm(self) -> str:
        """The signing algorithm that fits the CA's key. The devices' keys do not matter."""
        return _SIGNING_ALGORITHMS[self]


class UsageMode(StrEnum):
    """The certificates that a Private CA may issue. It determines the CA's price."""

    GENERAL_PURPOSE = "GENERAL_PURPOSE"
    SHORT_LIVED_CERTIFICATE = "SHORT_LIVED_CERTIFICATE"
    """Certificates of at most seven days, at a lower monthly price, without CRL or OCSP."""


class Retirement(StrEnum):
    """When a renewal's old certificate is retired. If the renewal changes the key, that happens at once."""

    ON_CONNECT = "on-connect"
    """When the device connects with the new one, by AWS IoT Core's connect events. Each connect is charged."""

    AT_END = "at-end"
    """At the old certificate's own end. This is free, but the device has two valid certificates until then."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class CertificateSubject:
    """Further parts of every device certificate's subject; the CN is the device id. The requester chooses none.

    Args:
        organization: up to 64 characters (RFC 5280, ub-organization-name).
        organizational_unit: up to 64 characters.
        country: two capital letters (ISO 3166-1 alpha-2).
    """

    organization: str | None = None
    organizational_unit: str | None = None
    country: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Private CA would refuse at every issuance."""
        for argument in ("organization", "organizational_unit"):
            if (value := getattr(self, argument)) is not None:
                require_match(argument, value, _PRINTABLE_64, "1 to 64 printable characters")
        if self.country is not None:
            require_match("country", self.country, "[A-Z]{2}", "two capital letters, as in 'DE'")

    def as_environment(self) -> Mapping[str, str]:
        """The parts that are set, under the names that the runtime reads."""
        parts = {
            "organization": self.organization,
            "organizational_unit": self.organizational_unit,
            "country": self.country,
        }
        return {name: value for name, value in parts.items() if value is not None}


def require_validity_days(argument: str, value: Duration, mode: UsageMode) -> int:
    """Days of a device certificate's validity, within what the CA's usage mode allows."""
    if mode is UsageMode.SHORT_LIVED_CERTIFICATE:
        return require_whole_days(argument, value, 1, 7)
    return require_whole_days(argument, value, 1, 36_500)


_PRINTABLE_64: Final = r"[ -~\u00a1-\uffff]{1,64}"
_SIGNING_ALGORITHMS: Final = {
    KeyAlgorithm.RSA_2048: "SHA256WITHRSA",
    KeyAlgorithm.RSA_3072: "SHA256WITHRSA",
    KeyAlgorithm.RSA_4096: "SHA256WITHRSA",
    KeyAlgorithm.EC_P256: "SHA256WITHECDSA",
    KeyAlgorithm.EC_P384: "SHA384WITHECDSA",
    KeyAlgorithm.EC_P521: "SHA512WITHECDSA",
}
