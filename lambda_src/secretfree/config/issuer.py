"""The configuration of an issuer and of the sweeper."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from secretfree.config.announcements import AnnouncementsConfig
from secretfree.config.environment import (
    ConfigurationError,
    choice,
    function_settings,
    hours,
    number,
    required_text,
    string_map,
    texts,
)
from secretfree.config.issuers import IssuerSettings, SubjectConfig, issuers_of, subject_of
from secretfree.contract import LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile


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
    announcements: AnnouncementsConfig | None = None

    @property
    def issuer(self) -> IssuerSettings:
        """The one issuer of an issuer function; raises ConfigurationError for the sweeper's several."""
        if len(self.issuers) != 1:
            raise ConfigurationError(f"{Variable.ISSUERS} has several issuers; accepted: one")
        return self.issuers[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **function_settings(environment),  # type: ignore[arg-type]
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
