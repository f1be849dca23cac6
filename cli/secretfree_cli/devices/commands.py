"""The commands that look after enrolled devices: list, show, block, unblock, remove, export, index-keys, stats."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import click
from secretfree.registry.entry import DeviceStatus
from secretfree_cli.command_line import command
from secretfree_cli.devices import enrolled as registry
from secretfree_cli.devices.device_report import emit_report, report_on
from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.importing.index_keys import index_keys as add_fingerprints
from secretfree_cli.importing.options import device_id_of, exit_code_of, progress_shown, show_outcomes
from secretfree_cli.importing.run import registry_of
from secretfree_cli.importing.whole_file import WholeFile
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, emit_table, json_option, note
from secretfree_cli.target import Target, target_options

_NOT_FOUND: Final = registry.Removal.NOT_FOUND.value
_SHOWN_IDS: Final = 10
_CHANGED: Final = registry.Removal.CHANGED.value


@command("list")
@click.option("--status", type=click.Choice(["allowed", "blocked"]))
@click.option("--batch", "batch_id", metavar="ID", help="Only devices of this batch.")
@click.option("--prefix", metavar="TEXT", help="Only device ids that begin so.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@json_option
@target_options
def list_devices(
    *, target: Target, status: str | None, batch_id: str | None, prefix: str | None, limit: int, as_json: bool
) -> None:
    """List enrolled devices."""
    found: list[dict[str, object]] = []
    more = False
    for device in registry.select(registry_of(target), _selection(status, batch_id, prefix)):
        if len(found) == limit:
            more = True
            break
        found.append(registry.describe(device))
    if as_json:
        emit_json({"devices": found, "more": more})
        return
    emit_table(
        ("DEVICE", "STATUS", "KEY FINGERPRINT", "BATCH", "ENROLLED"),
        (
            (
                row["deviceId"],
                row["status"],
                str(row.get("keyFingerprint", ""))[:16],
                row.get("batch"),
                row.get("enrolledAt"),
            )
            for row in found
        ),
    )
    if more:
        note(f"there are more than {limit}; --limit shows more, `secretfree export` all")


@command("show")
@click.argument("device_id")
@json_option
@target_options
def show(*, target: Target, device_id: str, as_json: bool) -> None:
    """Show one device: the registry's entry, its issuances, and its certificates in the ledger and at IoT Core.

    Exit code 4 if the device is not enrolled, also if the ledger or IoT Core knows it.
    """
    name = device_id_of(target, device_id)
    table = registry_of(target)
    report = report_on(target, name, table.read([name]).get(name))
    if not report.is_known:
        raise registry.not_enrolled(table, name)
    if as_json:
        emit_json(report.document())
    else:
        emit_report(report)
    if report.enrolled is None:
        sys.exit(ExitCode.NOT_FOUND)


@command("block")
@click.argument("device_ids", nargs=-1, required=True, metavar="DEVICE_ID...")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept with the device.")
@json_option
@target_options
def block(*, target: Target, device_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Refuse devices from now on. Certificates that they have already are not revoked by this."""
    _set_status(target, device_ids, DeviceStatus.BLOCKED, reason=reason, as_json=as_json)


@command("unblock")
@click.argument("device_ids", nargs=-1, required=True, metavar="DEVICE_ID...")
@json_option
@target_options
def unblock(*, target: Target, device_ids: tuple[str, ...], as_json: bool) -> None:
    """Allow blocked devices again."""
    _set_status(target, device_ids, DeviceStatus.ALLOWED, reason=None, as_json=as_json)


@command("remove")
@click.argument("device_ids", nargs=-1, required=True, metavar="DEVICE_ID...")
@click.option("--force", is_flag=True, help="Also devices that have an active certificate, or whose ledger is unknown.")
@json_option
@target_options
def remove(*, target: Target, device_ids: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Remove devices from the registry. Refused while a device has an active certificate, by ledger or IoT Core."""
    accepted, table, ledger = _accepted(target, device_ids), registry_of(target), LedgerView(target)
    iot = None if force else IotView(target)
    with _outcomes_shown(as_json=as_json) as outcomes:
        for given, device_id in accepted.items():
            outcomes[given] = registry.remove(table, ledger, device_id, force=force, iot=iot).value
    failed = [outcome for outcome in outcomes.values() if outcome != registry.Removal.REMOVED]
    sys.exit(exit_code_of(len(outcomes), failed, not_found=registry.Removal.NOT_FOUND))


@command("export")
@click.option("--format", "chosen", type=click.Choice(["csv", "jsonl"]), default="jsonl", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: stdout]")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME", help="CSV: an attribute as a column.")
@click.option("--status", type=click.Choice(["allowed", "blocked"]))
@click.option("--batch", "batch_id", metavar="ID", help="Only devices of this batch.")
@click.option("--prefix", metavar="TEXT", help="Only device ids that begin so.")
@target_options
def export(
    *,
    target: Target,
    chosen: str,
    output: Path | None,
    attributes: tuple[str, ...],
    status: str | None,
    batch_id: str | None,
    prefix: str | None,
) -> None:
    """Write the registry in a form that `enroll` reads again.

    A file takes its place when it is whole. `enroll` takes a device's id, key, status and attributes from it; when and
    why one was blocked stays in the file.
    """
    found = registry.select(registry_of(target), _selection(status, batch_id, prefix))
    with _output(output) as stream:
        if chosen == "csv":
            exported = registry.export_csv(found, stream, attributes)
        else:
            exported = registry.export_json_lines(found, stream)
    note(f"{exported.devices} devices")
    if exported.left_out:
        names = ", ".join(exported.left_out)
        note(f"without the attributes {names}: --attribute NAME makes one a column, --format jsonl has all")


@command("index-keys")
@click.option("--dry-run", is_flag=True, help="Count, and write nothing.")
@click.option("--parallelism", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@json_option
@target_options
def index_keys(*, target: Target, dry_run: bool, parallelism: int, as_json: bool) -> None:
    """Add key-fingerprint to devices that lack it, so that they are found by their key. Reads the whole table.

    For items of an existing deployment, or written by other means than `enroll`. Exit code 3 if some devices' keys
    cannot be read.
    """
    with progress_shown(shown=not as_json) as progress:
        done = add_fingerprints(
            registry_of(target, parallelism=parallelism), progress, dry_run=dry_run, parallelism=parallelism
        )
    if as_json:
        emit_json({"dryRun": dry_run, **done.document()})
    else:
        for what, ids in (("unreadable key", done.unreadable), ("changed meanwhile, run it again", done.changed)):
            for device_id in ids[:_SHOWN_IDS]:
                note(f"{device_id}: {what}")
        counts = {name: len(found) if isinstance(found, list) else found for name, found in done.document().items()}
        emit_fields({name: number or None for name, number in counts.items()} | {"indexed": done.indexed})
    sys.exit(ExitCode.PARTLY_REFUSED if done.unreadable or done.changed else ExitCode.OK)


@command("stats")
@json_option
@target_options
def stats(*, target: Target, as_json: bool) -> None:
    """Count the registry by status, source and batch. Reads the whole table."""
    counted = registry.count(registry_of(target))
    if as_json:
        emit_json(
            {
                "devices": counted.devices,
                "byStatus": counted.by_status,
                "bySource": counted.by_source,
                "byBatch": counted.by_batch,
                "withoutFingerprint": counted.without_fingerprint,
                "unreadableKeys": counted.unreadable_keys,
            }
        )
        return
    emit_fields(
        {
            "devices": counted.devices,
            **{f"status {name}": number for name, number in sorted(counted.by_status.items())},
            **{f"source {name}": number for name, number in sorted(counted.by_source.items())},
            **{f"batch {name}": number for name, number in sorted(counted.by_batch.items())},
            "without fingerprint": counted.without_fingerprint or None,
            "unreadable keys": counted.unreadable_keys or None,
        }
    )


def _selection(status: str | None, batch_id: str | None, prefix: str | None) -> registry.Selection:
    return registry.Selection(None if status is None else DeviceStatus(status), batch_id, prefix)


def _set_status(
    target: Target, device_ids: Sequence[str], status: DeviceStatus, *, reason: str | None, as_json: bool
) -> None:
    accepted, table = _accepted(target, device_ids), registry_of(target)
    with _outcomes_shown(as_json=as_json) as outcomes:
        for given, device_id in accepted.items():
            try:
                changed = registry.set_status(table, device_id, status, reason=reason)
            except CliError as error:
                if len(accepted) == 1:
                    raise
                outcomes[given] = _NOT_FOUND if error.exit_code == ExitCode.NOT_FOUND else _CHANGED
            else:
                outcomes[given] = status.value if changed else f"already-{status.value}"
    failed = [outcome for outcome in outcomes.values() if outcome in {_NOT_FOUND, _CHANGED}]
    sys.exit(exit_code_of(len(outcomes), failed, not_found=_NOT_FOUND))


def _accepted(target: Target, device_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the ids as they were given, and as they are enrolled: all of them, before the first device is touched."""
    return {given: device_id_of(target, given) for given in device_ids}


@contextmanager
def _outcomes_shown(*, as_json: bool) -> Iterator[dict[str, str]]:
    """Show what became of each device, also where an error ends it before the last."""
    outcomes: dict[str, str] = {}
    try:
        yield outcomes
    except BaseException:
        if outcomes:
            show_outcomes(outcomes, as_json=as_json)
        raise
    show_outcomes(outcomes, as_json=as_json)


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    file = WholeFile(path, str(path))
    try:
        with file.told():
            yield file.stream
        file.finish()
    finally:
        file.close()
