"""The functions' configuration: parsed once, from environment variables that the construct sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from secretfree.config.environment import (
    ConfigurationError,
    choice,
    hours,
    number,
    refused,
    required_text,
    string_map,
    texts,
)
from secretfree.config.issuers import IssuerSettings, SubjectConfig, issuers_of, subject_of
from secretfree.contract import LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class AuthorizerConfig:
    """Configuration of the authorizer. `ledger_table` is set only for MatchPolicy.UDID."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    registry_table: str
    registry_key_index: str
    match: MatchPolicy
    ledger_table: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        match = choice(environment, Variable.MATCH_POLICY, MatchPolicy)
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=required_text(environment, Variable.REGISTRY_KEY_INDEX),
            match=match,
            ledger_table=required_text(environment, Variable.LEDGER_TABLE) if match is MatchPolicy.UDID else None,
        )


@dataclass(frozen=True, slots=True)
class CsrFrontConfig:
    """Configuration of the function that accepts a CSR as the body.

    `issuer_functions`: the function that answers for each issuer, by the issuer's path. `retry_after`: whole seconds,
    the `Retry-After` of the API's own 5xx answers.
    """

    authorizer: AuthorizerConfig
    issuer_functions: Mapping[str, str]
    retry_after: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            AuthorizerConfig.from_environment(environment),
            string_map(environment, Variable.ISSUER_FUNCTIONS),
            number(environment, Variable.RETRY_AFTER_SECONDS, least=1),
        )


@dataclass(frozen=True, slots=True)
class ImportConfig:
    """Configuration of the manifest import: the bucket with the manifests, and the registry."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    match: MatchPolicy
    registry_table: str
    registry_key_index: str
    bucket: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            match=choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=required_text(environment, Variable.REGISTRY_KEY_INDEX),
            bucket=required_text(environment, Variable.IMPORT_BUCKET),
        )


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """Configuration of an issuer or, with several `issuers`, of the sweeper."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    issuers: tuple[IssuerSettings, ...]
    match: MatchPolicy
    registry_table: str
    ledger_table: str
    deployment: str
    policy_name: str
    thing_type: str
    thing_groups: tuple[str, ...]
    thing_attributes: Mapping[str, str]
    iot_endpoint: str
    subject: SubjectConfig
    renewal_window: timedelta
    issuance_rate: int
    announcements: "AnnouncementsConfig | None" = None

    @property
    def issuer(self) -> IssuerSettings:
        """The one issuer of an issuer function; raises ConfigurationError for the sweeper's several."""
        if len(self.issuers) != 1:
            raise ConfigurationError(f"{Variable.ISSUERS} has several issuers: accepted is one")
        return self.issuers[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            issuers=issuers_of(environment),
            match=choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            ledger_table=required_text(environment, Variable.LEDGER_TABLE),
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            deployment=required_text(environment, Variable.DEPLOYMENT),
            policy_name=required_text(environment, Variable.POLICY_NAME),
            thing_type=required_text(environment, Variable.THING_TYPE),
            thing_groups=texts(environment, Variable.THING_GROUPS, "thing group names"),
            thing_attributes=string_map(environment, Variable.THING_ATTRIBUTES),
            iot_endpoint=required_text(environment, Variable.IOT_ENDPOINT),
            subject=subject_of(environment),
            renewal_window=hours(environment, Variable.RENEWAL_WINDOW_HOURS),
            issuance_rate=number(environment, Variable.ISSUANCE_RATE, least=1),
            announcements=AnnouncementsConfig.from_environment(environment),
        )


@dataclass(frozen=True, slots=True)
class AnnouncementsConfig:
    """The table where a Region announces what it issued, the Region's name, and the names of all Regions."""

    table: str
    region: str
    regions: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """None for a product line of one Region; raises ConfigurationError."""
        if not environment.get(Variable.ANNOUNCEMENTS_TABLE):
            return None
        return cls(
            table=required_text(environment, Variable.ANNOUNCEMENTS_TABLE),
            region=required_text(environment, Variable.REGION),
            regions=texts(environment, Variable.REGIONS, "names of Regions"),
        )

    def trusted(self, authorities: tuple[str, ...]) -> tuple[str, ...]:
        """`authorities` and, if these are this Region's own, those of the other Regions.

        This Region follows certificates of the other Regions' CAs, and is configured with only the beginning of those
        CAs' ARNs.
        """
        if not authorities or authorities[0].split(":")[3] != self.region:
            return authorities
        own = authorities[0].rpartition("/")[0]
        others = [region for region in self.regions if region != self.region]
        return (*authorities, *(own.replace(f":{self.region}:", f":{region}:", 1) for region in others))


@dataclass(frozen=True, slots=True)
class FollowerConfig:
    """Configuration of the follower. `region`: its own Region, whose announcements it does not follow."""

    issuing: IssuerConfig
    announcements_table: str
    region: str
    later_queue_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            issuing=IssuerConfig.from_environment(environment),
            announcements_table=required_text(environment, Variable.ANNOUNCEMENTS_TABLE),
            region=required_text(environment, Variable.REGION),
            later_queue_url=required_text(environment, Variable.LATER_QUEUE_URL),
        )


@dataclass(frozen=True, slots=True)
class RevocationConfig:
    """Configuration of the revoker. `revoking_authorities`: the ARNs of the CAs that accept revocations."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    match: MatchPolicy
    registry_table: str
    ledger_table: str
    revoking_authorities: tuple[str, ...]
    announcements: AnnouncementsConfig | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            match=choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            ledger_table=required_text(environment, Variable.LEDGER_TABLE),
            revoking_authorities=texts(environment, Variable.REVOKING_AUTHORITIES, "ARNs of certificate authorities"),
            announcements=AnnouncementsConfig.from_environment(environment),
        )


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Configuration of the audit trail's transformation: only what every function has."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(**_function_settings(environment))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RetirementConfig:
    """Configuration of the retirer."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    ledger_table: str
    policy_name: str
    thing_type: str
    announcements: AnnouncementsConfig | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            ledger_table=required_text(environment, Variable.LEDGER_TABLE),
            policy_name=required_text(environment, Variable.POLICY_NAME),
            thing_type=required_text(environment, Variable.THING_TYPE),
            announcements=AnnouncementsConfig.from_environment(environment),
        )


def _function_settings(environment: Mapping[str, str]) -> dict[str, object]:
    level = environment.get(Variable.LOG_LEVEL, LogLevel.INFO.name)
    if level not in LogLevel.__members__:
        raise refused(Variable.LOG_LEVEL, level, f"one of {', '.join(LogLevel.__members__)}")
    return {
        "product": required_text(environment, Variable.PRODUCT),
        "device_profile": choice(environment, Variable.DEVICE_PROFILE, DeviceProfile),
        "log_level": LogLevel[level],
    }
