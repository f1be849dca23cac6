"""The operator's view of the line: each device enrolled as it is read, with an OK or FAIL to be seen and heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import click
from secretfree.registry.admission import RowRefused
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.factory.codes import KnownKeys, pair, read_code
from secretfree_cli.factory.serial_port import DEFAULT_BAUD, DEFAULT_KEY_TIMEOUT, readings
from secretfree_cli.factory.uart import Reading, Unreadable

Enroll = Callable[[Reading], str]
"""Puts one device through the gate and into the registry; returns what was done in a word or two ("enrolled").

Raises: RowRefused
"""


@dataclass(frozen=True)
class LineTally:
    """How a session at the bench or the line went. Devices, each counted once."""

    accepted: int
    refused: int
    unreadable: int
    """Attempts that could not be read; the same device may have been read later."""


@dataclass(frozen=True)
class Signal:
    """How the operator learns of each device: a line on stderr, and the bell once for OK, thrice for FAIL."""

    bell: bool = True

    def ok(self, device: str, note: str) -> None:
        """Say that the device is done."""
        self._say(click.style(" OK ", bg="green", fg="black", bold=True), device, note, rings=1)

    def fail(self, device: str, why: str) -> None:
        """Say that the device must be put aside, and why."""
        self._say(click.style("FAIL", bg="red", fg="white", bold=True), device, why, rings=3)

    def _say(self, word: str, device: str, note: str, *, rings: int) -> None:
        click.echo(f"{word} {device}  {_printable(note)}" + ("\a" * rings if self.bell else ""), err=True)


def enroll_from_serial(
    port: str,
    *,
    enroll: Enroll,
    baud: int = DEFAULT_BAUD,
    count: int | None = 1,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    key_timeout: float = DEFAULT_KEY_TIMEOUT,
    idle_timeout: float | None = None,
    signal: Signal | None = None,
) -> LineTally:
    """Enrol `count` devices from a serial port (None: until interrupted), one after another.

    Forms that are read: `secretfree_cli.factory.uart`. Raises CliError as `serial_port.readings` does.
    """
    source = readings(port, baud=baud, profile=profile, key_timeout=key_timeout, idle_timeout=idle_timeout)
    with closing(source):
        return run_line(source, enroll=enroll, count=count, signal=signal or Signal())


def enroll_from_codes(
    lines: Iterable[str],
    *,
    enroll: Enroll,
    known: KnownKeys | None = None,
    key_required: bool = True,
    count: int | None = None,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    signal: Signal | None = None,
) -> LineTally:
    """Enrol the devices whose codes a scanner types as lines, or a picture held (`picture.codes_in_picture`).

    What a code may contain: `secretfree_cli.factory.codes`. `key_required` is False under match policy UDID only.
    """
    source = _scanned(lines, known=known, key_required=key_required, profile=profile)
    return run_line(source, enroll=enroll, count=count, signal=signal or Signal())


def run_line(source: Iterable[Reading | Unreadable], *, enroll: Enroll, count: int | None, signal: Signal) -> LineTally:
    """Enrol what `source` yields until `count` devices have had their answer, the source ends or Ctrl-C is pressed.

    A device that says the same again (a board that prints at every reset, a code scanned twice) is counted once.
    """
    answered: set[tuple[str, str | None]] = set()
    accepted = refused = unreadable = 0
    try:
        for reading in source:
            if isinstance(reading, Unreadable):
                unreadable += 1
                signal.fail(reading.device_id or "?", reading.detail)
                continue
            identity = (reading.device_id, reading.public_key.fingerprint if reading.public_key else None)
            if identity in answered:
                continue
            answered.add(identity)
            try:
                signal.ok(reading.device_id, enroll(reading))
                accepted += 1
            except RowRefused as refusal:
                signal.fail(reading.device_id, str(refusal))
                refused += 1
            if count is not None and len(answered) >= count:
                break
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    return LineTally(accepted, refused, unreadable)


def _scanned(
    lines: Iterable[str], *, known: KnownKeys | None, key_required: bool, profile: DeviceProfile
) -> Iterator[Reading | Unreadable]:
    for line in lines:
        if not line.strip():
            continue
        code = None
        try:
            code = read_code(line, profile=profile)
            yield pair(code, known, key_required=key_required)
        except RowRefused as refusal:
            yield Unreadable(code.device_id if code else None, str(refusal))


def _printable(text: str) -> str:
    """A device or a label must not be able to move the operator's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)
