"""What a Region of several needs to announce its certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.environment import required_text, texts
from secretfree.contract import Variable


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
