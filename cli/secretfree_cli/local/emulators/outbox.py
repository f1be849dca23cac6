"""The undelivered writes of a Region's global tables to its other Regions, and the time of each item's last write.

They are stored in a file, so that a stopped Region delivers them after its next start.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS owed (
  id INTEGER PRIMARY KEY, region TEXT NOT NULL, written REAL NOT NULL, write TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS owed_by_region ON owed (region, id);
CREATE TABLE IF NOT EXISTS items (
  tbl TEXT, key TEXT, written REAL NOT NULL, region TEXT NOT NULL, PRIMARY KEY (tbl, key)
);
"""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write of an item. `item` is None if it was removed; `written`: seconds since 1970 in the writing Region."""

    table: str
    key: dict[str, Any]
    item: dict[str, Any] | None
    written: float
    region: str

    def to_json(self) -> dict[str, Any]:
        """Return the form for another Region."""
        return {
            "table": self.table,
            "key": self.key,
            "item": self.item,
            "written": self.written,
            "region": self.region,
        }


class Outbox:
    """The outbox's file. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._file.execute("PRAGMA synchronous = OFF")  # the emulator's own data is in memory too
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.executescript(_SCHEMA)

    def add(self, write: Write, regions: Iterable[str]) -> None:
        """Store a local write, to be delivered to `regions`."""
        text = json.dumps(write.to_json())
        with self._lock:
            self._note(write)
            self._file.executemany(
                "INSERT INTO owed (region, written, write) VALUES (?, ?, ?)",
                [(region, write.written, text) for region in regions],
            )

    def due(self, region: str, *, written_before: float, limit: int) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return the oldest undelivered writes for `region`, with their numbers for `delivered`."""
        with self._lock:
            rows = self._file.execute(
                "SELECT id, written, write FROM owed WHERE region = ? ORDER BY id LIMIT ?", (region, limit)
            )
            found = rows.fetchall()
        return [(number, json.loads(text)) for number, written, text in found if written <= written_before]

    def delivered(self, numbers: Iterable[int]) -> None:
        """Remove delivered writes."""
        with self._lock:
            self._file.executemany("DELETE FROM owed WHERE id = ?", [(number,) for number in numbers])

    def accept(self, write: Write) -> bool:
        """Record a write of another Region.

        False if this Region has a later write of the item: the last writer wins.
        """
        with self._lock:
            row = self._file.execute(
                "SELECT written, region FROM items WHERE tbl = ? AND key = ?", (write.table, _key(write))
            ).fetchone()
            if row is not None and (row[0], row[1]) >= (write.written, write.region):
                return False
            self._note(write)
        return True

    def _note(self, write: Write) -> None:
        self._file.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?) ON CONFLICT (tbl, key) DO UPDATE SET written = excluded.written, "
            "region = excluded.region",
            (write.table, _key(write), write.written, write.region),
        )


def _key(write: Write) -> str:
    return json.dumps(write.key, sort_keys=True)
