"""What the registry knows of itself, in one item: which imports are open, and whether its index by key is complete.

Imports take no lock. Each puts itself down here before its first look at the table, and takes itself out after its
last, so that any two that overlap learn of each other, and one that ends after another has begun looks again:

* An import that finds another open when it begins, or that another was opened before it ended, reads the whole table
  once more when its own rows are written, and takes back those whose key another device holds too.
* Of two that overlap, the one that looks last sees all that the other has left: so no key stays under two devices.
* One that begins after another looked for the last time sees, with its first look, all that the other wrote.

All of it is read and changed in one item, consistently: an index of the batches would lag behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from secretfree.adapters.dynamodb.registry_items import AttributeValue, Item, timestamp
from secretfree.adapters.dynamodb.registry_table import RegistryTable

STATE_ID: Final = "registry#state"
"""`device-id` of the item; no device id can be it: '#' is not in their alphabet."""
_OPEN: Final = "open-imports"
_OPENED: Final = "imports-opened"
_INDEXED: Final = "indexed-at"


@dataclass(frozen=True, slots=True)
class RegistryState:
    """The registry at one moment. `opened` counts all imports that were ever opened, also those closed since."""

    open: frozenset[str] = frozenset()
    """Ids of the batches that are being imported or reverted, or were when their process died."""
    opened: int = 0
    indexed_at: str | None = None
    """When every device with a key was last seen to carry `key-fingerprint`, which all importers write."""

    @property
    def is_indexed(self) -> bool:
        """Whether the index by key is known to have every key.

        Who writes items by other means than these importers, without `key-fingerprint`, makes this untrue until
        `secretfree index-keys`, or an import that reads the whole table, finds them.
        """
        return self.indexed_at is not None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read the item."""
        return cls(
            open=frozenset(item.get(_OPEN, {}).get("SS", ())),
            opened=int(item.get(_OPENED, {}).get("N", 0)),
            indexed_at=item.get(_INDEXED, {}).get("S"),
        )


def read_state(table: RegistryTable) -> RegistryState:
    """Return the registry's state, read consistently; that of a table where nobody imported yet is empty."""
    return RegistryState.from_item(table.read_items([STATE_ID]).get(STATE_ID, {}))


def open_import(table: RegistryTable, batch_id: str) -> RegistryState:
    """Put an import down as open, and return the state then. Opening it again counts again, which does no harm."""
    return _change(
        table,
        "ADD #open :batch, #opened :one",
        {"#open": _OPEN, "#opened": _OPENED},
        {":batch": {"SS": [batch_id]}, ":one": {"N": "1"}},
    )


def close_import(table: RegistryTable, *batch_ids: str) -> RegistryState:
    """Take imports out of those that are open, and return the state then."""
    return _change(table, "DELETE #open :batches", {"#open": _OPEN}, {":batches": {"SS": list(batch_ids)}})


def mark_indexed(table: RegistryTable, at: datetime) -> RegistryState:
    """Put down that every device with a key was seen to carry `key-fingerprint`."""
    return _change(table, "SET #indexed = :at", {"#indexed": _INDEXED}, {":at": {"S": timestamp(at)}})


def mark_unindexed(table: RegistryTable) -> RegistryState:
    """Put down that some device with a key does not carry `key-fingerprint`."""
    return _change(table, "REMOVE #indexed", {"#indexed": _INDEXED}, {})


def indexed_item(at: datetime) -> dict[str, AttributeValue]:
    """Return the item of a registry that is made with all its devices, each with its `key-fingerprint`."""
    return {"device-id": {"S": STATE_ID}, _INDEXED: {"S": timestamp(at)}}


def _change(
    table: RegistryTable, expression: str, names: dict[str, str], values: dict[str, AttributeValue]
) -> RegistryState:
    return RegistryState.from_item(table.change_freely(STATE_ID, expression, names, values))
