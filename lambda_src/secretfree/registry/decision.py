"""What becomes of an admitted device, given what the table holds already. Pure: the same answers for CLI and cloud."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from secretfree.adapters.dynamodb.registry_items import AttributeValue, EnrolledDevice, Item
from secretfree.registry.admission import Refusal
from secretfree.registry.entry import DeviceStatus

_NAMED_ATTRIBUTES: Final = 5


class Outcome(StrEnum):
    """What happened to a row, or would."""

    ENROLLED = "enrolled"
    REPLACED = "replaced"
    """The device's former key gave way; its item is kept inside the new one, for the batch's revert."""
    UNCHANGED = "unchanged"
    """Enrolled before with this key: not written, and still of the batch that it came with."""
    INDEXED = "indexed"
    """Enrolled before with this key, but without `key-fingerprint`, which was added."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with an item. `already_written`: by this very batch, before it was cut off.

    `reason` and `detail` are of a refusal; a `detail` of another outcome says what of the row was passed over.
    """

    outcome: Outcome
    item: Item
    previous: EnrolledDevice | None = None
    reason: str | None = None
    detail: str | None = None
    already_written: bool = False


def decide(
    item: Item,
    enrolled: EnrolledDevice | None,
    holders: Collection[str],
    *,
    replace_reason: str | None = None,
    reverting: Collection[str] = (),
) -> Verdict:
    """Decide on the `item` of an admitted record.

    `enrolled` is what the table has under its device id, `holders` the devices that hold its key there.
    `replace_reason` is the operator's permission to give enrolled devices another key. `reverting` are the batches
    whose revert is not through: what still is of one of them goes, and must not pass for enrolled.
    """
    device_id = item["device-id"]["S"]
    fingerprint = _fingerprint(item)
    others = sorted(holder for holder in holders if holder != device_id)
    if others:
        return _refused(item, Refusal.KEY_OF_OTHER_DEVICE, f"the key is enrolled for {others[0]}")
    if enrolled is None:
        return Verdict(Outcome.ENROLLED, item)
    if enrolled.batch == item["batch"]["S"] and enrolled.fingerprint == fingerprint:
        outcome = Outcome.REPLACED if "replaced" in enrolled.item else Outcome.ENROLLED
        return Verdict(outcome, item, enrolled, already_written=True)
    if fingerprint is not None and enrolled.fingerprint != fingerprint:
        return _other_key(item, enrolled, replace_reason)
    if enrolled.batch in reverting:
        return _refused(
            item, Refusal.BEING_REVERTED, f"enrolled in batch {enrolled.batch}, which is being reverted: let that end"
        )
    return _same_device(item, enrolled)


def _same_device(item: Item, enrolled: EnrolledDevice) -> Verdict:
    if item["status"]["S"] == DeviceStatus.BLOCKED and enrolled.status is not DeviceStatus.BLOCKED:
        return _refused(
            item,
            Refusal.ENROLLED_WITH_OTHER_STATUS,
            "the row says blocked, the registry does not: use the block command",
        )
    if "key-fingerprint" in item and not enrolled.has_fingerprint_attribute:
        return Verdict(Outcome.INDEXED, item, enrolled, detail=_other_attributes(item, enrolled.item))
    return Verdict(Outcome.UNCHANGED, item, enrolled, detail=_other_attributes(item, enrolled.item))


def _other_attributes(item: Item, enrolled: Item) -> str | None:
    """Say which attributes the row has otherwise; one that the row does not have is no difference."""
    given, kept = (one.get("attributes", {}).get("M", {}) for one in (item, enrolled))
    names = sorted(name for name, value in given.items() if kept.get(name) != value)
    if not names:
        return None
    shown = ", ".join(names[:_NAMED_ATTRIBUTES]) + (", ..." if len(names) > _NAMED_ATTRIBUTES else "")
    return f"the registry's attributes differ, and stay: {shown}"


def _other_key(item: Item, enrolled: EnrolledDevice, replace_reason: str | None) -> Verdict:
    if replace_reason is None:
        came = f" in batch {enrolled.batch}" if enrolled.batch else ""
        return _refused(
            item, Refusal.ENROLLED_WITH_OTHER_KEY, f"enrolled{came} with another key; replacing wants a reason"
        )
    replacing = {**item, "replaced": {"M": dict(enrolled.item)}, "replaced-reason": {"S": replace_reason}}
    if enrolled.status is not DeviceStatus.ALLOWED:  # another key is no pardon
        replacing |= _blocked_as_before(enrolled.item)
    return Verdict(Outcome.REPLACED, replacing, enrolled)


def _blocked_as_before(item: Item) -> Mapping[str, AttributeValue]:
    kept = {name: item[name] for name in ("blocked-reason", "blocked-at") if name in item}
    return {**kept, "status": {"S": DeviceStatus.BLOCKED.value}}


def _fingerprint(item: Item) -> str | None:
    value = item.get("key-fingerprint")
    return None if value is None else str(value["S"])


def _refused(item: Item, reason: Refusal, detail: str) -> Verdict:
    return Verdict(Outcome.REFUSED, item, reason=reason.value, detail=detail)
