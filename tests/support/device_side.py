"""A certificate authority, an HTTPS server that answers from a script, and an MQTT 5 broker on a real TLS socket."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ENDPOINT = "device-endpoint.iot.example.com"


@dataclass(frozen=True)
class Authority:
    """A CA made for one test session, and what it signs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str, public_key: Any, *alternative_names: x509.GeneralName) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
        )
        if alternative_names:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server_context(self, *names: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(names[0], key.public_key(), *(x509.DNSName(name) for name in names))
        chain = self.folder / f"{names[0]}.pem"
        chain.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("Test CA"))
        .issuer_name(_name("Test CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Authority(key, certificate, tmp_path_factory.mktemp("authority"))
    made.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return made


@dataclass(frozen=True)
class Request:
    path: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name]


Response = tuple[int, dict[str, str], bytes]


@dataclass
class ScriptedService:
    """Answers each POST with the next line of its script; the last line repeats."""

    url: str = ""
    script: list[Response | Callable[[Request], Response]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        line = self.script[min(len(self.requests), len(self.script)) - 1]
        return line(request) if callable(line) else line


@pytest.fixture
def service(authority: Authority) -> Iterator[ScriptedService]:
    scripted = ScriptedService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, headers, body = scripted.answer(Request(self.path, list(self.headers.items()), sent))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            pass  # A client that distrusts the certificate disconnects in the handshake, which a test expects.

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = authority.server_context("localhost").wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    scripted.url = f"https://localhost:{server.server_address[1]}/stage"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield scripted
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def issued(authority: Authority) -> Callable[[Any], bytes]:
    """The body of a 200 for a public key."""

    def body(public_key: Any, thing: str = "sensor-1") -> bytes:
        certificate = authority.sign(thing, public_key)
        return json.dumps(
            {
                "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
                "certificateChain": authority.file.read_text(),
                "endpoint": f"{ENDPOINT}:4566",
                "thingName": thing,
                "certificateId": certificate.fingerprint(hashes.SHA256()).hex(),
                "notAfter": "2030-01-01T00:00:00Z",
                "renewAfter": "2029-12-05T03:41:07Z",
            }
        ).encode()

    return body


@dataclass
class ScriptedBroker:
    """Implements the part of MQTT 5 that one QoS 1 client needs, and refuses the requests that a test chooses."""

    port: int = 0
    connect_code: int = 0
    denied: set[str] = field(default_factory=set)
    hang_up_on: set[str] = field(default_factory=set)
    hang_up_on_connect: bool = False
    silent: bool = False
    server_names: list[str | None] = field(default_factory=list)
    client_ids: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)

    def serve(self, connection: ssl.SSLSocket) -> None:
        certificate = connection.getpeercert() or {}
        self.peers.append(
            next((value for part in certificate.get("subject", ()) for _, value in part), "no certificate")  # type: ignore[union-attr,misc]
        )
        while packet := _read_packet(connection):
            kind, body = packet
            if kind == 1:
                if self.hang_up_on_connect:
                    return
                self.client_ids.append(_connect_client_id(body))
                if not self.silent:
                    _send(connection, 0x20, bytes([0, self.connect_code, 0]))
            elif kind == 3:
                topic, rest = _text(body)
                if topic in self.hang_up_on:
                    _send(connection, 0xE0, bytes([0x87, 0]))
                    return
                _send(connection, 0x40, rest[:2] + bytes([0x87 if topic in self.denied else 0, 0]))
                if topic not in self.denied:
                    _send(connection, 0x30, struct.pack("!H", len(topic)) + topic.encode() + b"\0" + rest[3:])
            elif kind == 8:
                topic, _ = _text(body[3:])
                _send(connection, 0x90, body[:2] + bytes([0, 0x87 if topic in self.denied else 1]))
            elif kind == 14:
                return


@pytest.fixture
def broker(authority: Authority) -> Iterator[ScriptedBroker]:
    scripted = ScriptedBroker()
    context = authority.server_context(ENDPOINT, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)

    def remember(_socket: object, name: str | None, _context: object) -> None:
        scripted.server_names.append(name)

    context.sni_callback = remember
    listener = socket.create_server(("127.0.0.1", 0))
    scripted.port = listener.getsockname()[1]

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as connection:
                    scripted.serve(connection)
            except OSError:
                raw.close()

    thread = threading.Thread(target=accept)
    thread.start()
    yield scripted
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _read_packet(connection: ssl.SSLSocket) -> tuple[int, bytes] | None:
    head = connection.recv(1)
    if not head:
        return None
    length = shift = 0
    while True:
        byte = connection.recv(1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return head[0] >> 4, body


def _send(connection: ssl.SSLSocket, head: int, body: bytes) -> None:
    connection.sendall(bytes([head, len(body)]) + body)


def _text(data: bytes) -> tuple[str, bytes]:
    (length,) = struct.unpack_from("!H", data)
    return data[2 : 2 + length].decode(), data[2 + length :]


def _connect_client_id(body: bytes) -> str:
    # Protocol name (6), level (1), flags (1), keep-alive (2), then the properties' length and the properties.
    return _text(body[11 + body[10] :])[0]
