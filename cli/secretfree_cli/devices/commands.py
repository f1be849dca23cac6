"""The commands for enrolled devices: list, show, remove, export, index-keys, stats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import click
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.command_line import command
from secretfree_cli.devices import enrolled as registry
from secretfree_cli.devices.chosen import accepted_ids, all_ids, ids_option, outcomes_shown
from secretfree_cli.devices.device_report import emit_report, report_on
from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.devices.listing import Criteria, Listing, Page, fingerprint_of
from secretfree_cli.importing.index_keys import index_keys as add_fingerprints
from secretfree_cli.importing.options import (
    device_id_of,
    exit_code_of,
    progress_shown,
)
from secretfree_cli.importing.run import registry_of
from secretfree_cli.importing.whole_file import WholeFile
from secretfree_cli.output import (
    CliError,
    ExitCode,
    emit_fields,
    emit_json,
    emit_json_array,
    emit_table,
    inline,
    json_option,
    note,
)
from secretfree_cli.target import Target, target_options

_SHOWN_IDS: Final = 10
_ROWS_PER_TABLE: Final = 1_000
"""Number of rows that are aligned together, so that memory stays constant for a long list."""


_batch_option = click.option("--batch", "batch_id", metavar="ID", help="Only devices of this batch.")
_status_option = click.option(
    "--status", type=click.Choice(["allowed", "blocked", "retired"]), help="Only devices with this status."
)
_prefix_option = click.option("--prefix", metavar="TEXT", help="Only devices whose id begins with this.")
_contains_option = click.option("--contains", metavar="TEXT", help="Only devices whose id contains this, in any case.")
_key_option = click.option(
    "--key", metavar="FINGERPRINT|FILE", help="Only the device with this key: hex SHA-256 of the SPKI, or a file."
)


@command("list")
@_status_option
@_batch_option
@_prefix_option
@_contains_option
@_key_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="List at most this many devices.")
@click.option("--after", metavar="DEVICE_ID", help="Continue after this device, the last one of the previous page.")
@click.option("--descending", is_flag=True, help="With --batch: ids in descending order.")
@json_option
@target_options
def list_devices(
    *,
    target: Target,
    status: str | None,
    batch_id: str | None,
    prefix: str | None,
    contains: str | None,
    key: str | None,
    limit: int,
    after: str | None,
    descending: bool,
    as_json: bool,
) -> None:
    """List enrolled devices, a page at a time.

    --batch and --key read an index, so the cost depends on the result. --status, --prefix and --contains read the table
    until the page is full. The devices of a batch are sorted by id, others have no order.
    """
    criteria = Criteria(
        None if status is None else DeviceStatus(status), batch_id, prefix, contains, key and fingerprint_of(key)
    )
    found = Listing(target).devices(criteria, limit=limit + 1, after=after, descending=descending)
    page = Page(found, limit)
    if as_json:
        emit_json_array("devices", map(registry.describe, page), lambda: {"more": page.more, "next": page.next})
        return
    for rows in iter(lambda: list(islice(page, _ROWS_PER_TABLE)), []):
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
                for row in map(registry.describe, rows)
            ),
        )
    if page.more:
        note(f"there are more than {limit}: --after {page.next} continues, --limit shows more at once")


@command("show")
@click.argument("device_id", required=False)
@_key_option
@_contains_option
@_batch_option
@json_option
@target_options
def show(
    *,
    target: Target,
    device_id: str | None,
    key: str | None,
    contains: str | None,
    batch_id: str | None,
    as_json: bool,
) -> None:
    """Show one device: the registry's entry, its issuances, and its certificates in the ledger and at IoT Core.

    Select the device by its id, by its key, or by a unique part of its id. Exit code 4 if the device is not enrolled,
    even if the ledger or IoT Core has it.
    """
    if device_id is None:
        if not (key or contains or batch_id):
            raise click.UsageError("pass DEVICE_ID, --key, --contains or --batch")
        criteria = Criteria(batch=batch_id, contains=contains, fingerprint=key and fingerprint_of(key))
        device_id = _the_one(target, criteria)
    elif key or contains or batch_id:
        raise click.UsageError("DEVICE_ID excludes --key, --contains and --batch")
    else:
        device_id = device_id_of(target, device_id)
    table = registry_of(target)
    report = report_on(target, device_id, table.read([device_id]).get(device_id))
    if not report.is_known:
        raise registry.not_enrolled(table, device_id)
    if as_json:
        emit_json(report.document())
    else:
        emit_report(report)
    if report.enrolled is None:
        sys.exit(ExitCode.NOT_FOUND)


@command("remove")
@click.argument("device_ids", nargs=-1, metavar="DEVICE_ID...")
@ids_option
@click.option("--force", is_flag=True, help="Also remove devices with an active certificate or an unknown ledger.")
@json_option
@target_options
def remove(*, target: Target, device_ids: tuple[str, ...], ids_file: TextIO | None, force: bool, as_json: bool) -> None:
    """Remove devices from the registry, unless they have an active certificate in the ledger or at IoT Core."""
    accepted, table = accepted_ids(target, all_ids(device_ids, ids_file)), registry_of(target)
    ledger = LedgerView(target)
    iot = None if force else IotView(target)
    with outcomes_shown(as_json=as_json) as outcomes:
        for given, device_id in accepted.items():
            outcomes[given] = registry.remove(table, ledger, device_id, force=force, iot=iot).value
    failed = [outcome for outcome in outcomes.values() if outcome != registry.Removal.REMOVED]
    sys.exit(exit_code_of(len(outcomes), failed, not_found=registry.Removal.NOT_FOUND))


@command("export")
@click.option("--format", "chosen", type=click.Choice(["csv", "jsonl"]), default="jsonl", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: stdout]")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME", help="CSV: add a column for this attribute.")
@click.option("--status", type=click.Choice(["allowed", "blocked"]), help="Only devices with this status.")
@_batch_option
@_prefix_option
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
    """Write the registry in a form that `enroll` reads.

    The file is written atomically. `enroll` reads each device's id, key, status and attributes from it, but ignores the
    time and the reason of a block. Retired devices have no key and are left out: `list --status retired` shows them.
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
@click.option("--dry-run", is_flag=True, help="Count without writing.")
@click.option("--parallelism", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@json_option
@target_options
def index_keys(*, target: Target, dry_run: bool, parallelism: int, as_json: bool) -> None:
    """Add key-fingerprint to devices that lack it, so that lookups by key find them. Reads the whole table.

    Items of an earlier deployment and of other tools may lack it. Exit code 3 if the keys of some devices cannot be
    read.
    """
    with progress_shown(shown=not as_json) as progress:
        done = add_fingerprints(
            registry_of(target, parallelism=parallelism), progress, dry_run=dry_run, parallelism=parallelism
        )
    if as_json:
        emit_json({"dryRun": dry_run, **done.document()})
    else:
        for what, ids in (
            ("unreadable key", done.unreadable),
            ("changed meanwhile, run it again", done.changed),
        ):
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


def _the_one(target: Target, criteria: Criteria) -> str:
    found = [device.device_id for device in Listing(target).devices(criteria, limit=_SHOWN_IDS + 1)]
    if not found:
        raise CliError("no enrolled device matches", exit_code=ExitCode.NOT_FOUND)
    if len(found) > 1:
        several = ", ".join(found[:_SHOWN_IDS]) + (", ..." if len(found) > _SHOWN_IDS else "")
        raise CliError(f"several devices match: {inline(several)}", hint="name one of them", exit_code=ExitCode.USAGE)
    return found[0]


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    file = WholeFile(path, str(path))
    try:
        with file.os_errors_as_cli_errors():
            yield file.stream
        file.finish()
    finally:
        file.close()
