"""The figures of a report: plain values, and the rules for counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from secretfree_cli.diagnose.evidence import Gap

ENDS: Final[Sequence[tuple[str, timedelta | None]]] = (
    ("ended", timedelta()),
    ("within 7 days", timedelta(days=7)),
    ("within 30 days", timedelta(days=30)),
    ("within 90 days", timedelta(days=90)),
    ("within 180 days", timedelta(days=180)),
    ("within a year", timedelta(days=365)),
    ("later", None),
)
"""The upper bounds of the expiry histogram's classes."""

STUCK_AFTER: Final = timedelta(minutes=5)
MOST_STUCK: Final = 50
NO_BATCH: Final = "(no batch)"


@dataclass
class BatchCount:
    """Devices of one batch."""

    enrolled: int = 0
    blocked: int = 0
    provisioned: int = 0


@dataclass(frozen=True, kw_only=True)
class StuckDevice:
    """A device whose issuance is unfinished."""

    device_id: str
    issuer: str
    state: str
    attempts: int
    since: datetime


@dataclass(frozen=True, kw_only=True)
class AuthorityLine:
    """A line of the CA table."""

    arn: str
    status: str
    not_after: datetime | None


@dataclass(frozen=True, kw_only=True)
class DenialSeries:
    """Refused requests with one reason, by the start of each day."""

    reason: str
    by_day: Mapping[datetime, int]

    @property
    def total(self) -> int:
        """Over all days."""
        return sum(self.by_day.values())


@dataclass(kw_only=True)
class Facts:
    """The figures of a report."""

    title: str
    made_at: datetime
    days: Sequence[datetime]
    batches: dict[str, BatchCount] = field(default_factory=dict)
    asked: int = 0
    """Devices that have a record in the ledger."""
    ends: Counter[str] = field(default_factory=Counter)
    stuck: list[StuckDevice] = field(default_factory=list)
    stuck_in_all: int = 0
    denials: Sequence[DenialSeries] = ()
    authorities: Sequence[AuthorityLine] = ()
    gaps: Sequence[Gap] = ()

    @property
    def enrolled(self) -> int:
        """Devices in the registry."""
        return sum(batch.enrolled for batch in self.batches.values())

    @property
    def blocked(self) -> int:
        """Devices that are blocked."""
        return sum(batch.blocked for batch in self.batches.values())

    @property
    def provisioned(self) -> int:
        """Enrolled devices with a current certificate."""
        return sum(batch.provisioned for batch in self.batches.values())

    def add_device(self, batch: str | None, *, blocked: bool, provisioned: bool) -> None:
        """Count one enrolled device."""
        count = self.batches.setdefault(batch or NO_BATCH, BatchCount())
        count.enrolled += 1
        count.blocked += blocked
        count.provisioned += provisioned

    def add_stuck(self, device: StuckDevice) -> None:
        """Count an unfinished issuance; keep those that have waited longest."""
        self.stuck_in_all += 1
        self.stuck.append(device)
        if len(self.stuck) > MOST_STUCK:
            self.stuck.remove(max(self.stuck, key=lambda one: one.since))


def class_of(not_after: datetime, now: datetime) -> str:
    """Return the class of the expiry histogram."""
    left = not_after - now
    return next(name for name, most in ENDS if most is None or left <= most)
