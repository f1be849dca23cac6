"""The device's record in the registry."""

from __future__ import annotations

from dataclasses import dataclass

from secretfree.errors import SecretFreeError
from secretfree.registry.entry import RegistryEntry

from secretfree_cli.diagnose.collectors.reading import Reading, moment
from secretfree_cli.diagnose.evidence import Enrolment
from secretfree_cli.target import Target


@dataclass(frozen=True)
class Looked:
    """The registry's entry; `was_read` distinguishes an absent device from an unread table."""

    enrolment: Enrolment | None
    was_read: bool


def read(target: Target, reading: Reading, device_id: str | None) -> Looked:
    """Read one device's record, consistently."""
    if device_id is None:
        return Looked(None, was_read=False)
    answer = reading.attempt(
        "the registry",
        lambda: target.client("dynamodb").get_item(
            TableName=target.registry_table, Key={"device-id": {"S": device_id}}, ConsistentRead=True
        ),
    )
    return Looked(None, was_read=False) if answer is None else Looked(_enrolment(answer.get("Item")), was_read=True)


def _enrolment(item: dict[str, dict[str, str]] | None) -> Enrolment | None:
    if item is None:
        return None
    # An attribute of another type becomes empty, as in the runtime: no rule accepts it.
    texts = {name: value.get("S", "") for name, value in item.items()}
    try:
        entry = RegistryEntry.from_attributes(texts)
    except SecretFreeError:
        return None
    return Enrolment(
        entry=entry,
        enrolled_at=moment(texts.get("enrolled-at")),
        blocked_at=moment(texts.get("blocked-at")),
        blocked_reason=texts.get("blocked-reason") or None,
        not_before=moment(texts.get("not-before")),
        batch=texts.get("batch"),
    )
