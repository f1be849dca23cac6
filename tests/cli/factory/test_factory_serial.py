"""The serial bench over a pseudo-terminal: devices print, the operator sees and hears OK or FAIL."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.registry.admission import RowRefused
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.factory.bench import SessionTally, Signal
from secretfree_cli.factory.serial_port import enroll_from_serial, readings
from secretfree_cli.factory.uart import DeviceReading, Unreadable
from secretfree_cli.output import CliError
from support.serial_terminal import serial_terminal


@dataclass(frozen=True)
class Device:
    """What is burnt into one device."""

    udid: str
    key: DevicePublicKey = field(
        default_factory=lambda: DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    )

    def prints(self) -> bytes:
        spaced = " ".join(self.udid[at : at + 2] for at in range(0, 32, 2))
        return f"\r\nboot\r\nUnique device ID = {spaced}\r\n{self.key.pem()}\rready\r\n".encode()


DEVICES = [Device(f"{number:02x}" * 16) for number in range(1, 4)]


@dataclass
class Line:
    """The device's end of a pseudo-terminal, and the name of the operator's."""

    device_end: int
    port: str
    is_open: threading.Event
    """Set when the port is open: pyserial drops what came before."""

    def print_later(self, *chunks: bytes, pause: float = 0.05) -> None:
        """Write as slowly as a UART would, from another thread, when the port is open."""

        def write() -> None:
            self.is_open.wait(60)
            for chunk in chunks:
                time.sleep(pause)
                left = chunk
                while left:  # a full terminal takes a part
                    left = left[os.write(self.device_end, left) :]

        threading.Thread(target=write, daemon=True).start()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    with serial_terminal(monkeypatch) as terminal:
        yield Line(terminal.device_end, terminal.port, terminal.is_open)


@dataclass
class Registry:
    """Takes what is enrolled; refuses an id that it holds with another key."""

    rows: dict[str, str] = field(default_factory=dict)

    def enroll(self, reading: DeviceReading) -> str:
        assert reading.public_key is not None
        if self.rows.setdefault(reading.device_id, reading.public_key.fingerprint) != reading.public_key.fingerprint:
            raise RowRefused("enrolled-with-other-key", "it is enrolled with another key")
        return "enrolled"


def test_one_device_is_enrolled_and_answered_with_ok_and_a_bell(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    line.print_later(DEVICES[0].prints())
    assert enroll_from_serial(line.port, enroll=registry.enroll) == SessionTally(accepted=1, refused=0, unreadable=0)
    assert registry.rows == {DEVICES[0].udid: DEVICES[0].key.fingerprint}
    shown = capsys.readouterr()
    assert "OK" in shown.err
    assert DEVICES[0].udid in shown.err
    assert shown.err.count("\a") == 1
    assert shown.out == ""


def test_a_line_of_devices_is_enrolled_one_after_another_in_small_pieces(line: Line) -> None:
    registry = Registry()
    stream = b"".join(device.prints() for device in DEVICES)
    line.print_later(*(stream[at : at + 61] for at in range(0, len(stream), 61)), pause=0.002)
    assert enroll_from_serial(line.port, enroll=registry.enroll, count=3).accepted == 3
    assert set(registry.rows) == {device.udid for device in DEVICES}


def test_a_board_that_prints_again_at_reset_counts_once(line: Line) -> None:
    calls: list[DeviceReading] = []

    def enroll(reading: DeviceReading) -> str:
        calls.append(reading)
        return "enrolled"

    line.print_later(DEVICES[0].prints() * 3 + DEVICES[1].prints())
    assert enroll_from_serial(line.port, enroll=enroll, count=2).accepted == 2
    assert [reading.device_id for reading in calls] == [DEVICES[0].udid, DEVICES[1].udid]


def test_a_refused_device_is_answered_with_fail_and_three_bells_and_the_line_goes_on(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry({DEVICES[0].udid: "another"})
    line.print_later(DEVICES[0].prints() + DEVICES[1].prints())
    assert enroll_from_serial(line.port, enroll=registry.enroll, count=2) == SessionTally(1, 1, 0)
    failed, accepted = capsys.readouterr().err.splitlines()
    assert "FAIL" in failed
    assert "enrolled-with-other-key" in failed
    assert failed.count("\a") == 3
    assert "OK" in accepted


def test_without_the_bell_nothing_rings(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.print_later(DEVICES[0].prints())
    enroll_from_serial(line.port, enroll=Registry().enroll, signal=Signal(bell=False))
    assert "\a" not in capsys.readouterr().err


def test_a_key_that_comes_too_late_is_given_to_nobody(line: Line) -> None:
    registry = Registry()
    head, _, key = DEVICES[0].prints().partition(b"-----BEGIN")
    line.print_later(head, b"", b"", b"", b"-----BEGIN" + key + DEVICES[1].prints(), pause=0.25)
    tally = enroll_from_serial(line.port, enroll=registry.enroll, key_timeout=0.3)
    assert tally.unreadable >= 1
    assert set(registry.rows) == {DEVICES[1].udid}


def test_a_silent_port_ends_with_a_hint_when_asked_to(line: Line) -> None:
    line.print_later(DEVICES[0].prints().partition(b"-----BEGIN")[0])
    seen = []
    with pytest.raises(CliError, match=r"nothing was printed for 0\.4 s"):
        seen.extend(readings(line.port, idle_timeout=0.4))


def test_a_port_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(CliError, match=r"/dev/none.*cannot be opened"):
        enroll_from_serial("/dev/none", enroll=Registry().enroll)


def test_the_json_line_is_read_from_the_port(line: Line) -> None:
    registry = Registry()
    statement = json.dumps({"device-id": "pump-1", "public-key": DEVICES[0].key.spki.hex()})
    line.print_later(f"{statement}\n".encode())
    enroll_from_serial(line.port, enroll=registry.enroll)
    assert registry.rows == {"pump-1": DEVICES[0].key.fingerprint}


def test_a_port_that_prints_what_nobody_understands_says_so_when_its_time_is_over(line: Line) -> None:
    line.print_later(b"\xfe\x80garbage of another baud rate\r\n", b"more\r\n")
    with pytest.raises(CliError, match=r"0\.5 s have passed; \d+ bytes received, none understood") as ended:
        enroll_from_serial(line.port, enroll=Registry().enroll, timeout=0.5)
    assert "--baud" in (ended.value.hint or "")


def test_a_port_that_prints_nothing_says_that(line: Line) -> None:
    with pytest.raises(CliError, match="no byte was received"):
        enroll_from_serial(line.port, enroll=Registry().enroll, timeout=0.3)


def test_a_time_out_after_some_devices_keeps_their_account(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.print_later(DEVICES[0].prints())
    tally = enroll_from_serial(line.port, enroll=Registry().enroll, count=2, timeout=1.0)
    assert (tally.accepted, tally.cut_short) == (1, True)
    assert "have passed" in capsys.readouterr().err


def test_ctrl_c_ends_the_line_with_what_was_done(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    def enroll(reading: DeviceReading) -> str:
        if reading.device_id == DEVICES[1].udid:
            raise KeyboardInterrupt
        return "enrolled"

    line.print_later(DEVICES[0].prints() + DEVICES[1].prints())
    assert enroll_from_serial(line.port, enroll=enroll, count=None) == SessionTally(1, 0, 0)
    assert "stopped" in capsys.readouterr().err


def test_a_device_cannot_move_the_operators_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Signal(bell=False).fail("?", "\x1b[2J\a\r")
    assert capsys.readouterr().err.endswith("?[2J??\n")


@pytest.fixture
def adapter() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """A serial server: each connection prints what is queued and goes away, as an unplugged adapter does."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(10)

    def plug_in(data: bytes) -> None:
        connection, _ = server.accept()
        time.sleep(0.2)  # pyserial drops what came before it had opened
        connection.sendall(data)
        time.sleep(0.3)
        connection.close()

    yield f"socket://127.0.0.1:{server.getsockname()[1]}", plug_in
    server.close()


def test_an_adapter_unplugged_with_its_device_is_waited_for_and_forgets_half_a_device(
    adapter: tuple[str, Callable[[bytes], None]],
) -> None:
    port, plug_in = adapter
    half = DEVICES[0].prints().partition(b"-----END")[0]

    def operator() -> None:
        plug_in(half)
        plug_in(DEVICES[1].prints())

    threading.Thread(target=operator, daemon=True).start()
    source = readings(port, idle_timeout=10)
    first, second = next(source), next(source)
    source.close()
    assert isinstance(first, Unreadable)
    assert first.device_id == DEVICES[0].udid
    assert isinstance(second, DeviceReading)
    assert second.device_id == DEVICES[1].udid


def test_an_adapter_that_does_not_come_back_is_an_error(adapter: tuple[str, Callable[[bytes], None]]) -> None:
    port, plug_in = adapter
    threading.Thread(target=plug_in, args=(b"boot\n",), daemon=True).start()
    source = readings(port, idle_timeout=0.6)
    with pytest.raises(CliError, match=r"did not return|nothing was printed"):
        list(source)
