"""A device's events, from every version of every object that can hold one.

A delete marker or a newer version hides an object from a plain listing. Object Lock keeps the former version, so every
version is read, and hidden ones are counted.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from secretfree.audit.event import shard_of
from secretfree.contract import AuditFolder

_LEADING: Final = ("at", "event", "deviceId", "changeId")
_READ_AT_ONCE: Final = 16
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class TrailEvent:
    """One event. `at` is RFC 3339; `fields` are those of the event's kind."""

    at: str
    event: str
    change_id: str
    fields: Mapping[str, str]
    object_key: str

    @property
    def moment(self) -> datetime:
        """When the table changed."""
        return datetime.fromisoformat(self.at)


@dataclass
class Trail:
    """The events of a device, and the defects of the trail."""

    events: list[TrailEvent] = field(default_factory=list)
    objects: int = 0
    hidden: int = 0
    """Objects that a delete marker or a newer version hides from a plain listing."""
    damaged: list[str] = field(default_factory=list)
    """Objects with a line that is not an event. Their other lines are read."""


def read_trail(s3: Any, bucket: str, device_id: str, *, since: datetime | None = None) -> Trail:
    """Read the events of a device, oldest first, each once. `since`: skip events that arrived on earlier days."""
    folder = f"{AuditFolder.EVENTS}{shard_of(device_id)}/"
    trail = Trail()
    versions = list(_versions(s3, bucket, folder, since, trail))
    found: dict[str, TrailEvent] = {}
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        bodies = pool.map(lambda one: (one[0], _body(s3, bucket, *one)), versions)
        for key, body in bodies:
            trail.objects += 1
            for event in _of_device(key, body, device_id, trail):
                found.setdefault(event.change_id, event)  # Firehose delivers at least once.
    trail.events = sorted(found.values(), key=lambda event: event.moment)
    if since is not None:
        trail.events = [event for event in trail.events if event.moment >= since]
    return trail


def _versions(
    s3: Any, bucket: str, folder: str, since: datetime | None, trail: Trail
) -> Iterator[tuple[str, str | None]]:
    """Yield each version's key and id. Firehose stores an object below the day on which its changes arrived."""
    first = folder if since is None else f"{folder}{since:%Y/%m/%d}"
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=folder):
        for version in page.get("Versions", ()):
            if version["Key"] >= first:
                trail.hidden += not version["IsLatest"]
                yield version["Key"], version.get("VersionId")


def _body(s3: Any, bucket: str, key: str, version: str | None) -> bytes:
    which = {} if version is None else {"VersionId": version}
    return bytes(s3.get_object(Bucket=bucket, Key=key, **which)["Body"].read())


def _of_device(key: str, body: bytes, device_id: str, trail: Trail) -> Iterable[TrailEvent]:
    try:
        text = (gzip.decompress(body) if body.startswith(_GZIP) else body).decode()
    except (OSError, EOFError, zlib.error, ValueError):
        trail.damaged.append(key)
        return
    for line in text.splitlines():
        event = _event(line, key)
        if event is None:
            if key not in trail.damaged:
                trail.damaged.append(key)
        elif event.fields["deviceId"] == device_id:
            yield event


def _event(line: str, key: str) -> TrailEvent | None:
    """The event of a line; None if the line is not an event."""
    try:
        document = json.loads(line)
        if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
            return None
        at, event, _device, change_id = (document[name] for name in _LEADING)
        if datetime.fromisoformat(at).tzinfo is None:
            return None
    except (ValueError, KeyError, RecursionError):
        return None
    fields = {name: value for name, value in document.items() if name not in {"at", "event", "changeId"}}
    return TrailEvent(at=at, event=event, change_id=change_id, fields=fields, object_key=key)
