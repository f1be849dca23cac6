"""The page's server: TLS and HTTP on one address, with bounds on time, size and connections."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Final

from secretfree.clock import Clock

from secretfree_cli.factory.phone.certificate import Address
from secretfree_cli.factory.phone.door import CODES, HEADERS, MAX_BODY, VERDICT_SECONDS, Door, Request, Response
from secretfree_cli.output import CliError

REQUEST_SECONDS: Final = 15.0
"""Seconds for the handshake and the whole request."""
MAX_CONNECTIONS: Final = 48
MAX_CONNECTIONS_OF_ADDRESS: Final = 12
MAX_HEAD: Final = 16_384
"""Maximum size in bytes of the request line and the headers."""
_DEFAULT_PORT: Final = 443
_ANSWER_SECONDS: Final = 30.0
"""Seconds for writing an answer; the largest one is a megabyte."""
_ENDING_SECONDS: Final = 3.0


class PhoneServer(ThreadingHTTPServer):
    """One thread for each connection; a connection serves one request."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: Address, port: int, context: ssl.SSLContext, clock: Clock) -> None:
        """Bind to the address. Raises CliError."""
        self.address_family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        self._context = context
        self._connections = _Connections(clock)
        self._clock = clock
        try:
            super().__init__((str(address), port), _Handler)
        except OSError as error:
            raise CliError(
                f"cannot listen on {address} port {port}: {error.strerror or error}",
                hint="--address is an address of this machine, on the network of the phone",
            ) from error
        self.authority = authority_of(address, int(self.server_address[1]))

    @contextmanager
    def serving(self, door: Door) -> Iterator[None]:
        """Serve on another thread. At the end, pending answers are completed."""
        self.door = door
        thread = threading.Thread(target=self.serve_forever, name="phone", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._connections.finish(_ENDING_SECONDS)
            self.shutdown()
            self.server_close()
            self._connections.cut_all()

    def server_bind(self) -> None:
        """Bind without a DNS lookup of the address."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection, or close it if there are too many."""
        if not self._connections.begin(request, client_address):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # The system allows no more threads.
            self._connections.end(client_address)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.end(client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the connection's own thread, so that a silent client does not block others."""
        request.settimeout(REQUEST_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as secured:
            _Handler(secured, client_address, self)

    def answering(self, client_address: Any, seconds: float) -> None:
        """Record that a request is complete, and the deadline of its answer."""
        self._connections.answering(client_address, seconds)

    def service_actions(self) -> None:
        """Close connections after their deadline; the base class calls this twice a second."""
        self._connections.cut_late()

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Do not log a failed connection: a browser closes it while it does not trust the certificate."""


def authority_of(address: Address, port: int) -> str:
    """Return host and port as a browser writes them in `Host` and `Origin`: the default port is left out."""
    host = f"[{address}]" if address.version == 6 else str(address)
    return host if port == _DEFAULT_PORT else f"{host}:{port}"


@dataclass
class _Connection:
    socket: socket.socket
    deadline: float
    answering: bool = False


class _Connections:
    """The open connections, by the client's address and port."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._open: dict[Any, _Connection] = {}
        self._of_address: Counter[str] = Counter()

    def begin(self, request: socket.socket, client: Any) -> bool:
        with self._changed:
            if len(self._open) >= MAX_CONNECTIONS or self._of_address[client[0]] >= MAX_CONNECTIONS_OF_ADDRESS:
                return False
            # A separate descriptor: the handler's may be closed and its number reused by another connection.
            self._open[client] = _Connection(request.dup(), self._clock.monotonic() + REQUEST_SECONDS)
            self._of_address[client[0]] += 1
            return True

    def answering(self, client: Any, seconds: float) -> None:
        with self._changed:
            connection = self._open[client]
            connection.answering = True
            connection.deadline = self._clock.monotonic() + seconds

    def end(self, client: Any) -> None:
        with self._changed:
            self._open.pop(client).socket.close()
            self._of_address[client[0]] -= 1
            if not self._of_address[client[0]]:
                del self._of_address[client[0]]
            self._changed.notify_all()

    def cut_late(self) -> None:
        now = self._clock.monotonic()
        self._cut(lambda connection: now >= connection.deadline)

    def cut_all(self) -> None:
        self._cut(lambda _: True)

    def finish(self, seconds: float) -> None:
        """Wait at most `seconds` until all answers are written."""
        with self._changed:
            self._changed.wait_for(lambda: not any(one.answering for one in self._open.values()), seconds)

    def _cut(self, chosen: Any) -> None:
        with self._changed:
            for connection in self._open.values():
                if chosen(connection):
                    with suppress(OSError):
                        connection.socket.shutdown(socket.SHUT_RDWR)


class _Bounded:
    """A reader that ends the connection after a number of bytes."""

    def __init__(self, reader: BinaryIO, most: int) -> None:
        self._reader = reader
        self._left = most

    def readline(self, size: int) -> bytes:
        return self._counted(self._reader.readline(min(size, self._left + 1)))

    def read(self, size: int) -> bytes:
        return self._counted(self._reader.read(size))

    def close(self) -> None:
        self._reader.close()

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise ConnectionAbortedError("a request that is too long")
        return content


class _Handler(BaseHTTPRequestHandler):
    """One request: parse, call, write. HTTP/1.0, so that each connection ends with its answer."""

    server: PhoneServer

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Bounded(self.rfile, MAX_HEAD + MAX_BODY)

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get_all("content-length", [])
        if self.headers.get("transfer-encoding") or len(length) != 1 or not _is_number(length[0]):
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif int(length[0]) > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._answer(self.rfile.read(int(length[0])))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Send an error answer that repeats nothing from the request."""
        self._write(Response(HTTPStatus(code)))

    def version_string(self) -> str:
        """Send no software name or version."""
        return "bench"

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: the terminal shows the devices."""

    def _answer(self, body: bytes) -> None:
        wait = VERDICT_SECONDS if self.path == CODES else 0.0
        self.server.answering(self.client_address, wait + _ANSWER_SECONDS)
        request = Request(self.command, self.path, self.headers, body, str(self.client_address[0]))
        self._write(self.server.door.answer(request))

    def _write(self, response: Response) -> None:
        self.close_connection = True
        self.send_response(response.status)
        for name, value in {**HEADERS, **response.headers, "Content-Type": response.media_type}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
