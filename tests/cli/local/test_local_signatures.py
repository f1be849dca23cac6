"""Signature Version 4 as the local cloud verifies it: botocore's signatures pass, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from secretfree_cli.local.emulators.signatures import Call, Credential, signer_of

KEY, SECRET, TOKEN = "AKIAOPERATOROPERATOR", "a secret", "a token"  # pragma: allowlist secret
HOST = "127.0.0.1:4566"
KNOWN = {KEY: Credential(SECRET), "ASIASESSION": Credential("session secret", TOKEN)}


def signed(
    *,
    key: str = KEY,
    secret: str = SECRET,
    token: str | None = None,
    method: str = "POST",
    url: str = f"http://{HOST}/things/a%20b?x=1&y=%2F",
    body: bytes = b"{}",
    auth: type[SigV4Auth] = SigV4Auth,
    service: str = "iot",
) -> Call:
    request = AWSRequest(method, url, data=body, headers={"Host": HOST})
    auth(Credentials(key, secret, token), service, "us-east-1").add_auth(request)
    parts = urlsplit(request.url)
    headers = tuple((name.encode(), str(value).encode()) for name, value in request.headers.items())
    return Call(method, parts.path, parts.query, headers, body)


def replaced(call: Call, **changes: object) -> Call:
    return Call(**{**vars(call), **changes})


def header(call: Call, name: str, value: str) -> Call:
    kept = tuple(pair for pair in call.headers if pair[0].lower() != name.lower().encode())
    return replaced(call, headers=(*kept, (name.encode(), value.encode())))


@pytest.mark.parametrize(
    ("auth", "service", "method", "body"),
    [
        (SigV4Auth, "iot", "POST", b"{}"),
        (SigV4Auth, "dynamodb", "POST", b'{"a": 1}'),
        (S3SigV4Auth, "s3", "PUT", b"asset"),
        (SigV4QueryAuth, "sts", "GET", b""),
    ],
)
def test_what_an_sdk_signs_is_taken_for_its_key(auth, service, method, body):
    assert signer_of(signed(auth=auth, service=service, method=method, body=body), KNOWN.get) == KEY


def test_a_session_is_taken_with_its_token_and_not_without():
    session = {"key": "ASIASESSION", "secret": "session secret"}
    assert signer_of(signed(**session, token=TOKEN), KNOWN.get) == "ASIASESSION"
    assert signer_of(signed(**session), KNOWN.get) is None
    assert signer_of(signed(**session, token="another"), KNOWN.get) is None


def test_a_token_beside_a_key_that_has_none_is_refused():
    assert signer_of(signed(token="any"), KNOWN.get) is None


@pytest.mark.parametrize(
    "call",
    [
        Call("POST", "/", "", ((b"host", HOST.encode()),), b""),
        signed(secret="another"),
        signed(key="AKIAUNKNOWN"),
        signed(key="test", secret="test"),
        signed(key="000000000000"),
        replaced(signed(), method="PUT"),
        replaced(signed(), path="/things/other"),
        replaced(signed(), query="x=2&y=%2F"),
        replaced(signed(), body=b'{"changed": true}'),
        replaced(signed(auth=S3SigV4Auth, service="s3", method="PUT"), body=b"changed"),
        header(signed(), "Host", "evil.example"),
        header(signed(), "X-Amz-Date", "20200101T000000Z"),
        header(signed(), "Authorization", "Bearer x"),
        header(signed(), "Authorization", "AWS4-HMAC-SHA256"),
        header(signed(), "Authorization", f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/iot/aws4_request"),
        header(signed(), "Authorization", f"AWS {KEY}:c2lnbmF0dXJl"),
    ],
    ids=range(16),
)
def test_anything_else_is_nobodys(call):
    assert signer_of(call, KNOWN.get) is None


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_header_signature_is_good_for_fifteen_minutes(minutes):
    at_that_time = datetime.now(UTC) + timedelta(minutes=minutes)
    assert signer_of(signed(), KNOWN.get, now=at_that_time) is None


def test_a_presigned_url_is_good_until_it_expires():
    call = signed(auth=SigV4QueryAuth, method="GET", body=b"", service="sts")
    assert signer_of(call, KNOWN.get, now=datetime.now(UTC) + timedelta(minutes=50)) == KEY
    assert signer_of(call, KNOWN.get, now=datetime.now(UTC) + timedelta(minutes=61)) is None
