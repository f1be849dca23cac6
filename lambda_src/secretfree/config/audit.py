"""The configuration of the audit trail's transformation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.environment import function_settings
from secretfree.contract import LogLevel
from secretfree.request.device_profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Configuration of the audit trail's transformation: only what every function has."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(**function_settings(environment))  # type: ignore[arg-type]
