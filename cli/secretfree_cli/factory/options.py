"""The options of `secretfree enroll` for the bench and the line, and the session that they ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from secretfree.registry.admission import EnrollmentRecord, RowRefused
from secretfree.registry.batch import find_batch

from secretfree_cli.factory.bench import LineTally, Signal, enroll_from_codes, enroll_from_serial
from secretfree_cli.factory.codes import ManifestKeys
from secretfree_cli.factory.serial_port import DEFAULT_BAUD, DEFAULT_KEY_TIMEOUT
from secretfree_cli.factory.session import LineSession, closing_batch
from secretfree_cli.importing.run import caller_arn, registry_of
from secretfree_cli.manifests.manifest import Gate, Manifest
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, note
from secretfree_cli.target import Target


@dataclass(frozen=True)
class LineOptions:
    """What the operator asked of the bench or the line; `count` None is one device of a port, all of a scanner."""

    serial: str | None
    baud: int
    count: int | None
    key_timeout: float
    scan: bool
    images: tuple[Path, ...]
    keys: tuple[Path, ...]
    bell: bool

    @property
    def chosen(self) -> bool:
        """Whether devices come from here, and not from manifests."""
        return self.serial is not None or self.scan or bool(self.images)

    def require_alone(self, **others: object) -> None:
        """Raise UsageError where `others`, options of manifests by their names, or two sources are given together."""
        sources = [self.serial is not None, self.scan, bool(self.images)]
        if sum(sources) > 1:
            raise click.UsageError("--serial, --scan and --image are three sources: give one")
        if self.keys and self.serial is not None:
            raise click.UsageError("--keys goes with --scan and --image: a serial port tells the key itself")
        if self.keys and not self.chosen:
            raise click.UsageError("--keys goes with --scan and --image")
        given = [name for name, value in others.items() if value]
        if self.chosen and given:
            raise click.UsageError(f"{given[0]} does not go with --serial, --scan or --image")


def line_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; they arrive as the keyword `line`, a LineOptions."""
    names = [field.name for field in fields(LineOptions)]

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        line = LineOptions(**{name: given.pop(name) for name in names})
        return function(*args, line=line, **given)

    for option in (
        click.option("--bell/--no-bell", default=True, help="Ring for each device: once for OK, thrice for FAIL."),
        click.option(
            "--keys",
            multiple=True,
            type=click.Path(exists=True, path_type=Path),
            help="With --scan, --image: a manifest that has the keys; the scanned devices alone are enrolled.",
        ),
        click.option(
            "--image",
            "images",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A picture of bar or QR codes, each of a device.",
        ),
        click.option("--scan", is_flag=True, help="Bar or QR codes, from a scanner that types them as lines."),
        click.option(
            "--key-timeout",
            type=click.FloatRange(min=0.1),
            default=DEFAULT_KEY_TIMEOUT,
            show_default=True,
            metavar="SECONDS",
            help="With --serial: a key that comes later than this after its id is nobody's.",
        ),
        click.option(
            "--count",
            type=click.IntRange(min=0),
            metavar="N",
            help="End after N devices; 0 goes on until Ctrl-C.  [default: 1 from a port, all from a scanner]",
        ),
        click.option("--baud", type=click.IntRange(min=50), default=DEFAULT_BAUD, show_default=True),
        click.option(
            "--serial",
            metavar="PORT",
            help="Devices that print their id and public key on this serial port (or a pyserial URL), one by one.",
        ),
    ):
        command = option(command)
    return command


def run_line_session(
    target: Target,
    line: LineOptions,
    gate: Gate,
    *,
    batch_id: str | None,
    keys: Sequence[Manifest],
    as_json: bool,
) -> ExitCode:
    """Enrol what the port, the scanner or the pictures tell, as one batch; `keys` are the manifests of `--keys`.

    Exit code: 0 if every device was taken, 5 if none, 3 for anything between.
    """
    known = ManifestKeys(_records(keys, gate)) if keys else None
    source, origin = _origin(line)
    table = registry_of(target, parallelism=1)
    if batch_id is not None and find_batch(table, batch_id) is not None:
        raise CliError(f"there is a batch {batch_id!r} already", hint="leave --batch out, or name another")
    session = LineSession(table, gate, caller_arn(target), source, origin, batch_id)
    with closing_batch(session):
        if line.serial is not None:
            tally = enroll_from_serial(
                line.serial,
                enroll=session.enroll,
                baud=line.baud,
                count=1 if line.count is None else line.count or None,
                profile=gate.profile,
                key_timeout=line.key_timeout,
                signal=Signal(bell=line.bell),
            )
        else:
            tally = enroll_from_codes(
                _codes(line),
                enroll=session.enroll,
                known=known,
                key_required=not gate.key_optional,
                count=line.count or None,
                profile=gate.profile,
                signal=Signal(bell=line.bell),
            )
    _show(session, tally, as_json=as_json)
    return _exit_code(tally)


def _origin(line: LineOptions) -> tuple[str, str]:
    if line.serial is not None:
        return "uart", line.serial
    return ("scan", "stdin") if line.scan else ("image", ", ".join(path.name for path in line.images))


def _codes(line: LineOptions) -> Iterator[str]:
    if line.scan:
        if sys.stdin.isatty():
            note("scan the devices' codes; Ctrl-D ends")
        yield from sys.stdin
        return
    from secretfree_cli.factory.picture import (
        codes_in_picture,  # a decoder of pictures is loaded for those who have one
    )

    for path in line.images:
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


def _show(session: LineSession, tally: LineTally, *, as_json: bool) -> None:
    batch = None if session.batch is None else session.batch.id
    account = {"accepted": tally.accepted, "refused": tally.refused, "unreadable": tally.unreadable}
    if as_json:
        emit_json({"batch": batch, **account, **session.counts})
        return
    emit_fields({"batch": batch, **{name: count for name, count in account.items() if count}})


def _exit_code(tally: LineTally) -> ExitCode:
    if not tally.refused + tally.unreadable:
        return ExitCode.OK
    return ExitCode.PARTLY_REFUSED if tally.accepted else ExitCode.REFUSED
