"""Shared parts of the commands of a session: options, the keys of manifests, the session and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from secretfree.registry.admission import EnrollmentRecord, RowRefused
from secretfree.registry.gate import Gate
from secretfree.registry.store import find_batch

from secretfree_cli.command_line import section
from secretfree_cli.factory.bench import SessionTally
from secretfree_cli.factory.codes import ManifestKeys
from secretfree_cli.factory.gs1 import APPLICATION_IDENTIFIER, SERIAL_NUMBER
from secretfree_cli.factory.session import EnrollmentSession
from secretfree_cli.importing.run import caller_arn, registry_of
from secretfree_cli.manifests.detect import FormatOptions, open_manifest
from secretfree_cli.manifests.manifest import Manifest
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, note
from secretfree_cli.target import Target

code_option = section("The codes")


def bell_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--bell`."""
    help_text = "Ring the bell for each device: once for OK, three times for FAIL."
    return click.option("--bell/--no-bell", default=True, help=help_text)(function)


def all_devices_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--count`; 0 is all."""
    return click.option(
        "--count",
        type=click.IntRange(min=0),
        metavar="N",
        default=0,
        show_default=True,
        help="Stop after N devices; 0 is all.",
    )(function)


def code_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--keys` and `--gs1-identifier`; the second arrives as `application_identifier`."""

    def checked(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
        if not APPLICATION_IDENTIFIER.fullmatch(text):
            raise click.BadParameter(f"{text!a}; accepted: 2 to 4 digits, such as 21")
        return text

    for option in (
        code_option(
            "--gs1-identifier",
            "application_identifier",
            metavar="AI",
            default=SERIAL_NUMBER,
            show_default=True,
            callback=checked,
            help="GS1 labels: application identifier whose value is the device id. 21 is the serial number.",
        ),
        code_option(
            "--keys",
            multiple=True,
            type=click.Path(exists=True, path_type=Path),
            help="Manifest with the keys. Only its scanned devices are enrolled.",
        ),
    ):
        function = option(function)
    return function


def known_keys(paths: Sequence[Path], options: FormatOptions, gate: Gate, *, forced: str | None) -> ManifestKeys | None:
    """Return the keys of the manifests; None without a manifest. The keys of refused rows are left out."""
    manifests = [open_manifest(path, options, forced=forced) for path in paths]
    return ManifestKeys(_records(manifests, gate)) if manifests else None


def open_session(
    target: Target, gate: Gate, source: str, origin: str, batch_id: str | None, *, dry_run: bool
) -> EnrollmentSession:
    """Return a session that is one batch; raises CliError if the batch's id is taken."""
    table = registry_of(target, parallelism=1)
    if batch_id is not None and find_batch(table, batch_id) is not None:
        raise CliError(f"batch {batch_id!r} exists already", hint="omit --batch, or pass another id")
    return EnrollmentSession(table, gate, caller_arn(target), source, origin, batch_id, dry_run)


def show_session(session: EnrollmentSession, tally: SessionTally, *, as_json: bool) -> None:
    """Write the batch and its counts to stdout."""
    batch = None if session.batch is None else session.batch.id
    account = {"accepted": tally.accepted, "refused": tally.refused, "unreadable": tally.unreadable}
    if as_json:
        emit_json({"batch": batch, "dryRun": session.dry_run, **account, **session.counts})
        return
    if session.dry_run:
        note("dry run: nothing was written; a session would end with these counts")
    emit_fields({"batch": batch, **{name: count for name, count in account.items() if count}})


def exit_code_of(tally: SessionTally, *, count: int = 0) -> ExitCode:
    """Return 1 for a session that was interrupted with nothing enrolled, or before `count` devices."""
    if tally.cut_short and (not tally.accepted or tally.accepted + tally.refused < count):
        return ExitCode.FAILURE
    if not tally.refused + tally.unreadable:
        return ExitCode.OK
    return ExitCode.PARTLY_REFUSED if tally.accepted else ExitCode.REFUSED


def _records(manifests: Iterable[Manifest], gate: Gate) -> Iterator[EnrollmentRecord]:
    for manifest in manifests:
        refused = 0
        for entry in manifest.entries():
            try:
                if entry.broken is not None:
                    raise entry.broken
                yield gate.admit(manifest.interpret(entry))
            except RowRefused:
                refused += 1
        if refused:
            note(f"{manifest.name}: {refused} rows would be refused; their keys are not known here")
