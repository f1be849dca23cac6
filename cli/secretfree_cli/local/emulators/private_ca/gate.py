"""The Private CA emulator's door: every call needs a signature that verifies, by a key that the local cloud knows.

The operator's key is this server's own. The AWS emulator knows those of IAM users and of sessions, Lambdas' included,
and is asked for them.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
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


@dataclass
class KnownKeys:
    """The credentials by which calls are verified; those of the AWS emulator are kept for a short time."""

    operator: Operator
    aws_url: str | None
    """Where the AWS emulator answers; None for a Private CA emulator on its own."""
    monotonic: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Credential]] = field(default_factory=dict)

    def find(self, access_key_id: str) -> Credential | None:
        """Return the credential of a key, or None if it is unknown, expired, or cannot be asked for."""
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
        if self.aws_url is None:
            return None
        url = f"{self.aws_url}{CREDENTIALS_PATH}{access_key_id}"
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


def guarded(application: Wsgi, find: Callable[[str], Credential | None]) -> Wsgi:
    """Return `application` behind the door."""

    def serve(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        headers = _headers_of(environ)
        refusal = refusal_of(headers)
        if refusal is not None:
            return _refuse(start_response, "AccessDeniedException", refusal)
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit() and int(length) <= _LONGEST_BODY):
            return _refuse(start_response, "AccessDeniedException", "the body is too long")
        body = environ["wsgi.input"].read(int(length))
        path, _, query = str(environ["RAW_URI"]).partition("?")
        call = Call(environ["REQUEST_METHOD"], path, query, headers, body)
        if signer_of(call, find) is None:
            return _refuse(start_response, "UnrecognizedClientException", "the call is not signed by a valid key")
        return application({**environ, "wsgi.input": BytesIO(body)}, start_response)

    return serve


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
    start_response("403 Forbidden" if code == "AccessDeniedException" else "400 Bad Request", headers)
    return [body]
