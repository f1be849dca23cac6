"""The operator's view of a session: each device is enrolled when it is read, and answered with OK or FAIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import click
from secretfree.registry.admission import RowRefused
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.factory.codes import KnownKeys, pair, read_code
from secretfree_cli.factory.gs1 import SERIAL_NUMBER
from secretfree_cli.factory.uart import DeviceReading, Unreadable
from secretfree_cli.output import CliError, styled

Enroll = Callable[[DeviceReading], str]
"""Checks one device and writes it to the registry; returns a short text for the operator ("enrolled").

Raises: RowRefused
"""


class PortSilent(CliError):  # noqa: N818 - how a session ends
    """No device was read within the time limit."""


@dataclass(frozen=True)
class SessionTally:
    """Result of a session: devices, each counted once."""

    accepted: int
    refused: int
    unreadable: int
    """Number of unreadable attempts; the same device may have been read later."""
    cut_short: bool = field(default=False, compare=False)
    """Whether Ctrl-C or a time-out ended the session."""


@dataclass(frozen=True)
class Signal:
    """The answer for each device: a line on stderr, and the bell once for OK, three times for FAIL."""

    bell: bool = True

    def ok(self, device: str, note: str) -> None:
        """Show that the device is enrolled."""
        self._say(styled(" OK ", bg="green", fg="black", bold=True), device, note, rings=1)

    def fail(self, device: str, why: str) -> None:
        """Show that the device is refused, and why."""
        self._say(styled("FAIL", bg="red", fg="white", bold=True), device, why, rings=3)

    def again(self, device: str, note: str, *, ok: bool) -> None:
        """Record that a device was read again, with its former answer; the terminal shows nothing."""

    def _say(self, word: str, device: str, note: str, *, rings: int) -> None:
        click.echo(
            f"{word} {without_controls(device)}  {without_controls(note)}" + ("\a" * rings if self.bell else ""),
            err=True,
        )


def enroll_from_codes(
    lines: Iterable[str],
    *,
    enroll: Enroll,
    known: KnownKeys | None = None,
    key_required: bool = True,
    code_keys: bool = True,
    count: int | None = None,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    application_identifier: str = SERIAL_NUMBER,
    signal: Signal | None = None,
) -> SessionTally:
    """Enrol devices by codes: lines that a scanner types, or the result of `picture.codes_in_picture`.

    Forms of a code: `secretfree_cli.factory.codes`. `key_required` is False under match policy UDID only.
    Without `code_keys`, a public key in a code must be one of `known`.
    """
    source = _scanned(
        lines,
        known=known,
        key_required=key_required,
        code_keys=code_keys,
        profile=profile,
        application_identifier=application_identifier,
    )
    return run_session(source, enroll=enroll, count=count, signal=signal or Signal())


def run_session(
    source: Iterable[DeviceReading | Unreadable], *, enroll: Enroll, count: int | None, signal: Signal
) -> SessionTally:
    """Enrol the devices of `source`, until `count` are answered, the source ends or the operator presses Ctrl-C.

    A device that is read twice (a board that prints at each reset, a code scanned twice) counts once.
    """
    answered: dict[tuple[str, str | None], tuple[str, bool]] = {}
    accepted = refused = unreadable = 0
    cut_short = False
    try:
        for reading in source:
            if isinstance(reading, Unreadable):
                unreadable += 1
                signal.fail(reading.device_id or "?", reading.detail)
                continue
            identity = (reading.device_id, reading.public_key.fingerprint if reading.public_key else None)
            if identity in answered:
                before, was_ok = answered[identity]
                signal.again(reading.device_id, before, ok=was_ok)
                continue
            try:
                answered[identity] = (enroll(reading), True)
                signal.ok(reading.device_id, answered[identity][0])
                accepted += 1
            except RowRefused as refusal:
                answered[identity] = (str(refusal), False)
                signal.fail(reading.device_id, str(refusal))
                refused += 1
            if count is not None and len(answered) >= count:
                break
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        cut_short = True
    except PortSilent as error:
        if not answered:
            raise
        error.show()
        cut_short = True
    return SessionTally(accepted, refused, unreadable, cut_short)


def _scanned(
    lines: Iterable[str],
    *,
    known: KnownKeys | None,
    key_required: bool,
    code_keys: bool,
    profile: DeviceProfile,
    application_identifier: str,
) -> Iterator[DeviceReading | Unreadable]:
    for line in lines:
        if not line.strip():
            continue
        code = None
        try:
            code = read_code(line, profile=profile, application_identifier=application_identifier)
            yield pair(code, known, key_required=key_required, code_keys=code_keys)
        except RowRefused as refusal:
            yield Unreadable(code.device_id if code else None, str(refusal))


def without_controls(text: str) -> str:
    """Return text from a device or a label without characters that control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
