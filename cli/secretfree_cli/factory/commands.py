"""`secretfree enroll uart` and `enroll scan`: devices enrolled one after another, as they are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from secretfree.registry.admission import EnrollmentRecord, RowRefused
from secretfree.registry.gate import Gate
from secretfree.registry.store import find_batch

from secretfree_cli.command_line import command, section
from secretfree_cli.factory.bench import SessionTally, Signal, enroll_from_codes
from secretfree_cli.factory.codes import ManifestKeys
from secretfree_cli.factory.gs1 import APPLICATION_IDENTIFIER, SERIAL_NUMBER
from secretfree_cli.factory.session import EnrollmentSession, closing_batch
from secretfree_cli.factory.uart import DEFAULT_BAUD, DEFAULT_KEY_TIMEOUT
from secretfree_cli.importing.options import (
    batch_option,
    device_profile_option,
    dry_run_option,
    format_options,
    format_options_of,
    gate_of,
)
from secretfree_cli.importing.run import caller_arn, registry_of
from secretfree_cli.manifests.detect import open_manifest
from secretfree_cli.manifests.manifest import Manifest
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option, note
from secretfree_cli.target import Target, target_options

_port_option = section("The port")
_code_option = section("The codes")


def _bell_option(function: Callable[..., Any]) -> Callable[..., Any]:
    help_text = "Ring for each device: once for OK, three times for FAIL."
    return click.option("--bell/--no-bell", default=True, help=help_text)(function)


def _checked_identifier(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if not APPLICATION_IDENTIFIER.fullmatch(text):
        raise click.BadParameter(f"{text!a}; accepted are 2 to 4 digits, such as 21")
    return text


@command("uart")
@click.option(
    "--count",
    type=click.IntRange(min=0),
    metavar="N",
    default=1,
    show_default=True,
    help="Stop after N devices; 0 runs until Ctrl-C.",
)
@dry_run_option
@_bell_option
@device_profile_option
@json_option
@_port_option("--port", "--serial", "port", required=True, metavar="PORT", help="Serial port, or a URL of pyserial.")
@_port_option("--baud", type=click.IntRange(min=50), default=DEFAULT_BAUD, show_default=True)
@_port_option(
    "--key-timeout",
    type=click.FloatRange(min=0.1),
    default=DEFAULT_KEY_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Ignore a key that arrives more than this many seconds after its id.",
)
@_port_option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Stop after this many seconds, with exit code 1 if fewer than --count devices were read.",
)
@batch_option
@target_options
def enroll_uart(
    *,
    target: Target,
    port: str,
    baud: int,
    count: int,
    key_timeout: float,
    timeout: float | None,
    dry_run: bool,
    bell: bool,
    device_profile: str | None,
    batch_id: str | None,
    as_json: bool,
) -> None:
    """Enrol devices that print their id and public key on a serial port, one after another.

    A device prints `Unique device ID = ` with 16 hex bytes and then its key or its certificate request, or one line of
    JSON, or a certificate request alone. Each device is answered with OK or FAIL. Exit code: 0 all devices taken, 3
    some refused, 5 all refused, 1 stopped with nothing enrolled.
    """
    from secretfree_cli.factory.serial_port import enroll_from_serial  # pyserial is of the extra `factory`

    gate = gate_of(target, device_profile)
    session = _session(target, gate, "uart", port, batch_id, dry_run=dry_run)
    with closing_batch(session):
        tally = enroll_from_serial(
            port,
            enroll=session.enroll,
            baud=baud,
            count=count or None,
            profile=gate.profile,
            key_timeout=key_timeout,
            timeout=timeout,
            signal=Signal(bell=bell),
        )
    _show(session, tally, as_json=as_json)
    sys.exit(_exit_code(tally, count=count))


@command("scan")
@click.option("--scan", is_flag=True, hidden=True)
@click.option(
    "--count",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Stop after N devices; 0 is all.",
)
@dry_run_option
@_bell_option
@json_option
@_code_option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read the codes from this picture, not from a scanner that types them.",
)
@_code_option(
    "--keys",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Manifest with the keys. Of its devices, only those that are scanned are enrolled.",
)
@_code_option(
    "--gs1-identifier",
    "application_identifier",
    metavar="AI",
    default=SERIAL_NUMBER,
    show_default=True,
    callback=_checked_identifier,
    help="GS1 labels: application identifier whose value is the device id. 21 is the serial number.",
)
@batch_option
@format_options
@target_options
def enroll_scan(
    *,
    target: Target,
    scan: bool,
    images: tuple[Path, ...],
    keys: tuple[Path, ...],
    application_identifier: str,
    count: int,
    dry_run: bool,
    bell: bool,
    forced: str | None,
    device_profile: str | None,
    batch_id: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Enrol devices by bar or QR codes: from a scanner that types them as lines on stdin, or from pictures.

    Each device is answered with OK or FAIL. Exit code: 0 all devices taken, 3 some refused, 5 all refused, 1 stopped
    with nothing enrolled, or no code at all.
    """
    if scan and images:
        raise click.UsageError("--scan and --image contradict each other")
    gate = gate_of(target, device_profile)
    options = format_options_of(gate.profile, **reading)
    manifests = [open_manifest(path, options, forced=forced) for path in keys]
    origin = ", ".join(path.name for path in images)
    source = "image" if images else "scan"
    session = _session(target, gate, source, origin or "stdin", batch_id, dry_run=dry_run)
    with closing_batch(session):
        tally = enroll_from_codes(
            _codes(images) if images else _typed_codes(),
            enroll=session.enroll,
            known=ManifestKeys(_records(manifests, gate)) if manifests else None,
            key_required=not gate.key_optional,
            count=count or None,
            profile=gate.profile,
            application_identifier=application_identifier,
            signal=Signal(bell=bell),
        )
    _show(session, tally, as_json=as_json)
    if not (tally.accepted or tally.refused or tally.unreadable or tally.cut_short):
        note("no code was read")
        sys.exit(ExitCode.FAILURE)
    sys.exit(_exit_code(tally))


def _session(
    target: Target, gate: Gate, source: str, origin: str, batch_id: str | None, *, dry_run: bool
) -> EnrollmentSession:
    table = registry_of(target, parallelism=1)
    if batch_id is not None and find_batch(table, batch_id) is not None:
        raise CliError(f"batch {batch_id!r} exists already", hint="leave --batch out, or give another id")
    return EnrollmentSession(table, gate, caller_arn(target), source, origin, batch_id, dry_run)


def _typed_codes() -> Iterator[str]:
    if sys.stdin.isatty():
        note("scan the devices' codes; Ctrl-D ends")
    yield from sys.stdin


def _codes(images: Sequence[Path]) -> Iterator[str]:
    from secretfree_cli.factory.picture import codes_in_picture  # Pillow and zxing-cpp are of the extra `factory`

    for path in images:
        yield from codes_in_picture(path)


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


def _show(session: EnrollmentSession, tally: SessionTally, *, as_json: bool) -> None:
    batch = None if session.batch is None else session.batch.id
    account = {"accepted": tally.accepted, "refused": tally.refused, "unreadable": tally.unreadable}
    if as_json:
        emit_json({"batch": batch, "dryRun": session.dry_run, **account, **session.counts})
        return
    if session.dry_run:
        note("dry run: nothing was written; a session would end with these counts")
    emit_fields({"batch": batch, **{name: count for name, count in account.items() if count}})


def _exit_code(tally: SessionTally, *, count: int = 0) -> ExitCode:
    """Return 1 for a session that was cut short with nothing enrolled, or before the `count` devices asked for."""
    if tally.cut_short and (not tally.accepted or tally.accepted + tally.refused < count):
        return ExitCode.FAILURE
    if not tally.refused + tally.unreadable:
        return ExitCode.OK
    return ExitCode.PARTLY_REFUSED if tally.accepted else ExitCode.REFUSED
