"""An import's checkpoint: its rows in a SQLite file, for constant memory and to resume an interrupted import."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from secretfree.registry.admission import EnrollmentRecord, Refusal
from secretfree.registry.decision import Outcome, Verdict
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.importing.doubtful_ids import Doubtful, doubtful_ids

_CACHE_KIB: Final = 32 * 1024
"""SQLite's page cache. It limits the memory of an import of any size."""
_PAGE_BYTES: Final = 16 * 1024
_SCHEMA: Final = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE row (
    ordinal INTEGER PRIMARY KEY,
    file INTEGER NOT NULL,
    line INTEGER NOT NULL,
    member TEXT,
    device_id TEXT,
    spki BLOB,
    fingerprint TEXT,
    status TEXT,
    attributes TEXT,
    not_before TEXT
);
CREATE TABLE result (ordinal INTEGER PRIMARY KEY, outcome TEXT NOT NULL, reason TEXT, detail TEXT);
CREATE TABLE held (fingerprint TEXT NOT NULL, device_id TEXT NOT NULL);
CREATE TABLE taken_back (ordinal INTEGER PRIMARY KEY);
"""
# A row with a status was admitted. The others were refused and have only their id.
# Several rows may have one device id or key. An equal row is a repetition. Contradicting rows are all refused, because
# the forged one cannot be identified.
_FIND_DUPLICATES: Final = """
CREATE INDEX IF NOT EXISTS row_by_device ON row (device_id, fingerprint) WHERE status NOT NULL;
CREATE INDEX IF NOT EXISTS row_by_key ON row (fingerprint, device_id) WHERE status NOT NULL;
"""
_LINE: Final = "'line ' || line"
_FILE_AND_LINE: Final = "'line ' || line || ' of file ' || (file + 1)"
_REFUSE: Final = """
INSERT INTO result SELECT ordinal, 'refused', :reason, {detail} FROM row
WHERE status NOT NULL AND {where} AND NOT EXISTS (SELECT 1 FROM result WHERE result.ordinal = row.ordinal)
"""
_CONTRADICTING_KEYS: Final = _REFUSE.format(
    detail="""(
        SELECT group_concat(place, ', ') FROM (
            SELECT {place} AS place FROM row AS other
            WHERE other.status NOT NULL AND other.device_id = row.device_id ORDER BY ordinal LIMIT 5
        )) || ' give this device different keys'""",
    where="""device_id IN (
        SELECT device_id FROM row WHERE status NOT NULL GROUP BY device_id
        HAVING min(ifnull(fingerprint, '')) <> max(ifnull(fingerprint, '')))""",
)
_SHARED_KEYS: Final = _REFUSE.format(
    detail="""(
        SELECT group_concat(place, ', ') FROM (
            SELECT {place} AS place FROM row AS other
            WHERE other.status NOT NULL AND other.fingerprint = row.fingerprint ORDER BY ordinal LIMIT 5
        )) || ' give this key to different devices'""",
    where="""fingerprint IN (
        SELECT fingerprint FROM row WHERE status NOT NULL AND fingerprint IS NOT NULL GROUP BY fingerprint
        HAVING min(device_id) <> max(device_id))""",
)
_REPETITIONS: Final = _REFUSE.format(
    detail="""'the same as ' || (
        SELECT {place} FROM row AS first
        WHERE first.status NOT NULL AND first.device_id = row.device_id ORDER BY ordinal LIMIT 1)""",
    where="""device_id IN (SELECT device_id FROM row WHERE status NOT NULL GROUP BY device_id HAVING count(*) > 1)
        AND EXISTS (
        SELECT 1 FROM row AS first
        WHERE first.status NOT NULL AND first.device_id = row.device_id AND first.ordinal < row.ordinal)""",
)
_PASSED_OVER: Final = "outcome <> 'refused' AND detail IS NOT NULL"
# After this import has written its rows, it reads the table again. It records the rows to revert before it reverts
# them, because the conflict might not be found again after an interruption.
_WRITTEN: Final = "outcome IN ('enrolled', 'replaced')"
_FIND_SHARED: Final = f"""
INSERT OR IGNORE INTO taken_back SELECT row.ordinal FROM row JOIN result USING (ordinal)
WHERE {_WRITTEN} AND EXISTS (
    SELECT 1 FROM held WHERE held.fingerprint = row.fingerprint AND held.device_id <> row.device_id)
"""  # noqa: S608 - constants alone
_REFUSE_SHARED: Final = f"""
UPDATE result SET outcome = 'refused', reason = :reason, detail = (
    SELECT min(held.device_id) || ' was given the same key at the same time' FROM row
    JOIN held ON held.fingerprint = row.fingerprint AND held.device_id <> row.device_id
    WHERE row.ordinal = result.ordinal)
WHERE {_WRITTEN} AND ordinal IN (SELECT ordinal FROM taken_back)
"""  # noqa: S608 - constants alone
_REFUSE_OVERWRITTEN: Final = f"""
UPDATE result SET outcome = 'refused', reason = :reason, detail = 'another import gave it another key at the same time'
WHERE {_WRITTEN} AND EXISTS (
    SELECT 1 FROM row JOIN held ON held.device_id = row.device_id
    WHERE row.ordinal = result.ordinal AND held.fingerprint <> row.fingerprint)
"""  # noqa: S608 - constants alone


class StagedRow(NamedTuple):
    """A row of a manifest with its position in the file: admitted with its record, or refused with a reason.

    `file` is the position of its manifest among those given; for `line` and `member` see `manifests.manifest.Entry`.
    """

    ordinal: int
    file: int
    line: int
    member: str | None
    device_id: str | None
    record: EnrollmentRecord | None = None
    reason: str | None = None
    detail: str | None = None


_COLUMNS: Final = (
    "ordinal, file, line, member, device_id, spki, fingerprint, status, attributes, not_before"  # of the table `row`
)


class Checkpoint:
    """One import's rows and its progress. For one thread. It stays consistent if the process dies."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the checkpoint at `path`; None: in memory, for a few rows.

        Raises: sqlite3.OperationalError if another process has it open
        """
        self.path = path
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0)
        try:
            self._begin()
        except sqlite3.OperationalError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and keep it."""
        self._connection.close()

    def discard(self) -> None:
        """Close the file and remove it with SQLite's other files."""
        self.close()
        if self.path is not None:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def setting(self, name: str) -> Any:
        """Return the value of `name`, or None."""
        found = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def keep(self, name: str, value: object) -> None:
        """Store a JSON value under `name`."""
        self._connection.execute("REPLACE INTO setting VALUES (?, ?)", (name, json.dumps(value)))

    def staged(self) -> int:
        """Return the number of staged rows."""
        last = self._connection.execute("SELECT max(ordinal) FROM row").fetchone()[0]
        return 0 if last is None else int(last)

    def stage(self, rows: Sequence[StagedRow]) -> None:
        """Add rows in one transaction."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_values, rows))
            self._connection.executemany(
                "INSERT INTO result VALUES (?, 'refused', ?, ?)",
                ((row.ordinal, row.reason, row.detail) for row in rows if row.record is None),
            )

    def refuse_duplicates(self) -> None:
        """Refuse repeated and contradicting rows: see `Refusal`."""
        files = self._connection.execute("SELECT file FROM row ORDER BY ordinal DESC LIMIT 1").fetchone()
        place = _LINE if files in (None, (0,)) else _FILE_AND_LINE
        with self._connection:
            self._connection.execute("BEGIN")
            for statement in filter(None, map(str.strip, _FIND_DUPLICATES.split(";"))):
                self._connection.execute(statement)
            for statement, reason in (
                (_CONTRADICTING_KEYS, Refusal.DUPLICATE_DEVICE_ID),
                (_SHARED_KEYS, Refusal.DUPLICATE_KEY),
                (_REPETITIONS, Refusal.DUPLICATE_ROW),
            ):
                self._connection.execute(statement.format(place=place), {"reason": reason.value})

    def pending(self, size: int) -> Iterator[Sequence[StagedRow]]:
        """Yield the admitted rows without an outcome, `size` at a time, in their order."""
        last = 0
        while found := self._connection.execute(
            f"SELECT {_COLUMNS} FROM row LEFT JOIN result USING (ordinal) "  # noqa: S608 - a constant
            "WHERE ordinal > ? AND status NOT NULL AND result.ordinal IS NULL ORDER BY ordinal LIMIT ?",
            (last, size),
        ).fetchall():
            last = found[-1][0]
            yield [_row(values) for values in found]

    def count_pending(self) -> int:
        """Return the number of rows without an outcome."""
        counted = "SELECT (SELECT count(*) FROM row) - (SELECT count(*) FROM result)"
        return int(self._connection.execute(counted).fetchone()[0])

    def record(self, results: Iterable[tuple[int, Verdict]]) -> None:
        """Record the outcomes of rows by their ordinals, in one transaction."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT INTO result VALUES (?, ?, ?, ?)",
                ((ordinal, verdict.outcome.value, verdict.reason, verdict.detail) for ordinal, verdict in results),
            )

    def counts(self) -> dict[str, int]:
        """Return the number of rows by outcome, zeros included."""
        counts = {outcome.value: 0 for outcome in Outcome}
        counts.update(self._connection.execute("SELECT outcome, count(*) FROM result GROUP BY outcome"))
        return counts

    def refusals_by_reason(self) -> dict[str, int]:
        """Return the number of refused rows by reason, the most frequent first."""
        return dict(
            self._connection.execute(
                "SELECT reason, count(*) AS rows FROM result WHERE outcome = 'refused' GROUP BY reason "
                "ORDER BY rows DESC, reason"
            )
        )

    def refused(self) -> Iterator[StagedRow]:
        """Yield the refused rows in their order."""
        return self._reported("outcome = 'refused'")

    def passed_over(self) -> Iterator[StagedRow]:
        """Yield, in their order, the rows of enrolled devices with ignored parts."""
        return self._reported(_PASSED_OVER)

    def count_passed_over(self) -> int:
        """Return their number."""
        counted = f"SELECT count(*) FROM result WHERE {_PASSED_OVER}"  # noqa: S608 - a constant
        return int(self._connection.execute(counted).fetchone()[0])

    def doubtful_ids(self) -> Sequence[Doubtful]:
        """Return the doubtful ids of the rows by kind."""
        return doubtful_ids(self._connection)

    def start_holders(self) -> None:
        """Remove all holders of keys."""
        self._connection.execute("DROP INDEX IF EXISTS held_by_key")
        self._connection.execute("DROP INDEX IF EXISTS held_by_device")
        self._connection.execute("DELETE FROM held")

    def add_holders(self, held: Iterable[tuple[str, str]]) -> None:
        """Store pairs of fingerprint and device id of the registry."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO held VALUES (?, ?)", held)

    def finish_holders(self) -> None:
        """Index the keys that the registry holds."""
        self._connection.execute("CREATE INDEX held_by_key ON held (fingerprint)")

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, set[str]]:
        """Return the stored holders by key; keys without a holder are left out."""
        holders: dict[str, set[str]] = {}
        marks = ",".join("?" * len(fingerprints))
        for fingerprint, device_id in self._connection.execute(
            f"SELECT fingerprint, device_id FROM held WHERE fingerprint IN ({marks})",  # noqa: S608 - question marks alone
            list(fingerprints),
        ):
            holders.setdefault(fingerprint, set()).add(device_id)
        return holders

    def refuse_contested(self) -> None:
        """Refuse the written rows whose key another device holds too, or whose device has another key.

        The former must be removed from the registry again: see `to_take_back`.
        """
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute("CREATE INDEX IF NOT EXISTS held_by_device ON held (device_id)")
            self._connection.execute(_FIND_SHARED)
            self._connection.execute(_REFUSE_SHARED, {"reason": Refusal.KEY_OF_OTHER_DEVICE.value})
            self._connection.execute(_REFUSE_OVERWRITTEN, {"reason": Refusal.CHANGED_MEANWHILE.value})

    def to_take_back(self, size: int) -> Sequence[StagedRow]:
        """Return at most `size` rows that must be removed from the registry again."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM taken_back JOIN row USING (ordinal) LIMIT ?",  # noqa: S608 - a constant
            (size,),
        )
        return [_row(values) for values in found]

    def taken_back(self, rows: Iterable[StagedRow]) -> None:
        """Record that rows were removed again, in one transaction."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM taken_back WHERE ordinal = ?", ((row.ordinal,) for row in rows))

    def _reported(self, condition: str) -> Iterator[StagedRow]:
        columns = "ordinal, file, line, member, device_id, NULL, reason, detail"
        select = f"SELECT {columns} FROM row JOIN result USING (ordinal) WHERE {condition}"  # noqa: S608 - constants
        for found in self._connection.execute(f"{select} ORDER BY row.ordinal"):
            yield StagedRow(*found)

    def _begin(self) -> None:
        # A second import of the same files must not open it.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'row'").fetchone():
            self._connection.executescript("BEGIN;" + _SCHEMA + "COMMIT;")


def _values(row: StagedRow) -> tuple[object, ...]:
    """The row's values in the table `row`; see `_COLUMNS`."""
    record = row.record
    if record is None:
        return (*row[:5], None, None, None, None, None)
    attributes = json.dumps(dict(record.attributes)) if record.attributes else None
    status = record.status.value
    return (*row[:5], record.spki, record.fingerprint, status, attributes, record.not_before)


def _row(values: tuple[Any, ...]) -> StagedRow:
    """An admitted row, from its values."""
    ordinal, file, line, member, device_id, spki, fingerprint, status, attributes, not_before = values
    named = {} if attributes is None else json.loads(attributes)
    record = EnrollmentRecord(device_id, spki, fingerprint, DeviceStatus(status), named, not_before)
    return StagedRow(ordinal, file, line, member, device_id, record)
