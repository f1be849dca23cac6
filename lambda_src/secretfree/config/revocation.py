"""The configuration of the revoker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.announcements import AnnouncementsConfig
from secretfree.config.environment import choice, function_settings, required_text, texts
from secretfree.contract import LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile


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
            **function_settings(environment),  # type: ignore[arg-type]
            match=choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            ledger_table=required_text(environment, Variable.LEDGER_TABLE),
            revoking_authorities=texts(environment, Variable.REVOKING_AUTHORITIES, "ARNs of certificate authorities"),
            announcements=AnnouncementsConfig.from_environment(environment),
        )
