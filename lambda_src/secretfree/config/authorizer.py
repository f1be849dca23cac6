"""The configuration of the authorizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.environment import choice, function_settings, required_text
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
            **function_settings(environment),  # type: ignore[arg-type]
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=required_text(environment, Variable.REGISTRY_KEY_INDEX),
            match=match,
            ledger_table=required_text(environment, Variable.LEDGER_TABLE) if match is MatchPolicy.UDID else None,
        )
