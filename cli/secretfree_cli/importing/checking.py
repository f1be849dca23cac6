"""Checks entries by their format and the gate, on all cores, because parsing keys takes most of an import's time."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice, starmap
from multiprocessing import connection
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.gate import Gate
from secretfree.request.parsing import refusing_parser_errors

from secretfree_cli.importing.checkpoint import StagedRow
from secretfree_cli.manifests.manifest import Entry, Manifest
from secretfree_cli.output import CliError

_WORTH_PROCESSES: Final = 1024 * 1024
"""Size in bytes below which a manifest is checked faster than a process starts."""
_ENTRIES_AT_ONCE: Final = 250
_SHOWN_ID: Final = 200


def check(entries: Iterator[Entry], manifest: Manifest, gate: Gate, *, first: int, file: int) -> Iterator[StagedRow]:
    """Yield each entry as a row, admitted or refused, in order. `first` is the ordinal of the first row.

    A large manifest is distributed among processes, one per core. Only a few hundred entries for each are in memory.
    """
    checker = _Checker(manifest, gate, file)
    cores = os.cpu_count() or 1
    runs = _runs(entries, first)
    if manifest.size < _WORTH_PROCESSES or cores < 2:
        yield from chain.from_iterable(starmap(checker.staged, runs))
        return
    # A format may configure itself from its first lines.
    yield from chain.from_iterable(starmap(checker.staged, islice(runs, 1)))
    # Forked where that is safe, because a new interpreter takes as long as thousands of rows.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_begin, initargs=(_pickled(checker),)) as pool:
        running: deque[Future[Sequence[StagedRow]]] = deque()
        for ordinal, run in runs:
            running.append(pool.submit(_staged, ordinal, run))
            if len(running) > 2 * cores:
                yield from running.popleft().result()
        yield from chain.from_iterable(future.result() for future in running)


def _runs(entries: Iterator[Entry], first: int) -> Iterator[tuple[int, Sequence[Entry]]]:
    """Split `entries` into runs, each with the ordinal of its first entry."""
    while run := list(islice(entries, _ENTRIES_AT_ONCE)):
        yield first, run
        first += len(run)


class _Checker:
    def __init__(self, manifest: Manifest, gate: Gate, file: int) -> None:
        self._manifest = manifest
        self._gate = gate
        self._file = file

    def staged(self, first: int, run: Sequence[Entry]) -> Sequence[StagedRow]:
        return [self._staged(ordinal, entry) for ordinal, entry in enumerate(run, first)]

    def _staged(self, ordinal: int, entry: Entry) -> StagedRow:
        device_id = None
        member = None if entry.member is None else encodable(entry.member)
        try:
            if entry.broken is not None:
                raise entry.broken
            with refusing_parser_errors(_unreadable, ours=(RowRefused, CliError, MemoryError)):
                row = self._manifest.interpret(entry)
                device_id = row.device_id
                record = self._gate.admit(row)
        except RowRefused as refused:
            shown = None if device_id is None else device_id.encode("ascii", "backslashreplace").decode()[:_SHOWN_ID]
            reason, detail = refused.reason, encodable(refused.detail)
            return StagedRow(ordinal, self._file, entry.line, member, shown, reason=reason, detail=detail)
        return StagedRow(ordinal, self._file, entry.line, member, record.device_id, record)


def _unreadable(error: BaseException) -> RowRefused:
    return RowRefused(Refusal.MALFORMED_ROW, f"the row cannot be read ({type(error).__name__})")


def encodable(text: str) -> str:
    """Return `text` with escapes for what UTF-8 cannot encode, such as undecodable bytes of a file or its name."""
    return text.encode("utf-8", "backslashreplace").decode()


_checker: _Checker  # State of a worker process. The pool calls `_begin` before any other function.


def _begin(pickled: bytes) -> None:
    """Initialise a worker: the parent handles Ctrl-C, and the worker ends with its parent."""
    global _checker  # noqa: PLW0603 - a worker process has one job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _checker = pickle.loads(pickled)  # noqa: S301 - from the parent process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _staged(first: int, run: Sequence[Entry]) -> Sequence[StagedRow]:
    return _checker.staged(first, run)


class _Pickler(pickle.Pickler):
    """Pickles the objects of the `cryptography` library in manifests as DER."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, x509.Certificate):
            return _certificate, (obj.public_bytes(Encoding.DER),)
        if isinstance(obj, ec.EllipticCurvePublicKey):
            return _public_key, (obj.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),)
        return NotImplemented


def _pickled(checker: _Checker) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(checker)
    return buffer.getvalue()


# The library's own loaders name a module that cannot be imported.
def _certificate(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _public_key(der: bytes) -> PublicKeyTypes:
    return load_der_public_key(der)
