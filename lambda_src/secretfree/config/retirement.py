"""The configuration of the retirer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.announcements import AnnouncementsConfig
from secretfree.config.environment import function_settings, required_text
from secretfree.contract import LogLevel, Variable
from secretfree.request.device_profile import DeviceProfile


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
            **function_settings(environment),  # type: ignore[arg-type]
            ledger_table=required_text(environment, Variable.LEDGER_TABLE),
            policy_name=required_text(environment, Variable.POLICY_NAME),
            thing_type=required_text(environment, Variable.THING_TYPE),
            announcements=AnnouncementsConfig.from_environment(environment),
        )
