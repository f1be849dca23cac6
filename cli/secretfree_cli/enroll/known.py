"""What an import knows of the registry before it looks: which devices and keys one reading of the whole table found."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from secretfree.enrollment.enroll import RegistryView
from secretfree.enrollment.items import EnrolledDevice, PlainRecord
from secretfree.enrollment.registry_state import read_state
from secretfree.enrollment.table import RegistryTable

from secretfree_cli.enroll.checkpoint import Checkpoint

_LOOK_SECONDS: Final = 0.25


class Alone:
    """Whether this is the only import: none was open beside it when this was made, and none was opened since.

    Everybody who adds devices puts himself down first (`registry_state`); one who does is noticed within a quarter of a
    second, and not forgotten. Safe to share between threads.
    """

    def __init__(self, table: RegistryTable, batch_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises: TableBusy, botocore's ClientError"""
        self._table = table
        self._clock = clock
        self._lock = Lock()
        self._looked = clock()
        state = read_state(table)
        self._opened = state.opened
        self._alone = state.open <= {batch_id}

    def __call__(self) -> bool:
        """Look again, unless somebody did just now; raises as the constructor."""
        with self._lock:
            if self._alone and self._clock() - self._looked >= _LOOK_SECONDS:
                self._looked = self._clock()
                self._alone = read_state(self._table).opened == self._opened
            return self._alone


def as_it_was_read(
    checkpoint: Checkpoint, table: RegistryTable, *, alone: Callable[[], bool]
) -> Callable[[Sequence[PlainRecord]], RegistryView]:
    """Return what makes the view of a chunk of records: the keys' holders, and the devices that were not there.

    A device that the reading of the table did not find is looked for again only where somebody else may have brought
    it: a new table is filled without a read. One that was found is read again in any case, for it may be changed.
    """

    def known(records: Sequence[PlainRecord]) -> RegistryView:
        fingerprints = [record.fingerprint for record in records if record.fingerprint is not None]
        present = checkpoint.remembered([record.device_id for record in records])
        return _Remembered(table, alone, present, checkpoint.holders_of(fingerprints))

    return known


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What is known of one chunk, for whichever thread writes it."""

    table: RegistryTable
    alone: Callable[[], bool]
    present: frozenset[str]
    holders: Mapping[str, Collection[str]]

    def read(self, device_ids: Collection[str]) -> Mapping[str, EnrolledDevice]:
        return self.table.read(self.present.intersection(device_ids) if self.alone() else device_ids)

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:  # noqa: ARG002 - the port
        return self.holders
