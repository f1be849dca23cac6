"""The folder of checkpoints, and the checkpoint that an import resumes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.output import CliError, note

_IN_MEMORY: Final = 1024 * 1024
"""Size of manifests in bytes up to which a run that is never resumed keeps its rows in memory."""
_FORM: Final = 4
"""Version of a checkpoint's form. A checkpoint of another version is not resumed."""
BATCH: Final = "batch"
"""Setting of a checkpoint: the batch. It is set from the beginning."""
BEGUN: Final = "begun"
"""Setting of a checkpoint: whether anything may have been written to the registry."""


@dataclass(frozen=True)
class Resumption:
    """The import of a checkpoint: a batch in a table.

    `restart` discards the checkpoint. It is also discarded if the table lacks the batch that the checkpoint began,
    because the table was recreated.

    The batch's id derives from the files and the options, so that it is the same on every machine. The checkpoint saves
    work: it has the checked and the written rows. Without it, all rows are checked again, and the written ones are
    recognised in the registry.
    """

    endpoint: str | None
    table: str
    batch_id: str
    is_known: bool
    restart: bool


@contextmanager
def resumable_checkpoint(asked: Resumption) -> Iterator[Checkpoint]:
    """Open the checkpoint of this import, or a new one.

    After an error or Ctrl-C, it is kept if anything was written to the registry. A first attempt that fails before that
    removes it.

    Raises: CliError if another process has it open, or it cannot be opened
    """
    checkpoint = _opened(asked)
    if asked.restart or (checkpoint.setting(BEGUN) and not asked.is_known):
        checkpoint.discard()
        checkpoint = _opened(asked)
    with checkpoint:
        try:
            with _disk_errors_explained():
                yield checkpoint
        except KeyboardInterrupt:
            note("interrupted; the same command resumes where it stopped")
            raise
        except Exception as error:
            if not checkpoint.setting(BEGUN):
                checkpoint.discard()
            elif not isinstance(error, CliError) or error.hint is None:  # Otherwise the error's own hint is shown.
                note("completed work is kept; the same command resumes")
            raise


@contextmanager
def scratch_checkpoint(size: int) -> Iterator[Checkpoint]:
    """Open a checkpoint that is never resumed, for manifests of `size` bytes."""
    with ExitStack() as kept:
        path = None
        if size > _IN_MEMORY:
            path = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="secretfree-")), "rows")
        kept.enter_context(_disk_errors_explained())
        yield kept.enter_context(Checkpoint(path))


def state_folder() -> Path:
    """Return the user's own folder for checkpoints (XDG Base Directory Specification: state).

    It does not belong to a project: an import can be resumed from any folder.
    """
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".local" / "state"
    return base / "secretfree" / "enrollment"


@contextmanager
def _disk_errors_explained() -> Iterator[None]:
    """Turn a disk error of a checkpoint into a CliError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise CliError(
            f"the checkpoint cannot be written: {error}",
            hint="free disk space, or set another folder with XDG_STATE_HOME (TMPDIR for a dry run), and run it again",
        ) from error


def _opened(asked: Resumption) -> Checkpoint:
    folder = state_folder()
    what = json.dumps([_FORM, asked.endpoint, asked.table, asked.batch_id])
    path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.sqlite"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Checkpoint(path)
    except OSError as error:
        raise CliError(
            f"the folder for checkpoints cannot be created: {error}", hint="set another folder with XDG_STATE_HOME"
        ) from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CliError("another import of these files into this table is running") from error
        raise CliError(f"{path}: {error}", hint="set another folder with XDG_STATE_HOME") from error
