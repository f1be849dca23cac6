"""The serial port: yields what devices print. Adapters may be unplugged, and devices may stop printing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final

import serial
from secretfree.clock import Clock, SystemClock
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.factory.bench import Enroll, PortSilent, SessionTally, Signal, run_session
from secretfree_cli.factory.uart import DEFAULT_BAUD, DEFAULT_KEY_TIMEOUT, DeviceReading, UartTranscript, Unreadable
from secretfree_cli.output import CliError

_POLL: Final = 0.2
_CHUNK: Final = 4_096


def enroll_from_serial(
    port: str,
    *,
    enroll: Enroll,
    baud: int = DEFAULT_BAUD,
    count: int | None = 1,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    key_timeout: float = DEFAULT_KEY_TIMEOUT,
    idle_timeout: float | None = None,
    timeout: float | None = None,
    signal: Signal | None = None,
) -> SessionTally:
    """Enrol `count` devices from a serial port (None: until interrupted), one after another.

    Accepted forms: see `secretfree_cli.factory.uart`. Raises CliError as `readings` does.
    """
    source = readings(
        port, baud=baud, profile=profile, key_timeout=key_timeout, idle_timeout=idle_timeout, timeout=timeout
    )
    with closing(source):
        return run_session(source, enroll=enroll, count=count, signal=signal or Signal())


def readings(
    port: str,
    *,
    baud: int = DEFAULT_BAUD,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    key_timeout: float = DEFAULT_KEY_TIMEOUT,
    idle_timeout: float | None = None,
    timeout: float | None = None,
    clock: Clock | None = None,
) -> Generator[DeviceReading | Unreadable, None, None]:
    """Yield what the devices on `port` print, one after another.

    `port` is a device (`/dev/ttyACM0`, `COM3`) or a URL of pyserial (`socket://host:port`, `rfc2217://host:port`). A
    device has `key_timeout` seconds after its id to print its key. After that the id is dropped, so that it never gets
    the key of the next device. If the adapter is unplugged, the function waits for it to come back. `idle_timeout`:
    seconds without a byte after which the function stops; None waits for ever. `timeout`: seconds after which it stops
    in any case.

    Raises: CliError if the port cannot be opened at the start; PortSilent if `idle_timeout` or `timeout` has passed.
    """
    clock = clock or SystemClock()
    transcript = UartTranscript(profile)
    line = _open(port, baud)
    began = last_byte = key_since = clock.monotonic()
    received = understood = 0
    try:
        while True:
            try:
                data = line.read(max(1, min(line.in_waiting, _CHUNK)))
            except (serial.SerialException, OSError):
                yield from transcript.abandon("the port was disconnected before its public key was read")
                line.close()
                ends = [last_byte + idle_timeout] if idle_timeout is not None else []
                ends += [began + timeout] if timeout is not None else []
                line = _reopen(port, baud, clock, min(ends, default=None))
                last_byte = clock.monotonic()
                continue
            waited = transcript.waits_for_key
            read = transcript.feed(data)
            received, understood = received + len(data), understood + len(read)
            yield from read
            now = clock.monotonic()
            if data:
                last_byte = now
            if not waited:
                key_since = now
            if transcript.waits_for_key and now - key_since > key_timeout:
                yield from transcript.abandon(f"no public key arrived within {key_timeout:g} s of its id")
            if idle_timeout is not None and now - last_byte > idle_timeout:
                yield from transcript.abandon("it stopped printing before its public key was complete")
                raise _silence(f"{port}: nothing was printed for {idle_timeout:g} s", received, understood)
            if timeout is not None and now - began > timeout:
                yield from transcript.abandon("its public key was not complete in time")
                raise _silence(f"{port}: {timeout:g} s have passed", received, understood)
    finally:
        line.close()


_PORTS_HINT: Final = "`python -m serial.tools.list_ports` lists the ports of this machine"
_SILENCE_HINT: Final = "check the wiring, then reset the device: it prints when it starts"
_NOISE_HINT: Final = "check --baud; `secretfree enroll uart --help` and the guide say what a device must print"


def _silence(what: str, received: int, understood: int) -> PortSilent:
    if not received:
        return PortSilent(f"{what}; no byte was received", hint=_SILENCE_HINT)
    if not understood:
        return PortSilent(f"{what}; {received} bytes received, none understood", hint=_NOISE_HINT)
    return PortSilent(f"{what}; {received} bytes received", hint=_SILENCE_HINT)


def _open(port: str, baud: int) -> serial.Serial:
    try:
        return serial.serial_for_url(port, baudrate=baud, timeout=_POLL)
    except (serial.SerialException, OSError, ValueError) as error:
        raise CliError(f"{port}: cannot be opened: {error}", hint=_PORTS_HINT) from error


def _reopen(port: str, baud: int, clock: Clock, deadline: float | None) -> serial.Serial:
    while deadline is None or clock.monotonic() < deadline:
        try:
            return _open(port, baud)
        except CliError:
            clock.sleep(_POLL)
    raise PortSilent(f"{port}: the port was disconnected and did not return")
