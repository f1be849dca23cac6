"""Choices of the construct that are plain data: enumerations and frozen options, checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_logs as logs
from secretfree.contract import LogLevel

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.bundling.bundle import Bundle
from cdk_iot_secretfree.validation import require_match, require_range, require_seconds, require_whole_days


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
        """The algorithm that fits the key, whatever the devices' keys are."""
        return _SIGNING_ALGORITHMS[self]


class UsageMode(StrEnum):
    """What a Private CA may issue, which is also what it costs."""

    GENERAL_PURPOSE = "GENERAL_PURPOSE"
    SHORT_LIVED_CERTIFICATE = "SHORT_LIVED_CERTIFICATE"
    """Certificates of at most seven days, at a lower monthly price, without CRL or OCSP."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class CertificateSubject:
    """What every device certificate's subject carries beside its CN, the device id. The requester never chooses it.

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


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiDomain:
    """A name of your own for the API. Devices then keep their URL when the API is replaced.

    The default `execute-api` endpoint is switched off, so that there is one door. Point the name at
    `SecretFreeProvisioning.api.domain_name` with an alias record.

    Args:
        name: as in `provisioning.example.com`; part of the devices' URL, so no wildcard.
        certificate: for that name, in the stack's Region.
    """

    name: str
    certificate: acm.ICertificate

    def __post_init__(self) -> None:
        """Refuse what is no host name."""
        form = "a lower-case host name, without a wildcard"
        require_match("name", self.name, r"([a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}", form)


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """The API's settings.

    Args:
        rate_limit: requests a second over all callers. It stands before the authorizer, so it is no measure of the
            devices: set low, a flood of forged requests would keep the good ones out. It bounds what a flood costs;
            what is issued is bounded behind it, by `FunctionOptions.issuer_concurrency` and the ledger. Against
            single sources, attach a web ACL with a rate-based rule to the stage (AWS WAF).
        burst_limit: requests at once above that rate.
        stage_name: the first segment of the default URL's path.
        retry_after: what the API's own 429 and 503 tell the device to wait, whole seconds.
        domain: a name of your own.
        set_account_logging_role: API Gateway writes access logs through one role for each account and Region.
            True makes one (kept when the stack goes); False where your account has it.
    """

    rate_limit: int = 500
    burst_limit: int = 1_000
    stage_name: str = "v1"
    retry_after: Duration = field(default_factory=lambda: Duration.seconds(5))
    domain: ApiDomain | None = None
    set_account_logging_role: bool = True

    def __post_init__(self) -> None:
        """Refuse what API Gateway would refuse at deploy time."""
        require_range("rate_limit", self.rate_limit, 1, 10_000, "requests a second")
        require_range("burst_limit", self.burst_limit, 1, 5_000, "requests")
        require_match("stage_name", self.stage_name, r"[A-Za-z0-9_-]{1,128}", "1 to 128 of A-Z a-z 0-9 _ -", known=True)
        require_seconds("retry_after", self.retry_after, 1, 3_600, "whole seconds, from 1 second to 1 hour")


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class FunctionOptions:
    """How the Lambdas run.

    Args:
        bundle: Python, architecture and target of the code.
        memory_size: of the authorizer and the issuers, MiB; Lambda gives CPU in proportion, and a cold start is CPU.
        authorizer_concurrency: reserved concurrency of the authorizer; None takes from the account's pool.
        issuer_concurrency: reserved concurrency of each issuer; None takes from the account's pool.
        log_retention: of every function and of the API's access log.
        log_level: of the runtime's structured log.
        sweep_interval: how often unfinished issuances are finished or rolled back, one minute to one day.
    """

    bundle: Bundle = field(default_factory=Bundle)
    memory_size: int = 1024
    authorizer_concurrency: int | None = None
    issuer_concurrency: int | None = None
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_YEAR
    log_level: str = "INFO"
    sweep_interval: Duration = field(default_factory=lambda: Duration.minutes(5))

    def __post_init__(self) -> None:
        """Refuse what Lambda would refuse at deploy time."""
        require_range("memory_size", self.memory_size, 256, 10_240, "MiB")
        for argument in ("authorizer_concurrency", "issuer_concurrency"):
            if (value := getattr(self, argument)) is not None:
                require_range(argument, value, 1, 100_000)
        require_match("log_level", self.log_level, "|".join(_LOG_LEVELS), ", ".join(_LOG_LEVELS))
        accepted = "whole minutes, from 1 minute to 1 day"
        require_seconds("sweep_interval", self.sweep_interval, 60, 86_400, accepted, step=60)


def require_validity_days(argument: str, value: Duration, mode: UsageMode) -> int:
    """Days of a device certificate's validity, within what the CA's usage mode allows."""
    if mode is UsageMode.SHORT_LIVED_CERTIFICATE:
        return require_whole_days(argument, value, 1, 7)
    return require_whole_days(argument, value, 1, 36_500)


_PRINTABLE_64: Final = r"[ -~\u00a1-\uffff]{1,64}"
_LOG_LEVELS: Final = tuple(level.name for level in LogLevel)
_SIGNING_ALGORITHMS: Final = {
    KeyAlgorithm.RSA_2048: "SHA256WITHRSA",
    KeyAlgorithm.RSA_3072: "SHA256WITHRSA",
    KeyAlgorithm.RSA_4096: "SHA256WITHRSA",
    KeyAlgorithm.EC_P256: "SHA256WITHECDSA",
    KeyAlgorithm.EC_P384: "SHA384WITHECDSA",
    KeyAlgorithm.EC_P521: "SHA512WITHECDSA",
}
