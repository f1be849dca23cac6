"""`secretfree enroll phone`: what ends in the table, and what a stranger on the bench's network cannot do."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import ssl
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.factory.phone import server as server_module
from secretfree_cli.factory.phone.certificate import server_context
from secretfree_cli.factory.phone.commands import _announce
from secretfree_cli.factory.phone.door import HEADERS, MAX_BODY
from secretfree_cli.factory.phone.server import MAX_CONNECTIONS_OF_ADDRESS, MAX_HEAD
from secretfree_cli.importing.commands import enroll
from secretfree_cli.output import ExitCode
from support.phone_bench import Phone, enrolled, make_registry, running_bench, unchecked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("phone-session")]  # one process for all of them

KEYS = [DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(3)]


@pytest.fixture(autouse=True)
def _registry(moto_account: None) -> None:
    make_registry()
    rows = [f"pump-{number},{key.registry_text()}" for number, key in enumerate(KEYS[:2], start=1)]
    Path("reel.csv").write_text("\n".join(["device-id,public-key", *rows]))


def test_a_phone_enrols_devices_and_sees_each_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_bench(monkeypatch, "--keys", "reel.csv", "--count", "3", "--json") as bench:
        phone = Phone(bench)
        assert phone.pair() == 204
        assert phone.scan("]Q1pump-1") == {
            "status": 200,
            "verdict": "ok",
            "device": "pump-1",
            "note": "enrolled",
            "repeated": False,
        }
        again = phone.scan("pump-1")
        assert (again["verdict"], again["repeated"]) == ("ok", True)
        own_key = json.dumps({"device-id": "pump-9", "public-key": KEYS[2].pem()})
        assert "in no manifest of this session" in str(phone.scan(own_key)["note"])
        unknown = phone.scan("pump-8")
        assert (unknown["verdict"], unknown["device"]) == ("fail", "pump-8")
        assert phone.scan(f"]d201040123456789012{'1pump-2'}")["verdict"] == "ok"
        stolen = json.dumps({"device-id": "pump-7", "public-key": KEYS[0].pem()})
        assert "key-of-other-device" in str(phone.scan(stolen)["note"])
        result = bench.result()
    assert result.exit_code == ExitCode.PARTLY_REFUSED, result.output
    assert set(enrolled()) == {"pump-1", "pump-2"}
    assert {row["source"]["S"] for row in enrolled().values()} == {"phone"}
    account = json.loads(result.stdout)
    assert (account["accepted"], account["refused"], account["unreadable"]) == (2, 1, 2)
    assert bench.token not in result.output


def test_a_code_s_own_key_is_taken_where_the_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_bench(monkeypatch, "--keys-in-codes", "--count", "1") as bench:
        phone = Phone(bench)
        phone.pair()
        code = json.dumps({"device-id": "pump-9", "public-key": KEYS[2].pem()})
        assert phone.scan(code)["verdict"] == "ok"
    assert enrolled()["pump-9"]["key-fingerprint"]["S"] == KEYS[2].fingerprint


@pytest.mark.parametrize("failure", [ConnectionError, KeyboardInterrupt], ids=["failure", "ctrl-c"])
def test_a_session_that_ends_over_a_device_is_a_fail_on_the_phone(
    failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise failure

    monkeypatch.setattr("secretfree_cli.factory.session.EnrollmentSession.enroll", broken)
    with running_bench(monkeypatch, "--keys", "reel.csv") as bench:
        phone = Phone(bench)
        phone.pair()
        answer = phone.scan("pump-1")
        assert (answer["verdict"], answer["device"]) == ("fail", "")
        assert "is possibly not enrolled" in str(answer["note"])
        assert bench.result().exit_code == ExitCode.FAILURE
    assert enrolled() == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", bench.port))


def test_a_stranger_on_the_network_gets_the_page_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_bench(monkeypatch, "--keys", "reel.csv", "--count", "1") as bench:
        phone, stranger = Phone(bench), Phone(bench)
        response, page = stranger.send("GET", "/")
        assert response.status == 200
        assert bench.token.encode() not in page
        for name, value in HEADERS.items():
            assert response.getheader(name) == value
        assert "Python" not in str(response.getheader("Server"))
        assert stranger.send("POST", "/claim", {"token": "guess"})[0].status == 403
        assert phone.pair() == 204
        assert stranger.pair() == 403
        assert stranger.scan("pump-1")["status"] == 403
        refused, content = stranger.send("DELETE", "/codes<script>")
        assert (refused.status, content) == (501, b"")
        assert refused.getheader("Content-Security-Policy") == HEADERS["Content-Security-Policy"]
        assert phone.scan("pump-1")["verdict"] == "ok"
    assert set(enrolled()) == {"pump-1"}


def test_what_is_too_long_too_slow_or_too_many_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 2.0)
    with running_bench(monkeypatch, "--keys", "reel.csv", "--count", "1") as bench:
        phone = Phone(bench)
        phone.pair()
        assert raw(bench.port, f"POST /codes HTTP/1.1\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n") == 413
        assert raw(bench.port, "POST /codes HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 411
        two = "POST /codes HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"
        assert raw(bench.port, two) == 411
        endless = raw(bench.port, "GET / HTTP/1.1\r\n" + "X: y\r\n" * (MAX_HEAD + MAX_BODY))
        assert endless in (431, None)  # the connection ends with bytes unread, which may overtake the answer
        assert raw(bench.port, "POST /codes HTTP/1.1\r\nContent-Length: 10\r\n\r\n{") is None  # waits for the rest
        silent = [socket.create_connection(("127.0.0.1", bench.port)) for _ in range(MAX_CONNECTIONS_OF_ADDRESS)]
        over = socket.create_connection(("127.0.0.1", bench.port))
        over.settimeout(30)
        assert over.recv(1) == b""  # at once, while the others are open
        for one in silent:
            one.settimeout(30)
            assert one.recv(1) == b""  # cut after its time
            one.close()
        over.close()
        assert phone.scan("pump-1")["verdict"] == "ok"


def test_a_connection_that_drips_is_cut_as_a_silent_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 1.5)
    with running_bench(monkeypatch, "--keys", "reel.csv", "--count", "1") as bench:
        drip = unchecked().wrap_socket(socket.create_connection(("127.0.0.1", bench.port)))
        cut = threading.Event()
        with suppress(OSError):  # a reset, a broken pipe or an end of file; else the test's time-out ends this
            while not cut.wait(0.05):
                drip.sendall(b"x")
        drip.close()
        phone = Phone(bench)
        phone.pair()
        assert phone.scan("pump-1")["verdict"] == "ok"


def test_only_tls_1_3_is_spoken_with_a_certificate_of_this_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_bench(monkeypatch, "--keys", "reel.csv", "--count", "1") as bench:
        old = unchecked()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", bench.port)) as line, pytest.raises(OSError):  # noqa: PT011
            old.wrap_socket(line)
        with (
            socket.create_connection(("127.0.0.1", bench.port)) as line,
            unchecked().wrap_socket(line) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
        assert der is not None
        assert hashlib.sha256(der).digest().hex(":").upper() == bench.fingerprint
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert [str(name.value) for name in names.value] == ["127.0.0.1"]
        phone = Phone(bench)
        phone.pair()
        phone.scan("pump-1")


def test_the_certificate_s_key_is_never_written() -> None:
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    first = server_context(ipaddress.ip_address("127.0.0.1"), datetime.now(UTC))
    second = server_context(ipaddress.ip_address("127.0.0.1"), datetime.now(UTC))
    watching = False
    assert opened == []
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keys", "reel.csv"], "--address"),
        (["--keys", "reel.csv", "--address", "0.0.0.0"], "not one address"),  # noqa: S104
        (["--keys", "reel.csv", "--address", "::"], "not one address"),
        (["--keys", "reel.csv", "--address", "::ffff:192.0.2.7"], "not one address"),
        (["--keys", "reel.csv", "--address", "fe80::1%1"], "not one address"),
        (["--keys", "reel.csv", "--address", "bench.example"], "an IP address"),
        (["--address", "127.0.0.1"], "--keys-in-codes"),
    ],
)
def test_an_address_and_the_keys_must_be_named(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(enroll, ["phone", "--table", "registry", *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr


@pytest.mark.parametrize(
    ("address", "port", "written"),
    [
        ("192.0.2.7", 8443, "192.0.2.7:8443"),
        ("192.0.2.7", 443, "192.0.2.7"),
        ("2001:DB8:0::7", 8443, "[2001:db8::7]:8443"),
    ],
)
def test_host_and_port_are_written_as_browsers_write_them(address: str, port: int, written: str) -> None:
    assert server_module.authority_of(ipaddress.ip_address(address), port) == written


def test_an_address_of_another_machine_is_a_failure_with_advice() -> None:
    arguments = ["--keys", "reel.csv", "--address", "192.0.2.7"]
    result = CliRunner().invoke(enroll, ["phone", "--table", "registry", *arguments])
    assert result.exit_code == ExitCode.FAILURE
    assert "192.0.2.7" in result.stderr


def test_the_terminal_shows_the_link_and_the_fingerprint(capsys: pytest.CaptureFixture[str]) -> None:
    _announce("https://192.0.2.7:1/#token", "AA:BB")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "https://192.0.2.7:1/#token" in shown.err
    assert "AA:BB" in shown.err


def raw(port: int, request: str) -> int | None:
    """The status of the answer to these bytes; None if the server closes without one."""
    with unchecked().wrap_socket(socket.create_connection(("127.0.0.1", port))) as line:
        line.settimeout(30)
        try:
            line.sendall(request.encode())
            answer = line.recv(64)
        except (ConnectionError, ssl.SSLError):
            return None
        return int(answer.split()[1]) if answer else None
