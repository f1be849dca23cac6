"""A device's record in the registry, as the rules read and write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Final, Self

from secretfree.registry.admission import EnrollmentRecord
from secretfree.registry.entry import DeviceStatus, rfc3339
from secretfree.request.keys import registry_text

MAX_FORMER: Final = 8
"""Maximum number of replaced records that a device keeps, so that its item stays far below DynamoDB's 400 KB."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a record: the batch, when it began (aware, UTC), and the manifest's format."""

    batch: str
    enrolled_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """A device's record. Times are RFC 3339 in UTC.

    `public_key` is the registry's text of the key; `fingerprint` is None without a readable key.
    `fingerprint_recorded`: whether the record has `key-fingerprint`, and so is in the index. `former` are the records
    that this one replaced, the newest first, each without former records of its own; `forgotten` counts those beyond
    `MAX_FORMER`. `stored` is the store's own form of a record that was read: it keeps attributes that no rule knows,
    and is what a conditional write compares.
    """

    device_id: str
    public_key: str | None = None
    fingerprint: str | None = None
    status: DeviceStatus = DeviceStatus.ALLOWED
    batch: str | None = None
    enrolled_at: str | None = None
    source: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    not_before: str | None = None
    blocked_reason: str | None = None
    blocked_at: str | None = None
    retired_reason: str | None = None
    retired_at: str | None = None
    replaced_reason: str | None = None
    former: Sequence[EnrolledDevice] = ()
    forgotten: int = 0
    fingerprint_recorded: bool = True
    stored: object = field(default=None, compare=False, repr=False)

    @classmethod
    def newly(cls, record: EnrollmentRecord, provenance: Provenance) -> Self:
        """Return the record of an admitted device."""
        return cls(
            device_id=record.device_id,
            public_key=None if record.spki is None else registry_text(record.spki),
            fingerprint=record.fingerprint,
            status=record.status,
            batch=provenance.batch,
            enrolled_at=timestamp(provenance.enrolled_at),
            source=provenance.source,
            attributes=record.attributes,
            not_before=record.not_before,
            fingerprint_recorded=record.fingerprint is not None,
        )

    def retired(self, reason: str, at: datetime) -> Self:
        """Return the record of the retired device: its id, when and why. Key and attributes are removed."""
        return type(self)(
            device_id=self.device_id,
            status=DeviceStatus.RETIRED,
            retired_reason=reason,
            retired_at=timestamp(at),
            fingerprint_recorded=False,
        )

    @property
    def holds_key(self) -> bool:
        """Whether the record has a key, readable or not."""
        return self.public_key is not None

    @property
    def key_is_indexed(self) -> bool:
        """Whether the record is in the index by key, or has no key."""
        return self.fingerprint is None or self.fingerprint_recorded

    def replacing(self, previous: EnrolledDevice, reason: str) -> Self:
        """Return this record as the successor of `previous`.

        It keeps the block: a new key does not unblock a device.
        """
        history = [replace(previous, former=(), forgotten=0), *previous.former]
        taken = replace(
            self,
            former=tuple(history[:MAX_FORMER]),
            forgotten=previous.forgotten + max(0, len(history) - MAX_FORMER),
            replaced_reason=reason,
        )
        return taken.blocked_as(previous)

    def blocked_as(self, other: EnrolledDevice) -> Self:
        """Return this record with the block of `other`, if that is blocked. A retired one may be enrolled again."""
        if other.status in {DeviceStatus.ALLOWED, DeviceStatus.RETIRED}:
            return self
        return replace(
            self,
            status=DeviceStatus.BLOCKED,
            blocked_reason=other.blocked_reason or self.blocked_reason,
            blocked_at=other.blocked_at or self.blocked_at,
        )


@lru_cache(maxsize=8)  # the rows of one batch share it
def timestamp(moment: datetime) -> str:
    """A moment as the registry writes it: RFC 3339 in UTC, whole seconds."""
    return rfc3339(moment)
