"""Enrols admitted devices: read the registry, decide, write, and account for each device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, TypeVar

from secretfree.registry.admission import Refusal
from secretfree.registry.decision import Outcome, Verdict, decide
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.key_holders import HolderLookup
from secretfree.registry.store import ChangedMeanwhile, RegistryStore

PARALLEL_CALLS: Final = 10
"""Connections that one client keeps to one host (botocore's `max_pool_connections`)."""

T = TypeVar("T")
R = TypeVar("R")


def enroll_devices(
    devices: Sequence[EnrolledDevice],
    *,
    store: RegistryStore,
    holders: HolderLookup,
    replace_reason: str | None = None,
    reverting: Collection[str] = (),
    complete: bool = False,
    dry_run: bool = False,
) -> Sequence[Verdict]:
    """Enrol `devices` (of one batch, no id or key twice) and return a verdict for each, in their order.

    For `replace_reason`, `reverting` and `complete` see `decide`. Safe to repeat: records of an interrupted call are
    recognised by their batch and counted as before.

    Concurrent writers are not detected here:

    * `holders` are as old as their reading. Conflicts of two enrolments that give one key to two devices are resolved
      when they end (`RegistryState`).
    * New records are put without a condition (BatchWriteItem has none). Between the reading of a device and its writing
      lie a few milliseconds, or as long as a throttled write is retried. A device that is blocked in this time is
      overwritten. Of two enrolments of one device with two keys, the later one wins.

    Raises: RegistryBusy, and the store's errors; some records may have been written then.
    """
    verdicts = _decide(devices, store, holders, replace_reason=replace_reason, reverting=reverting, complete=complete)
    if dry_run:
        return verdicts
    store.write(
        [verdict.device for verdict in verdicts if verdict.outcome is Outcome.ENROLLED and not verdict.already_written]
    )
    return [_replace_or_index(verdict, store) for verdict in verdicts]


def enroll_beside_others(
    devices: Sequence[EnrolledDevice], *, store: RegistryStore, holders: HolderLookup
) -> Sequence[Verdict]:
    """Enrol `devices` (no id or key twice) beside concurrent enrolments, and return a verdict for each, in their order.

    Each record is put on condition that none exists, in one write for each device. (`enroll_devices` puts 25 in one
    call, without a condition.) Enrolled keys are never replaced.

    Raises: RegistryBusy, and the store's errors; repeat the call then.
    """
    carried_out = _enroll_once(devices, store, holders)
    lost = [position for position, verdict in enumerate(carried_out) if verdict is None]
    if lost:  # A concurrent call was faster: decide again. With two imports, this happens once.
        again = _enroll_once([devices[position] for position in lost], store, holders)
        for position, verdict in zip(lost, again, strict=True):
            carried_out[position] = verdict or _changed_again(devices[position])
    return [verdict for verdict in carried_out if verdict is not None]


def _enroll_once(
    devices: Sequence[EnrolledDevice], store: RegistryStore, holders: HolderLookup
) -> list[Verdict | None]:
    """Enrol `devices`; None for each whose record changed after the decision."""
    verdicts = _decide(devices, store, holders)
    carried_out = list(_parallel(lambda verdict: _carry_out(verdict, store), verdicts))
    put = [verdict for verdict in carried_out if verdict is not None and _was_put(verdict)]
    held = holders.holders_of([one.device.fingerprint for one in put if one.device.fingerprint is not None])
    return list(
        _parallel(
            lambda verdict: verdict and (_unless_key_was_taken(verdict, store, held) if _was_put(verdict) else verdict),
            carried_out,
        )
    )


def _decide(
    devices: Sequence[EnrolledDevice],
    store: RegistryStore,
    holders: HolderLookup,
    *,
    replace_reason: str | None = None,
    reverting: Collection[str] = (),
    complete: bool = False,
) -> list[Verdict]:
    enrolled = store.read([device.device_id for device in devices])
    held = holders.holders_of([device.fingerprint for device in devices if device.fingerprint is not None])
    return [
        decide(
            device,
            enrolled.get(device.device_id),
            held.get(device.fingerprint, ()) if device.fingerprint is not None else (),
            replace_reason=replace_reason,
            reverting=reverting,
            complete=complete,
        )
        for device in devices
    ]


def _replace_or_index(verdict: Verdict, store: RegistryStore) -> Verdict:
    previous = verdict.previous
    if previous is None or verdict.already_written or verdict.outcome not in {Outcome.REPLACED, Outcome.INDEXED}:
        return verdict
    try:
        if verdict.outcome is Outcome.REPLACED:
            store.put_over(verdict.device, previous)
        else:
            store.record_fingerprint(previous)
    except ChangedMeanwhile as error:
        return replace(verdict, outcome=Outcome.REFUSED, reason=Refusal.CHANGED_MEANWHILE.value, detail=str(error))
    return verdict


def _carry_out(verdict: Verdict, store: RegistryStore) -> Verdict | None:
    """Carry out the verdict; None if the record changed after the decision."""
    try:
        if _was_put(verdict):
            store.put_new(verdict.device)
        elif verdict.outcome is Outcome.INDEXED and verdict.previous is not None:
            store.record_fingerprint(verdict.previous)
    except ChangedMeanwhile:
        return None
    return verdict


def _was_put(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.ENROLLED and not verdict.already_written


def _unless_key_was_taken(
    verdict: Verdict, store: RegistryStore, held: Mapping[str, Collection[str]]
) -> Verdict | None:
    """Remove the record again if another device was enrolled with the same key at the same moment.

    The other enrolment does the same. The index is eventually consistent, so both may miss each other within its lag,
    usually well below a second. The runtime then refuses the key, because two devices have it.
    """
    device = verdict.device
    others = sorted(set(held.get(device.fingerprint or "", ())) - {device.device_id})
    if not others:
        return verdict
    try:
        store.remove(device)
    except ChangedMeanwhile:
        return None
    detail = f"{others[0]} has the same key"
    return Verdict(Outcome.REFUSED, device, reason=Refusal.KEY_OF_OTHER_DEVICE.value, detail=detail)


def _changed_again(device: EnrolledDevice) -> Verdict:
    detail = "its record was changed by another import at the same time; import it again"
    return Verdict(Outcome.REFUSED, device, reason=Refusal.CHANGED_MEANWHILE.value, detail=detail)


def _parallel(call: Callable[[T], R], work: Sequence[T]) -> Sequence[R]:
    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        return list(pool.map(call, work))
