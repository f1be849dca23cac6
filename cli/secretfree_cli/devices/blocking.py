"""The commands `block` and `unblock`: devices by their ids, or a batch at a bounded rate."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final, TextIO

import click
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.store import find_batch

from secretfree_cli.command_line import command
from secretfree_cli.devices import enrolled as registry
from secretfree_cli.devices.chosen import accepted_ids, all_ids, ids_option, outcomes_shown
from secretfree_cli.importing.options import exit_code_of, progress_shown
from secretfree_cli.importing.run import registry_of
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option, note
from secretfree_cli.pacing import Pace
from secretfree_cli.target import Target, target_options

_NOT_FOUND: Final = registry.Removal.NOT_FOUND.value
_CHANGED: Final = registry.Removal.CHANGED.value
_WITHOUT_REVOKER: Final = (
    "nothing revokes: {why}. The devices get no new certificate, but their present ones stay active. Revoke them "
    "by hand: `secretfree show DEVICE_ID` names them"
)


@command("block")
@click.argument("device_ids", nargs=-1, metavar="DEVICE_ID...")
@ids_option
@click.option("--batch", "batch_id", metavar="ID", help="Every device of this batch. A repeated command resumes.")
@click.option(
    "--rate", type=click.FloatRange(0.1, 100), default=5.0, show_default=True, help="--batch: devices a second."
)
@click.option("--again", is_flag=True, help="Revoke the certificates of already blocked devices again.")
@click.option("--reason", required=True, metavar="TEXT", help="The reason, which is kept with the device.")
@json_option
@target_options
def block(
    *,
    target: Target,
    device_ids: tuple[str, ...],
    ids_file: TextIO | None,
    batch_id: str | None,
    rate: float,
    again: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Refuse devices from now on, revoke their certificates and end their connections.

    The function on the registry's stream revokes within seconds; `secretfree show` shows the state of the certificates.
    The limited rate of a batch leaves part of AWS IoT Core's quota of UpdateCertificate, ten a second, to the account.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty; the reason is stored with the device")
    if batch_id is None:
        ids = all_ids(device_ids, ids_file)
        _note_without_revoker(target)
        _set_status(target, ids, DeviceStatus.BLOCKED, reason=reason, again=again, as_json=as_json)
        return
    if device_ids or ids_file is not None:
        raise click.UsageError("--batch excludes DEVICE_ID and --from")
    table = registry_of(target)
    if find_batch(table, batch_id) is None:
        raise CliError(f"there is no batch {batch_id!a}", hint="`secretfree batch list`", exit_code=ExitCode.NOT_FOUND)
    _note_without_revoker(target)
    _block_batch(table, batch_id, reason=reason, again=again, pace=Pace(rate), as_json=as_json)


@command("unblock")
@click.argument("device_ids", nargs=-1, metavar="DEVICE_ID...")
@ids_option
@json_option
@target_options
def unblock(*, target: Target, device_ids: tuple[str, ...], ids_file: TextIO | None, as_json: bool) -> None:
    """Allow blocked devices again: the next request of each gets a new certificate."""
    ids = all_ids(device_ids, ids_file)
    _set_status(target, ids, DeviceStatus.ALLOWED, reason=None, again=False, as_json=as_json)


def _set_status(
    target: Target, device_ids: Sequence[str], status: DeviceStatus, *, reason: str | None, again: bool, as_json: bool
) -> None:
    accepted, table = accepted_ids(target, device_ids), registry_of(target)
    with outcomes_shown(as_json=as_json) as outcomes:
        for given, device_id in accepted.items():
            try:
                changed = registry.set_status(table, device_id, status, reason=reason, again=again)
            except CliError as error:
                if len(accepted) == 1:
                    raise
                outcomes[given] = _NOT_FOUND if error.exit_code == ExitCode.NOT_FOUND else _CHANGED
            else:
                outcomes[given] = status.value if changed else f"already-{status.value}"
    failed = [outcome for outcome in outcomes.values() if outcome in {_NOT_FOUND, _CHANGED}]
    sys.exit(exit_code_of(len(outcomes), failed, not_found=_NOT_FOUND))


def _block_batch(
    table: DynamoDbRegistryStore, batch_id: str, *, reason: str, again: bool, pace: Pace, as_json: bool
) -> None:
    """Block the devices of a batch one after another. An already blocked device costs one read and no write."""
    outcomes: Counter[str] = Counter()
    left: list[str] = []
    try:
        with progress_shown(shown=not as_json) as progress:
            progress.phase("blocking", 0)
            for device in registry.select(table, registry.Selection(batch=batch_id)):
                outcome = _blocked(table, device, reason=reason, again=again, pace=pace)
                outcomes[outcome] += 1
                if outcome == _CHANGED:
                    left.append(device.device_id)
                progress.reached(outcomes.total())
    except KeyboardInterrupt:
        note(f"interrupted after {outcomes.total()} devices; the same command resumes where it stopped")
        raise
    if as_json:
        emit_json({"batch": batch_id, "devices": dict(outcomes), "changedMeanwhile": left})
    else:
        emit_fields({"batch": batch_id, **outcomes})
    if left:
        note("some devices changed meanwhile; run it again")
    sys.exit(ExitCode.PARTLY_REFUSED if left else ExitCode.OK)


def _blocked(table: DynamoDbRegistryStore, device: EnrolledDevice, *, reason: str, again: bool, pace: Pace) -> str:
    if device.status is DeviceStatus.BLOCKED and not again:
        return "already-blocked"
    if device.status is DeviceStatus.RETIRED:
        return DeviceStatus.RETIRED.value
    pace.wait()
    try:
        registry.set_status(table, device.device_id, DeviceStatus.BLOCKED, reason=reason, again=again)
    except CliError as error:
        return _NOT_FOUND if error.exit_code == ExitCode.NOT_FOUND else _CHANGED
    return DeviceStatus.BLOCKED.value


def _note_without_revoker(target: Target) -> None:
    """Warn if no function of the stack reads the registry's stream: an existing table may have no stream."""
    if target.stack_name is None:
        note("a table alone does not say whether its stack revokes; `secretfree show --stack NAME DEVICE_ID` does")
    elif target.revoker is None:
        why = f"the stack {target.stack_name} has no function on the registry's stream"
        note(_WITHOUT_REVOKER.format(why=why))
