"""`secretfree enroll uart` and `enroll scan`: enrol devices one after another, when they are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from secretfree_cli.command_line import command, section
from secretfree_cli.factory.bench import Signal, enroll_from_codes
from secretfree_cli.factory.session import closing_batch
from secretfree_cli.factory.session_commands import (
    all_devices_option,
    bell_option,
    code_option,
    code_options,
    exit_code_of,
    known_keys,
    open_session,
    show_session,
)
from secretfree_cli.factory.uart import DEFAULT_BAUD, DEFAULT_KEY_TIMEOUT
from secretfree_cli.importing.options import (
    batch_option,
    device_profile_option,
    dry_run_option,
    format_options,
    format_options_of,
    gate_of,
)
from secretfree_cli.output import ExitCode, json_option, note
from secretfree_cli.target import Target, target_options

_port_option = section("The port")


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
@bell_option
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
    JSON, or a certificate request alone. Each device is answered with OK or FAIL. Exit code: 0 all devices enrolled, 3
    some refused, 5 all refused, 1 stopped with nothing enrolled.
    """
    from secretfree_cli.factory.serial_port import enroll_from_serial  # pyserial is in the extra `factory`.

    gate = gate_of(target, device_profile)
    session = open_session(target, gate, "uart", port, batch_id, dry_run=dry_run)
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
    show_session(session, tally, as_json=as_json)
    sys.exit(exit_code_of(tally, count=count))


@command("scan")
@click.option("--scan", is_flag=True, hidden=True)
@all_devices_option
@dry_run_option
@bell_option
@json_option
@code_option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read the codes from this picture, not from a scanner that types them.",
)
@code_options
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

    Each device is answered with OK or FAIL. Exit code: 0 all devices enrolled, 3 some refused, 5 all refused, 1 stopped
    with nothing enrolled, or no code at all.
    """
    if scan and images:
        raise click.UsageError("--scan and --image contradict each other")
    gate = gate_of(target, device_profile)
    options = format_options_of(gate.profile, **reading)
    known = known_keys(keys, options, gate, forced=forced)
    origin = ", ".join(path.name for path in images)
    source = "image" if images else "scan"
    session = open_session(target, gate, source, origin or "stdin", batch_id, dry_run=dry_run)
    with closing_batch(session):
        tally = enroll_from_codes(
            _codes(images) if images else _typed_codes(),
            enroll=session.enroll,
            known=known,
            key_required=not gate.key_optional,
            count=count or None,
            profile=gate.profile,
            application_identifier=application_identifier,
            signal=Signal(bell=bell),
        )
    show_session(session, tally, as_json=as_json)
    if not (tally.accepted or tally.refused or tally.unreadable or tally.cut_short):
        note("no code was read")
        sys.exit(ExitCode.FAILURE)
    sys.exit(exit_code_of(tally))


def _typed_codes() -> Iterator[str]:
    if sys.stdin.isatty():
        note("scan the devices' codes; Ctrl-D ends")
    yield from sys.stdin


def _codes(images: Sequence[Path]) -> Iterator[str]:
    from secretfree_cli.factory.picture import codes_in_picture  # Pillow and zxing-cpp are in the extra `factory`.

    for path in images:
        yield from codes_in_picture(path)
