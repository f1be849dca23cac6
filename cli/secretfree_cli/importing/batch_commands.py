"""The commands for batches: `batch list`, `show`, `revert` and `close`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click
from secretfree.registry.batch import Batch, BatchState
from secretfree.registry.store import find_batch, list_batches, save_batch

from secretfree_cli.command_line import Group
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.importing.options import progress_shown
from secretfree_cli.importing.revert import STAYING, Undone
from secretfree_cli.importing.revert import revert as revert_batch
from secretfree_cli.importing.run import registry_of
from secretfree_cli.output import CliError, ExitCode, camel_case, emit_fields, emit_json, emit_table, json_option, note
from secretfree_cli.target import Target, target_options

_SHOWN_IDS = 10


@click.group("batch", cls=Group)
def batch() -> None:
    """Show enrolment batches, and undo one."""


@batch.command("list")
@json_option
@target_options
def batch_list(*, target: Target, as_json: bool) -> None:
    """List the batches, the latest first."""
    found = list_batches(registry_of(target))
    if as_json:
        emit_json({"batches": [_batch_document(one) for one in found]})
        return
    emit_table(
        ("BATCH", "STATE", "STARTED", "BY", "FILES", "ENROLLED", "REFUSED"),
        (
            (
                one.id,
                one.state.value,
                one.started_at,
                one.enrolled_by,
                ", ".join(file.name for file in one.files),
                one.counts.get("enrolled", ""),
                one.counts.get("refused", ""),
            )
            for one in found
        ),
    )


@batch.command("show")
@click.argument("batch_id")
@json_option
@target_options
def batch_show(*, target: Target, batch_id: str, as_json: bool) -> None:
    """Show one batch: who enrolled what, when, from which files."""
    found = _require_batch(target, batch_id)
    if as_json:
        emit_json(_batch_document(found))
        return
    emit_fields(
        {
            "batch": found.id,
            "state": found.state.value,
            "enrolled by": found.enrolled_by,
            "started": found.started_at,
            "finished": found.finished_at,
            "replace reason": found.replace_reason,
            **found.counts,
        }
    )
    for file in found.files:
        emit_fields({"file": f"{file.name} ({file.format}) sha256:{file.sha256}"})


@batch.command("revert")
@click.argument("batch_id")
@click.option("--force", is_flag=True, help="Also remove devices with an active certificate or an unknown ledger.")
@click.option("--parallelism", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@json_option
@target_options
def batch_revert(*, target: Target, batch_id: str, force: bool, parallelism: int, as_json: bool) -> None:
    """Undo a batch: remove its devices, and restore the former key of each device whose key it replaced.

    Devices that now belong to a later batch stay. Without --force, a device with an active certificate stays too. The
    command reads the ledger for each device, which takes many times as long as the import.
    """
    found, ledger = _require_batch(target, batch_id), LedgerView(target)
    if not ledger.is_known and not force:
        raise CliError(
            "the command needs the ledger, to find the devices with an active certificate",
            hint="name the stack with --stack, or pass --force",
            exit_code=ExitCode.USAGE,
        )
    table = registry_of(target, parallelism=parallelism)
    try:
        with progress_shown(shown=not as_json) as progress:
            reverted = revert_batch(table, ledger, found, progress, force=force, parallelism=parallelism)
    except KeyboardInterrupt:
        note("interrupted; the same command resumes where it stopped")
        raise
    undone = reverted.counts
    if as_json:
        emit_json({"batch": batch_id, **{camel_case(name): number for name, number in undone.items()}})
    else:
        emit_fields({"batch": batch_id, **{name: number for name, number in undone.items() if number}})
    if undone[Undone.REPLACED_SINCE]:
        note(
            f"{undone[Undone.REPLACED_SINCE]} devices of the batch have another key from a later batch: they stay "
            "until that batch is reverted too"
        )
    for device_id in reverted.unreadable[:_SHOWN_IDS]:
        note(f"{device_id!a}: the record or its former records cannot be read; it stays unchanged")
    if undone[Undone.FORMER_KEY_TAKEN]:
        note(
            f"{undone[Undone.FORMER_KEY_TAKEN]} devices stay unchanged: their former keys are enrolled for other "
            "devices"
        )
    sys.exit(ExitCode.PARTLY_REFUSED if any(undone[outcome] for outcome in STAYING) else ExitCode.OK)


@batch.command("close")
@click.argument("batch_id")
@json_option
@target_options
def batch_close(*, target: Target, batch_id: str, as_json: bool) -> None:
    """Close a batch whose import was interrupted and will not be resumed. Its devices stay enrolled.

    While the batch is open, every other import reads the whole table a second time at its end. Do not close a batch
    whose import still runs.
    """
    found, table = _require_batch(target, batch_id), registry_of(target)
    if found.state is BatchState.REVERTING:
        raise CliError(f"batch {batch_id} is being reverted", hint=f"`secretfree batch revert {batch_id}` resumes it")
    if found.state is BatchState.IMPORTING:
        found = found.finished(BatchState.COMPLETE, datetime.now(UTC))
    save_batch(table, found)
    if as_json:
        emit_json(_batch_document(found))
        return
    emit_fields({"batch": found.id, "state": found.state.value})


def _require_batch(target: Target, batch_id: str) -> Batch:
    found = find_batch(registry_of(target), batch_id)
    if found is None:
        raise CliError(f"there is no batch {batch_id!a}", hint="`secretfree batch list`", exit_code=ExitCode.NOT_FOUND)
    return found


def _batch_document(one: Batch) -> dict[str, object]:
    return {
        "batch": one.id,
        "state": one.state.value,
        "enrolledBy": one.enrolled_by,
        "startedAt": one.started_at,
        "finishedAt": one.finished_at,
        "replaceReason": one.replace_reason,
        "files": [asdict(file) for file in one.files],
        "counts": dict(one.counts),
    }
