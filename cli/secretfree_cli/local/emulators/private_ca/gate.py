"""The gate of the Private CA emulator: every call needs a valid signature by a key of the local cloud.

This server has the operator's key. The AWS emulators have the keys of IAM users and sessions, Lambdas' included, and
return them on request. Each Region has its own Private CA emulator: a call for another Region is forwarded to that
Region's emulator, which verifies it.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from secretfree_cli.local.emulators.admission import refusal_of
from secretfree_cli.local.emulators.operator import CREDENTIALS_PATH, Operator
from secretfree_cli.local.emulators.signatures import Call, Credential, signer_of

StartResponse = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_KEPT_SECONDS = 30.0
_ASK_SECONDS = 10.0
_LONGEST_BODY = 1024 * 1024
_STATUSES = {"AccessDeniedException": "403 Forbidden", "ServiceUnavailableException": "503 Service Unavailable"}
_SCOPE = re.compile(r"Credential=[^/,\s]+/[0-9]{8}/(?P<region>[a-z0-9-]+)/acm-pca/aws4_request")


@dataclass
class AccessKeys:
    """The credentials for verifying calls; those from the AWS emulator are cached for a short time."""

    operator: Operator
    aws_urls: Sequence[str]
    """The addresses of the AWS emulators, one for each Region; none for a separate Private CA emulator."""
    monotonic: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Credential]] = field(default_factory=dict)

    def find(self, access_key_id: str) -> Credential | None:
        """Return the credential of a key, or None if it is unknown or expired, or no AWS emulator answers."""
        own = self.operator.credential(access_key_id)
        if own is not None:
            return own
        until, kept = self._kept.get(access_key_id, (0.0, None))
        if kept is not None and self.monotonic() < until:
            return kept
        self._kept.pop(access_key_id, None)
        asked = self._ask(access_key_id) if access_key_id.isalnum() else None
        if asked is not None:
            self._kept[access_key_id] = (self.monotonic() + _KEPT_SECONDS, asked)
        return asked

    def _ask(self, access_key_id: str) -> Credential | None:
        answers = (self._ask_one(url, access_key_id) for url in self.aws_urls)
        return next((answer for answer in answers if answer is not None), None)

    def _ask_one(self, aws_url: str, access_key_id: str) -> Credential | None:
        url = f"{aws_url}{CREDENTIALS_PATH}{access_key_id}"
        request = AWSRequest("GET", url)
        credentials = Credentials(self.operator.access_key_id, self.operator.secret_access_key)
        SigV4Auth(credentials, "sts", "us-east-1").add_auth(request)
        signed = urllib.request.Request(url, headers=dict(request.headers))  # noqa: S310 -- http to loopback
        try:
            with urllib.request.urlopen(signed, timeout=_ASK_SECONDS) as answer:  # noqa: S310
                document = json.load(answer)
        except (OSError, ValueError, urllib.error.URLError):
            return None
        return Credential(document["secret"], document["sessionToken"]) if document else None


def guarded(
    application: Wsgi, find: Callable[[str], Credential | None], *, peers: Mapping[str, str] | None = None
) -> Wsgi:
    """Return `application` behind the gate. `peers`: the addresses of other Regions' emulators, by Region."""

    def serve(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        headers = _headers_of(environ)
        refusal = refusal_of(headers)
        if refusal is not None:
            return _refuse(start_response, "AccessDeniedException", refusal)
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit() and int(length) <= _LONGEST_BODY):
            return _refuse(start_response, "AccessDeniedException", "the body is too long")
        body = environ["wsgi.input"].read(int(length))
        peer = (peers or {}).get(_region_of(headers))
        if peer is not None:
            return _pass_on(peer, headers, body, start_response)
        path, _, query = str(environ["RAW_URI"]).partition("?")
        call = Call(environ["REQUEST_METHOD"], path, query, headers, body)
        if signer_of(call, find) is None:
            return _refuse(start_response, "UnrecognizedClientException", "the call is not signed by a valid key")
        return application({**environ, "wsgi.input": BytesIO(body)}, start_response)

    return serve


def _region_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The Region in a call's signature; empty for a call without one."""
    authorization = next((value.decode("latin-1") for name, value in headers if name == b"authorization"), "")
    found = _SCOPE.search(authorization)
    return found["region"] if found else ""


def _pass_on(
    url: str, headers: Iterable[tuple[bytes, bytes]], body: bytes, start_response: StartResponse
) -> Iterable[bytes]:
    """Forward a call unchanged: the signature covers its Host too."""
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    request = urllib.request.Request(f"{url}/", data=body, headers=fields, method="POST")  # noqa: S310 -- http to loopback
    try:
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as reply:  # noqa: S310
            status, answer, kept = reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        status, answer, kept = error.code, error.read(), error.headers
    except (OSError, urllib.error.URLError):
        return _refuse(start_response, "ServiceUnavailableException", "the Region does not answer")
    passed = [(name, kept[name]) for name in ("Content-Type", "x-amzn-errortype") if name in kept]
    start_response(f"{status} Passed on", [*passed, ("Content-Length", str(len(answer)))])
    return [answer]


def _headers_of(environ: dict[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    names = {
        name: name.removeprefix("HTTP_")
        for name in environ
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return tuple(
        (short.replace("_", "-").lower().encode("latin-1"), str(environ[name]).encode("latin-1"))
        for name, short in names.items()
    )


def _refuse(start_response: StartResponse, code: str, message: str) -> Iterable[bytes]:
    body = json.dumps({"__type": code, "message": message}).encode()
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
    start_response(_STATUSES.get(code, "400 Bad Request"), headers)
    return [body]
