"""The deployed APIs over TLS, so that a device verifies the server as on AWS.

A listener in front of the emulator's own port. It forwards only requests for deployed APIs. Each then passes the
emulator's gate like any other request. A custom domain name cannot be resolved, so it is part of the path here.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

LOOPBACK = "127.0.0.1"
PORT_VARIABLE = "SECRETFREE_TLS_PORT"
CERTIFICATE_VARIABLE = "SECRETFREE_TLS_CERTIFICATE"
APIS = "/_aws/execute-api/"
DOMAINS = "/_aws/domains/"
"""Paths below this have the name of a custom domain as their first segment."""
TICKET_HEADER = "x-secretfree-tls-ticket"
"""The header by which this listener passes the domain and the client certificate of a request to the emulator."""
_SECONDS = 60.0
_LONGEST_BODY = 10 * 1024 * 1024
"""API Gateway accepts 10 MB."""
_HOP_BY_HOP = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"})


@dataclass(frozen=True)
class TlsSettings:
    """The port of the listener, its certificate and key (one PEM file), and the emulator's port."""

    port: int
    certificate: str
    emulator_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> TlsSettings | None:
        """Read the settings; None for an emulator without TLS."""
        if not environment.get(PORT_VARIABLE):
            return None
        return cls(int(environment[PORT_VARIABLE]), environment[CERTIFICATE_VARIABLE], int(environment["GATEWAY_PORT"]))


class Domains(Protocol):
    """The custom domain names of the deployed APIs."""

    def truststores(self) -> Mapping[str, Collection[bytes]]:
        """The trusted certificates (DER) of each domain with mutual TLS, by the domain's name in lower case."""
        ...

    def resolve(self, domain: str, path: str) -> str | None:
        """The path of the emulator that a path of a domain stands for; None where nothing is mapped there."""
        ...

    def ticket(self, domain: str, certificate: bytes | None) -> str:
        """A value of `TICKET_HEADER` for one request; `certificate` is the client's in DER."""
        ...


class NoDomains:
    """No custom domain name."""

    def truststores(self) -> Mapping[str, Collection[bytes]]:
        return {}

    def resolve(self, domain: str, path: str) -> str | None:  # noqa: ARG002
        return None

    def ticket(self, domain: str, certificate: bytes | None) -> str:  # noqa: ARG002
        raise LookupError(f"no domain {domain}")


class _Trust:
    """The TLS settings. A client certificate is requested if any domain has mutual TLS, and is optional.

    TLS verifies a certificate against the truststores of all domains, because the path, which names the domain, is sent
    after the handshake. The domain's own truststore is compared then.
    """

    def __init__(self, certificate: str, domains: Domains) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(certificate)
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # A truststore need not contain the root.
        self._domains = domains
        self._loaded: set[bytes] = set()
        self._lock = threading.Lock()

    def wrap(self, connection: Any) -> ssl.SSLSocket:
        with self._lock:
            wanted = {one for truststore in self._domains.truststores().values() for one in truststore}
            for one in wanted - self._loaded:
                self._context.load_verify_locations(cadata=one)
                self._context.verify_mode = ssl.CERT_OPTIONAL
            self._loaded |= wanted
        return self._context.wrap_socket(connection, server_side=True)


def listen(settings: TlsSettings, domains: Domains | None = None) -> ThreadingHTTPServer:
    """Listen on a thread that ends with the process; OSError if the port or the certificate cannot be used."""
    known = domains or NoDomains()

    class Handler(_Handler):
        emulator_port = settings.emulator_port
        domains = known
        tls = _Trust(settings.certificate, known)

    server = _Server((LOOPBACK, settings.port), Handler)
    threading.Thread(target=server.serve_forever, name="tls", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Do not log a failed handshake: the client reports it."""


class _Handler(BaseHTTPRequestHandler):
    """One connection. Its handshake runs on its own thread, so that a silent client does not block others."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    emulator_port: int
    domains: Domains
    tls: _Trust

    def setup(self) -> None:
        self.request.settimeout(_SECONDS)
        self.request = self.tls.wrap(self.request)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # The client disconnected.
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self.send_error(413)
            return
        ticket = None
        path: str | None = self.path
        if self.path.startswith(DOMAINS):
            domain, slash, rest = self.path.removeprefix(DOMAINS).partition("/")
            domain = domain.lower()
            if not self._is_trusted(domain):
                self._forbid()
                return
            plain, mark, query = f"{slash}{rest}".partition("?")
            path = self.domains.resolve(domain, plain)
            path = None if path is None else f"{path}{mark}{query}"
            ticket = None if path is None else self.domains.ticket(domain, self.request.getpeercert(binary_form=True))
        if path is None or not path.startswith(APIS):
            self.send_error(404)
            return
        self._hand_on(path, body, ticket)

    do_GET = do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815 - the base class's names

    def _is_trusted(self, domain: str) -> bool:
        """Whether a domain accepts the client.

        With mutual TLS, its verified chain must have a certificate of the truststore.
        """
        truststore = self.domains.truststores().get(domain)
        return truststore is None or not set(truststore).isdisjoint(_verified_chain(self.request))

    def _forbid(self) -> None:
        content = b'{"message":"Forbidden"}'
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hand_on(self, path: str, body: bytes, ticket: str | None) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self.emulator_port, timeout=_SECONDS)
        try:
            connection.putrequest(self.command, path, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP and name.lower() != TICKET_HEADER:
                    connection.putheader(name, value)
            if ticket is not None:
                connection.putheader(TICKET_HEADER, ticket)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            self._answer(connection.getresponse())
        except (OSError, http.client.HTTPException):
            self.send_error(502)
        finally:
            connection.close()

    def _body(self) -> bytes | None:
        """Return the body, or None if it is too long or has no Content-Length."""
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


def _verified_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """The client's chain as TLS verified it, each certificate in DER; empty without a client certificate."""
    if connection.getpeercert(binary_form=True) is None:
        return []
    if hasattr(connection, "get_verified_chain"):  # since Python 3.13
        return list(connection.get_verified_chain())
    return [one.public_bytes(_DER) for one in connection._sslobj.get_verified_chain()]  # type: ignore[attr-defined]  # noqa: SLF001


_DER = 2
"""OpenSSL's number of the certificate format, for Python before 3.13."""
