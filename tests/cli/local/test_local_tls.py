"""The deployed APIs over TLS: who the server is, what is handed on, and what is not."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from secretfree_cli.local.emulators.tls_front import APIS, TlsSettings, listen
from secretfree_cli.local.tls_certificate import ensure_tls_certificate

PATH = f"{APIS}api/v1/new"


class Behind(HTTPServer):
    """The emulator's port: keeps the requests, and answers each the same."""

    seen: list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture
def behind() -> Iterator[Behind]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append((self.command, self.path, headers, body))
            self.send_response(202)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"yes")

        do_GET = do_POST  # noqa: N815 - the base class's names

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = Behind(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def front(behind: Behind, tmp_path: Path) -> Iterator[Any]:
    ensure_tls_certificate(tmp_path / "ca.pem", tmp_path / "server.pem")
    server = listen(TlsSettings(0, str(tmp_path / "server.pem"), behind.server_port))
    yield server
    server.shutdown()
    server.server_close()


def connection(front: Any, folder: Path, host: str = "localhost") -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return http.client.HTTPSConnection(host, front.server_port, timeout=20, context=context)


def ask(front: Any, folder: Path, path: str, **request: Any) -> tuple[int, dict[str, str], bytes]:
    asked = connection(front, folder)
    asked.request("POST", path, **request)
    answer = asked.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_ca_reaches_an_api_by_either_name(
    host: str, front: Any, behind: Behind, tmp_path: Path
) -> None:
    asked = connection(front, tmp_path, host)
    asked.request("POST", PATH, body=b"body", headers={"device-csr": "eA==", "Accept": "a/b"})
    answer = asked.getresponse()
    assert (answer.status, answer.read(), answer.headers["Retry-After"]) == (202, b"yes", "7")
    ((command, path, headers, body),) = behind.seen
    assert (command, path, body) == ("POST", PATH, b"body")
    assert headers["device-csr"] == "eA=="
    assert headers["host"] == f"127.0.0.1:{behind.server_port}"


def test_a_client_that_trusts_other_cas_does_not_connect(front: Any, behind: Behind) -> None:
    asked = http.client.HTTPSConnection("localhost", front.server_port, timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        asked.request("POST", PATH)
    assert behind.seen == []


@pytest.mark.parametrize("path", ["/", "/_ministack/reset", "/_secretfree/credentials/x", "/x/_aws/execute-api/api/v1"])
def test_nothing_but_a_deployed_api_is_reached(path: str, front: Any, behind: Behind, tmp_path: Path) -> None:
    assert ask(front, tmp_path, path)[0] == 404
    assert behind.seen == []


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "99999999"}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}]
)
def test_a_body_of_an_unbearable_length_is_refused(
    headers: dict[str, str], front: Any, behind: Behind, tmp_path: Path
) -> None:
    asked = connection(front, tmp_path)
    asked.putrequest("POST", PATH)
    for name, value in headers.items():
        asked.putheader(name, value)
    asked.endheaders()
    assert asked.getresponse().status == 413
    assert behind.seen == []


def test_a_client_that_never_speaks_keeps_no_other_waiting(front: Any, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", front.server_port)):
        assert ask(front, tmp_path, PATH)[0] == 202


def test_an_emulator_that_is_gone_is_a_bad_gateway(front: Any, behind: Behind, tmp_path: Path) -> None:
    behind.shutdown()
    behind.server_close()
    assert ask(front, tmp_path, PATH)[0] == 502


def test_the_certificate_is_kept_until_a_month_before_its_end(tmp_path: Path) -> None:
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    ensure_tls_certificate(authority, server)
    first = server.read_text()
    assert server.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in authority.read_text()
    ensure_tls_certificate(authority, server)
    assert server.read_text() == first
    ensure_tls_certificate(authority, server, now=datetime.now(UTC) + timedelta(days=340))
    assert server.read_text() != first


def test_a_certificate_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    ensure_tls_certificate(authority, server)
    authority.write_text("damaged")
    ensure_tls_certificate(authority, server)
    ssl.create_default_context(cafile=str(authority))
