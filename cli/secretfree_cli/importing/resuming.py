"""Where checkpoints lie, and which of them an import goes on with: the one of the same files, read in the same way."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.output import CliError, note

_IN_MEMORY: Final = 1024 * 1024
"""Bytes of manifests up to which a run that is not to be resumed keeps its rows in memory."""
_FORM: Final = 3
"""Of a checkpoint's content: one of another form is not gone on with."""
BATCH: Final = "batch"
"""Setting of a checkpoint: the batch. There from the beginning."""
BEGUN: Final = "begun"
"""Setting of a checkpoint: whether anything may have been written to the registry."""
_WAY: Final = "way"


@dataclass(frozen=True)
class Resumption:
    """Which import a checkpoint is of. `way` is what decides how its rows are read and judged, by options' names.

    `batch_id` is the batch that was asked for by name.
    """

    what: Mapping[str, object]
    way: Mapping[str, object]
    batch_id: str | None
    resume: bool
    restart: bool


@contextmanager
def resumable_checkpoint(asked: Resumption) -> Iterator[Checkpoint]:
    """Open the checkpoint of this very import, or a new one.

    It stays where something was written to the registry before an error, or on Ctrl-C; a first try that fails before
    that, by a wrong header or a mistyped option, leaves nothing in the way of the second.

    Raises: CliError if there is one that was not asked for, or one of an import in another way, or one that is in use
    """
    with _chosen(asked) as checkpoint:
        try:
            yield checkpoint
        except KeyboardInterrupt:
            note("cut off; the same command with --resume goes on where it stopped, with --restart it begins anew")
            raise
        except Exception as error:
            if not checkpoint.setting(BEGUN):
                checkpoint.discard()
            elif not isinstance(error, CliError) or error.hint is None:  # else the hint says what to do
                note("what was done so far stays; the same command with --resume goes on with it")
            raise


@contextmanager
def scratch_checkpoint(size: int) -> Iterator[Checkpoint]:
    """Open a checkpoint that nobody will go on with, for manifests of `size` bytes."""
    if size <= _IN_MEMORY:
        with Checkpoint(None) as checkpoint:
            yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="secretfree-") as folder, Checkpoint(Path(folder, "rows")) as checkpoint:
        yield checkpoint


def state_folder() -> Path:
    """Return the user's own folder for checkpoints (XDG Base Directory Specification: state).

    Not the project's: an import is gone on with from whatever folder it is called again.
    """
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".local" / "state"
    return base / "secretfree" / "enrollment"


def _chosen(asked: Resumption) -> Checkpoint:
    checkpoint = _opened(asked.what)
    batch = checkpoint.setting(BATCH)
    if batch is None:
        if asked.resume:
            note("nothing to resume: no import of these files into this table was cut off here; this begins a new one")
    elif asked.restart:
        if checkpoint.setting(BEGUN):
            note(f"what batch {batch['id']} wrote stays; `secretfree batch revert {batch['id']}` undoes it")
            note(
                f"to keep it: `secretfree batch close {batch['id']}`, or later imports take it for one that still runs"
            )
        checkpoint.discard()
        checkpoint = _opened(asked.what)
    else:
        try:
            _require_same_way(asked, checkpoint.setting(_WAY) or {}, str(batch["id"]))
        except CliError:
            checkpoint.close()
            raise
        return checkpoint
    checkpoint.keep(_WAY, asked.way)
    return checkpoint


def _require_same_way(asked: Resumption, way: Mapping[str, Any], batch_id: str) -> None:
    if not asked.resume:
        raise CliError(
            f"an import of these files into this table was cut off before (batch {batch_id})",
            hint="--resume goes on with it; --restart forgets it and begins another batch",
        )
    given = json.loads(json.dumps(asked.way))
    other = [name for name in given if given[name] != way.get(name)]
    if asked.batch_id not in {None, batch_id}:
        other.append("--batch")
    if other:
        raise CliError(
            f"the import that was cut off (batch {batch_id}) was begun with another {', '.join(other)}",
            hint="resume it with the options that it had; --restart forgets it and begins another batch",
        )


def _opened(what: Mapping[str, object]) -> Checkpoint:
    folder = state_folder()
    digest = hashlib.sha256(json.dumps({"form": _FORM, **what}, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:32]}.sqlite"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Checkpoint(path)
    except OSError as error:
        raise CliError(
            f"the folder for checkpoints cannot be made: {error}", hint="XDG_STATE_HOME names another place"
        ) from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CliError("another import of these files into this table is running") from error
        raise CliError(f"{path}: {error}", hint="XDG_STATE_HOME names another place") from error
