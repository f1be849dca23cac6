"""Decides on an admitted device, by its record in the registry. CLI and cloud share these rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from secretfree.registry.admission import Refusal
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.spelling import holder_detail

_NAMED_ATTRIBUTES: Final = 5


class Outcome(StrEnum):
    """The outcome of a row."""

    ENROLLED = "enrolled"
    REPLACED = "replaced"
    """The device has a new key. The new record keeps the former one, for a revert of the batch."""
    UNCHANGED = "unchanged"
    """Enrolled before with this key: not written, and still part of the batch that enrolled it."""
    INDEXED = "indexed"
    """Enrolled before with this key, but without `key-fingerprint`, which was added."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a device. `already_written`: the same batch wrote the device before an interruption.

    A refusal has `reason` and `detail`. For other outcomes, `detail` says which part of the row is ignored.
    """

    outcome: Outcome
    device: EnrolledDevice
    previous: EnrolledDevice | None = None
    reason: str | None = None
    detail: str | None = None
    already_written: bool = False


def decide(
    device: EnrolledDevice,
    enrolled: EnrolledDevice | None,
    holders: Collection[str],
    *,
    replace_reason: str | None = None,
    reverting: Collection[str] = (),
    complete: bool = False,
) -> Verdict:
    """Decide on the record `device` of an admitted row.

    `enrolled` is the registry's record of its device id, `holders` the devices that hold its key. `replace_reason` is
    the operator's permission to replace keys of enrolled devices. `reverting` are the batches that are being reverted:
    their devices are about to be removed and do not count as enrolled. `complete`: the record's batch was complete
    before this run, so its devices count as enrolled before.
    """
    others = sorted(holder for holder in holders if holder != device.device_id)
    if others:
        return _refused(device, Refusal.KEY_OF_OTHER_DEVICE, holder_detail(device.device_id, others[0]))
    if enrolled is None or enrolled.status is DeviceStatus.RETIRED:
        return _newly(device, enrolled, replace_reason)
    if enrolled.batch == device.batch and enrolled.fingerprint == device.fingerprint and not complete:
        outcome = Outcome.REPLACED if enrolled.former else Outcome.ENROLLED
        return Verdict(outcome, device, enrolled, already_written=True)
    if device.fingerprint is not None and enrolled.fingerprint != device.fingerprint:
        return _other_key(device, enrolled, replace_reason)
    if enrolled.batch in reverting:
        return _refused(
            device,
            Refusal.BEING_REVERTED,
            f"enrolled in batch {enrolled.batch}, which is being reverted: wait for the revert to end",
        )
    return _same_device(device, enrolled)


def _same_device(device: EnrolledDevice, enrolled: EnrolledDevice) -> Verdict:
    if enrolled.status is DeviceStatus.UNREADABLE:
        return _refused(
            device, Refusal.UNREADABLE_RECORD, "the registry's record of the device cannot be read, and stays unchanged"
        )
    if device.status is DeviceStatus.BLOCKED and enrolled.status is not DeviceStatus.BLOCKED:
        return _refused(
            device,
            Refusal.ENROLLED_WITH_OTHER_STATUS,
            "the row says blocked, the registry does not: use the block command",
        )
    indexed = device.fingerprint is None or enrolled.fingerprint_recorded
    outcome = Outcome.UNCHANGED if indexed else Outcome.INDEXED
    return Verdict(outcome, device, enrolled, detail=_differing(device, enrolled))


def _differing(device: EnrolledDevice, enrolled: EnrolledDevice) -> str | None:
    """Name the differences of the row. A value that the row omits is not a difference."""
    names = sorted(name for name, value in device.attributes.items() if enrolled.attributes.get(name) != value)
    if device.not_before not in {None, enrolled.not_before}:
        names.insert(0, "not-before")
    if not names:
        return None
    shown = ", ".join(names[:_NAMED_ATTRIBUTES]) + (", ..." if len(names) > _NAMED_ATTRIBUTES else "")
    return f"the registry's attributes differ, and stay: {shown}"


def _other_key(device: EnrolledDevice, enrolled: EnrolledDevice, replace_reason: str | None) -> Verdict:
    if replace_reason is None:
        by = f" in batch {enrolled.batch}" if enrolled.batch else ""
        return _refused(
            device, Refusal.ENROLLED_WITH_OTHER_KEY, f"enrolled{by} with another key; replacing it needs a reason"
        )
    return Verdict(Outcome.REPLACED, device.replacing(enrolled, replace_reason), enrolled)


def _newly(device: EnrolledDevice, retired: EnrolledDevice | None, replace_reason: str | None) -> Verdict:
    """Enrol a device with any key. A retired device needs the operator's permission."""
    if retired is None:
        return Verdict(Outcome.ENROLLED, device)
    if replace_reason is None:
        return _refused(
            device,
            Refusal.RETIRED,
            f"retired at {retired.retired_at or 'an unknown time'}; enrolling it needs a reason",
        )
    return Verdict(Outcome.REPLACED, device.replacing(retired, replace_reason), retired)


def _refused(device: EnrolledDevice, reason: Refusal, detail: str) -> Verdict:
    return Verdict(Outcome.REFUSED, device, reason=reason.value, detail=detail)
