"""The configuration of the manifest import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.environment import choice, function_settings, required_text
from secretfree.contract import LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile


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
            **function_settings(environment),  # type: ignore[arg-type]
            match=choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=required_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=required_text(environment, Variable.REGISTRY_KEY_INDEX),
            bucket=required_text(environment, Variable.IMPORT_BUCKET),
        )
