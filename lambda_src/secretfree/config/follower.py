"""The configuration of the follower."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.environment import required_text
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import Variable


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
