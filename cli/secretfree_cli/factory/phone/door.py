"""The answers of the page's server. Pure: no socket, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from secretfree_cli.factory.bench import without_controls
from secretfree_cli.factory.codes import MAX_CODE
from secretfree_cli.factory.phone.allowance import Allowance
from secretfree_cli.factory.phone.exchange import Busy, Exchange
from secretfree_cli.factory.phone.page_files import PageFile
from secretfree_cli.factory.phone.pairing import LinkRefusal, Pairing

MAX_BODY: Final = 6 * MAX_CODE + 64
"""Maximum size in bytes. JSON may escape a character as six."""
CODES: Final = "/codes"
COOKIE: Final = "__Host-secretfree-bench"
VERDICT_SECONDS: Final = 60.0

_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": _POLICY,
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)
"""The headers of every answer."""
_JSON: Final = "application/json"


@dataclass(frozen=True)
class Request:
    """One request. `body` has at most `MAX_BODY` bytes."""

    method: str
    path: str
    headers: Message
    body: bytes
    address: str


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: HTTPStatus
    content: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class Door:
    """Serves the page to any browser, and the session only to the paired phone."""

    def __init__(
        self,
        *,
        authority: str,
        pairing: Pairing,
        exchange: Exchange,
        files: Mapping[str, PageFile],
        allowance: Allowance,
        notice: Callable[[str], None],
    ) -> None:
        """`authority` is host and port, as in the link. `notice` shows a line to the operator."""
        self._authority = authority
        self._pairing = pairing
        self._exchange = exchange
        self._files = files
        self._allowance = allowance
        self._notice = notice
        self._noticed: set[str] = set()

    def answer(self, request: Request) -> Response:
        """Return the answer, to which `HEADERS` are added."""
        if not self._allowance.take(request.address):
            return _problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", {"Retry-After": "1"})
        if request.headers.get_all("host") != [self._authority]:  # Another name for this address: DNS rebinding.
            return _problem(HTTPStatus.MISDIRECTED_REQUEST, "Open the link of the terminal.")
        if request.method == "GET" and (file := self._files.get(request.path)) is not None:
            return Response(HTTPStatus.OK, file.content, file.media_type)
        route = {
            ("GET", "/session"): self._session,
            ("POST", "/claim"): self._claim,
            ("POST", CODES): self._codes,
        }.get((request.method, request.path))
        if route is None:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such page.")
        if request.method == "POST" and (refusal := self._cross_site(request)):
            return refusal
        return route(request)

    def _cross_site(self, request: Request) -> Response | None:
        if request.headers.get_all("origin") != [f"https://{self._authority}"]:
            return _problem(HTTPStatus.FORBIDDEN, "The request comes from another page.")
        if request.headers.get_all("content-type") != [_JSON]:
            return _problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Accepted is {_JSON}.")
        return None

    def _session(self, request: Request) -> Response:
        return Response(HTTPStatus.NO_CONTENT) if self._admits(request) else _not_paired()

    def _claim(self, request: Request) -> Response:
        token = _text_field(request.body, "token")
        if token is None:
            return _problem(HTTPStatus.BAD_REQUEST, 'Accepted: {"token": "..."}.')
        if self._admits(request):  # The paired phone has opened the link again.
            return Response(HTTPStatus.NO_CONTENT)
        claimed = self._pairing.claim(token)
        if isinstance(claimed, LinkRefusal):
            if claimed is not LinkRefusal.UNKNOWN:
                self._notice_once(f"{request.address} opened the link and was refused: {claimed.name.lower()}")
            return _problem(HTTPStatus.FORBIDDEN, claimed.value)
        self._notice(f"a phone is paired: {request.address}")
        cookie = f"{COOKIE}={claimed}; Path=/; Secure; HttpOnly; SameSite=Strict"
        return Response(HTTPStatus.NO_CONTENT, headers={"Set-Cookie": cookie})

    def _codes(self, request: Request) -> Response:
        if not self._admits(request):
            return _not_paired()
        code = _text_field(request.body, "code")
        if code is None or not code.strip() or len(code) > MAX_CODE:
            return _problem(HTTPStatus.BAD_REQUEST, f"A code has 1 to {MAX_CODE} characters.")
        try:
            verdict = self._exchange.ask(code, timeout=VERDICT_SECONDS)
        except Busy:
            return _problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "The bench is busy with the previous device. Scan again.",
                {"Retry-After": "1"},
            )
        if verdict is None:
            return _problem(HTTPStatus.GATEWAY_TIMEOUT, "The bench gave no answer in time. Scan again.")
        return _json(
            HTTPStatus.OK,
            {
                "verdict": "ok" if verdict.ok else "fail",
                "device": without_controls(verdict.device),
                "note": without_controls(verdict.note),
                "repeated": verdict.repeated,
            },
        )

    def _admits(self, request: Request) -> bool:
        cookies = [part.strip() for line in request.headers.get_all("cookie", []) for part in line.split(";")]
        passes = [part.removeprefix(f"{COOKIE}=") for part in cookies if part.startswith(f"{COOKIE}=")]
        return len(passes) == 1 and self._pairing.admits(passes[0])

    def _notice_once(self, line: str) -> None:
        """Show a line about an unpaired client: each once, and only a few of them."""
        if line not in self._noticed and len(self._noticed) < 20:
            self._noticed.add(line)
            self._notice(line)


def _text_field(body: bytes, name: str) -> str | None:
    """Return the one field of a JSON object; None for any other body, and for text that cannot be encoded."""
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, list) or len(document) != 1 or not isinstance(document[0], tuple):
        return None
    found, text = document[0]
    if found != name or not isinstance(text, str):
        return None
    return text if text.encode("utf-8", "replace").decode("utf-8") == text else None


def _not_paired() -> Response:
    return _problem(HTTPStatus.FORBIDDEN, "This phone is not paired. Scan the code in the terminal.")


def _problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json(status, {"detail": detail}, headers)


def _json(status: HTTPStatus, document: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(document).encode(), _JSON, headers or {})
