"""Enrolling a chunk of admitted devices: read what is there, decide, write what is to be written, account for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from secretfree.adapters.dynamodb.registry_items import Item
from secretfree.adapters.dynamodb.registry_table import ChangedMeanwhile, RegistryTable
from secretfree.registry.decision import Outcome, Verdict, decide

CHANGED_MEANWHILE = "changed-meanwhile"


class KeyHolders(Protocol):
    """Knows which devices hold a key."""

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the holders of each key that has any."""
        ...


def enroll_items(
    items: Sequence[Item],
    *,
    table: RegistryTable,
    holders: KeyHolders,
    replace_reason: str | None = None,
    reverting: Collection[str] = (),
    dry_run: bool = False,
) -> Sequence[Verdict]:
    """Enrol `items` (of one batch, no id or key twice) and return a verdict for each, in their order.

    For `replace_reason` and `reverting` see `decide`.

    Safe to repeat: what an interrupted call wrote is recognised by its batch and counted as before.

    What others write at the same time is not noticed here. `holders` are as old as whoever found them: which of two
    enrolments that bring one key for two devices must give way is settled when they end (`registry_state`). Between
    the reading of a device and its writing, which takes no conditions (BatchWriteItem), lie a few milliseconds, and
    under throttling as long as the write is retried: nobody should block a device while a batch that brings it is
    being written, and of two enrolments that bring one device with two keys the later one stays.

    Raises: TableBusy, botocore's ClientError; some items may have been written then.
    """
    enrolled = table.read([item["device-id"]["S"] for item in items])
    held = holders.holders_of([item["key-fingerprint"]["S"] for item in items if "key-fingerprint" in item])
    verdicts = [
        decide(
            item,
            enrolled.get(item["device-id"]["S"]),
            held.get(item["key-fingerprint"]["S"], ()) if "key-fingerprint" in item else (),
            replace_reason=replace_reason,
            reverting=reverting,
        )
        for item in items
    ]
    if dry_run:
        return verdicts
    table.write(
        [verdict.item for verdict in verdicts if verdict.outcome is Outcome.ENROLLED and not verdict.already_written]
    )
    return [_carry_out(verdict, table) for verdict in verdicts]


def _carry_out(verdict: Verdict, table: RegistryTable) -> Verdict:
    previous = verdict.previous
    if previous is None or verdict.already_written or verdict.outcome not in {Outcome.REPLACED, Outcome.INDEXED}:
        return verdict
    try:
        if verdict.outcome is Outcome.REPLACED:
            table.put_over(verdict.item, previous.item)
        else:
            table.update(previous.item, {"key-fingerprint": verdict.item["key-fingerprint"]})
    except ChangedMeanwhile as error:
        return replace(verdict, outcome=Outcome.REFUSED, reason=CHANGED_MEANWHILE, detail=str(error))
    return verdict
