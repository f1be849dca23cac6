"""The deployed APIs over TLS: a device checks the server there, as it does on AWS.

A listener before the emulator's own port. It hands on requests for deployed APIs and nothing else. Each then passes
the emulator's door like any other request.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"
PORT_VARIABLE = "SECRETFREE_TLS_PORT"
CERTIFICATE_VARIABLE = "SECRETFREE_TLS_CERTIFICATE"
APIS = "/_aws/execute-api/"
_SECONDS = 60.0
_LONGEST_BODY = 10 * 1024 * 1024
"""API Gateway takes 10 MB."""
_HOP_BY_HOP = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"})


@dataclass(frozen=True)
class TlsSettings:
    """Where it listens, with which certificate and key (one PEM file), and the emulator's port."""

    port: int
    certificate: str
    emulator_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> TlsSettings | None:
        """Read the settings; None for an emulator without TLS."""
        if not environment.get(PORT_VARIABLE):
            return None
        return cls(int(environment[PORT_VARIABLE]), environment[CERTIFICATE_VARIABLE], int(environment["GATEWAY_PORT"]))


def listen(settings: TlsSettings) -> ThreadingHTTPServer:
    """Listen on a thread that ends with the process; OSError if the port or the certificate cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate)

    class Handler(_Handler):
        emulator_port = settings.emulator_port
        tls = context

    server = _Server((LOOPBACK, settings.port), Handler)
    threading.Thread(target=server.serve_forever, name="tls", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Say nothing of a handshake that failed: the client says why."""


class _Handler(BaseHTTPRequestHandler):
    """One connection. Its handshake takes place on its own thread, so that a silent client keeps no other waiting."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    emulator_port: int
    tls: ssl.SSLContext

    def setup(self) -> None:
        self.request.settimeout(_SECONDS)
        self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        body = self._body()
        if body is None or not self.path.startswith(APIS):
            self.send_error(404 if body is not None else 413)
            return
        connection = http.client.HTTPConnection(LOOPBACK, self.emulator_port, timeout=_SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            self._answer(connection.getresponse())
        except (OSError, http.client.HTTPException):
            self.send_error(502)
        finally:
            connection.close()

    do_GET = do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815 - the base class's names

    def _body(self) -> bytes | None:
        """Return the body, or None for one that is too long or whose length is not known beforehand."""
        length = self.headers.get("content-length", "0")
        if self.headers.get("transfer-encoding") or not (length.isascii() and length.isdigit()):
            return None
        return self.rfile.read(int(length)) if int(length) <= _LONGEST_BODY else None

    def _answer(self, response: http.client.HTTPResponse) -> None:
        content = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """The emulator logs its requests itself."""
