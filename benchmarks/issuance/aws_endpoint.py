"""AWS on loopback for the benchmark: moto's services, with a settable latency and a record of each call.

Run as `python aws_endpoint.py PORT`. GET /_bench/calls returns and forgets the calls. POST /_bench/latency sets the
latency, and POST /_bench/signing the time that the Private CA takes to sign. Both in seconds.
"""

from __future__ import annotations

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.datastructures import Headers
from werkzeug.test import Client
from werkzeug.wrappers import Response

LOOPBACK = "127.0.0.1"
_REST = tuple(
    (method, re.compile(path), operation)
    for method, path, operation in (
        ("POST", r"/things/[^/]+", "CreateThing"),
        ("GET", r"/things/[^/]+", "DescribeThing"),
        ("PUT", r"/things/[^/]+/principals", "AttachThingPrincipal"),
        ("PUT", r"/target-policies/[^/]+", "AttachPolicy"),
        ("POST", r"/certificate/register", "RegisterCertificate"),
        ("POST", r"/certificate/register-no-ca", "RegisterCertificateWithoutCA"),
        ("POST", r"/certificates", "CreateCertificateFromCsr"),
        ("PUT", r"/certificates/[^/]+", "UpdateCertificate"),
        ("GET", r"/certificates/[^/]+", "DescribeCertificate"),
    )
)


class Emulator:
    """Moto behind a stopwatch. It answers a request after `latency` seconds at the earliest.

    A certificate of the Private CA is ready `signing` seconds after its request, where moto has it at once.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.signing = 0.0
        self._ready_at: dict[str, float] = {}
        self._services = Client(DomainDispatcherApplication(create_backend_app))
        self._calls: list[dict[str, Any]] = []
        self._lock = Lock()

    def answer(self, method: str, path: str, headers: Headers, body: bytes, *, connection: int) -> Response:
        """Answer one call to AWS and record it."""
        began = time.monotonic()
        name = operation_of(method, path.partition("?")[0], headers.get("x-amz-target"))
        response: Response
        if name == "GetCertificate" and began < self._ready_at.get(json.loads(body)["CertificateArn"], 0.0):
            response = Response(json.dumps({"__type": "RequestInProgressException"}), status=400)
        else:
            response = self._services.open(path, method=method, headers=headers, data=body)
        if name == "IssueCertificate" and response.status_code == 200:
            self._ready_at[json.loads(response.get_data())["CertificateArn"]] = began + self.signing
        time.sleep(max(0.0, began + self.latency - time.monotonic()))
        call = {"operation": name, "began": began, "ended": time.monotonic(), "connection": connection}
        with self._lock:
            self._calls.append(call | {"status": response.status_code})
        return response

    def taken_calls(self) -> list[dict[str, Any]]:
        """Return the calls since the last time."""
        with self._lock:
            calls, self._calls = self._calls, []
        return calls


def operation_of(method: str, path: str, target: str | None) -> str:
    """Return the API's name of a request."""
    if target:
        return target.rpartition(".")[2]
    return next((name for verb, form, name in _REST if verb == method and form.fullmatch(path)), f"{method} {path}")


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections kept alive, which werkzeug's own server does not do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    emulator = Emulator()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/_bench/calls":
            self._respond(200, [], json.dumps(self.emulator.taken_calls()).encode())
        elif self.path == "/_bench/latency":
            self.emulator.latency = float(body)
            self._respond(200, [], b"")
        elif self.path == "/_bench/signing":
            self.emulator.signing = float(body)
            self._respond(200, [], b"")
        else:
            headers = Headers(list(self.headers.items()))
            connection = self.client_address[1]
            response = self.emulator.answer(self.command, self.path, headers, body, connection=connection)
            self._respond(response.status_code, list(response.headers.items()), response.get_data())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815 - the base class's names

    def _respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def main() -> None:
    """Serve until ended."""
    ThreadingHTTPServer((LOOPBACK, int(sys.argv[1])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
