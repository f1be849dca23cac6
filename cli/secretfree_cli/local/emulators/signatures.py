"""Verifies Signature Version 4 of calls to an emulator and returns the signer.

Source: AWS IAM user guide, "AWS Signature Version 4 for API requests". ministack's primitives compute the signature.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from ministack.core.sigv4 import (
    HeaderSignature,
    header_signature_failure,
    parse_header_signature,
    parse_query_signature,
)

_ALGORITHM = "AWS4-HMAC-SHA256"
_CLOCK_SKEW = timedelta(minutes=15)
_LONGEST_PRESIGNED = timedelta(days=7)
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Call:
    """An HTTP request, unchanged."""

    method: str
    path: str
    """Still percent-encoded."""
    query: str
    """Without the question mark, still percent-encoded."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Credential:
    """The secret behind an access key id."""

    secret: str
    session_token: str | None = None


def signer_of(call: Call, find: Callable[[str], Credential | None], *, now: datetime | None = None) -> str | None:
    """Return the access key id that signed the call, or None for an unsigned or wrongly signed one.

    `find` returns the valid credential of an access key id, or None.
    """
    headers = _joined(call.headers)
    query = parse_qs(call.query, keep_blank_values=True)
    presigned = "authorization" not in headers
    signature = _signature_of(headers, query, presigned=presigned)
    if signature is None or not _is_timely(signature, query if presigned else None, now or datetime.now(UTC)):
        return None
    credential = find(signature.access_key_id)
    if credential is None or not _body_is_as_declared(headers, call.body):
        return None
    token = query.get("X-Amz-Security-Token", [""])[0] if presigned else headers.get("x-amz-security-token", "")
    if not hmac.compare_digest(token.encode(), (credential.session_token or "").encode()):
        return None
    failure = header_signature_failure(
        signature, credential.secret, call.method, call.path, query, headers, call.body, presigned=presigned
    )
    return None if failure else signature.access_key_id


def _signature_of(headers: dict[str, str], query: dict[str, list[str]], *, presigned: bool) -> HeaderSignature | None:
    """Return the signature in the header or the query, or None if there is none of this algorithm over the host."""
    if presigned:
        algorithm = query.get("X-Amz-Algorithm", [""])[0]
        signature = parse_query_signature(query)
    else:
        algorithm = headers["authorization"].partition(" ")[0]
        signature = parse_header_signature(headers)
    if algorithm != _ALGORITHM or not isinstance(signature, HeaderSignature):
        return None
    return signature if "host" in signature.signed_headers.split(";") else None


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by lower-case name, repeated ones joined by a comma, as in the signed string."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _is_timely(signature: HeaderSignature, query: dict[str, list[str]] | None, now: datetime) -> bool:
    try:
        signed_at = datetime.strptime(signature.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        lasts = timedelta(seconds=int(query["X-Amz-Expires"][0])) if query is not None else _CLOCK_SKEW
    except (ValueError, KeyError, OverflowError):
        return False
    if query is not None and not timedelta(0) < lasts <= _LONGEST_PRESIGNED:
        return False
    return signed_at - _CLOCK_SKEW <= now <= signed_at + lasts


def _body_is_as_declared(headers: dict[str, str], body: bytes) -> bool:
    """Whether a digest that the signature covers is the body's.

    Other values mean that the body is signed in another way.
    """
    declared = headers.get("x-amz-content-sha256", "")
    return not _SHA256.fullmatch(declared) or hashlib.sha256(body).hexdigest() == declared
