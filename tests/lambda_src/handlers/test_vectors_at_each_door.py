"""The vectors of certificate signing requests, at each way in: one verdict, whatever way a request takes."""

import base64
import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from secretfree.adapters import clients, single_try_clients
from secretfree.contract import Variable
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers import authorizer, csr_front, est
from secretfree.handlers.http.problem import problem_body
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_profile import DeviceProfile
from support.environments import authorizer_environment, csr_front_environment, est_environment

VECTORS: Final = Path(__file__).parents[1] / "vectors"
REQUEST_ID: Final = "0a1b2c3d-request"
Door = Callable[[bytes], int]


class Issuers:
    """Lambda's API: counts the calls of issuers, which issue nothing here."""

    def __init__(self) -> None:
        self.calls = 0

    def invoke(self, **_given: Any) -> dict[str, Any]:
        self.calls += 1
        return {"Payload": io.BytesIO(json.dumps({"statusCode": 202, "headers": {}, "body": "{}"}).encode())}


@pytest.fixture
def issuers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuers]:
    clients.client.cache_clear()
    called = Issuers()
    monkeypatch.setattr(single_try_clients, "functions", lambda: called)
    yield called
    clients.client.cache_clear()


def header_door(profile: DeviceProfile) -> Door:
    """The authorizer, as the HTTP status that API Gateway makes of its answer."""
    handler = authorizer.build({**authorizer_environment(), Variable.DEVICE_PROFILE: profile.value})

    def ask(der: bytes) -> int:
        headers = {"device-csr": [base64.b64encode(der).decode()]}
        event = {"methodArn": "arn", "multiValueHeaders": headers, "requestContext": {"requestId": REQUEST_ID}}
        try:
            answer = handler(event, None)
        except Exception as refusal:  # noqa: BLE001 - the very words that API Gateway answers with 401
            return 401 if str(refusal) == "Unauthorized" else 500
        return 202 if answer["policyDocument"]["Statement"][0]["Effect"] == "Allow" else 403

    return ask


def body_door(handler: Callable[[dict[str, Any], Any], dict[str, Any]], resource: str) -> Door:
    """A function that reads the body, which must give a refusal's own problem document."""

    def ask(der: bytes) -> int:
        event = {
            "resource": resource,
            "httpMethod": "POST",
            "multiValueHeaders": {"Content-Type": ["application/pkcs10"]},
            "pathParameters": None,
            "requestContext": {"requestId": REQUEST_ID, "domainName": "api.example.com", "identity": {}},
            "body": base64.b64encode(der).decode(),
            "isBase64Encoded": False,
        }
        answer = handler(event, None)
        if answer["statusCode"] != 202:
            (code,) = (code for code in ErrorCode if answer["body"] == problem_body(code, REQUEST_ID))
            assert code.status == answer["statusCode"]
        return int(answer["statusCode"])

    return ask


def verified(der: bytes, profile: DeviceProfile) -> VerifiedCsr | ErrorCode:
    """The rules' own verdict. A common name that is not an id is malformed, because ids are compared here."""
    try:
        request = verify(UnverifiedCsr.from_der(der), profile)
    except SecretFreeError as refusal:
        return refusal.code
    return request if request.device_id is not None else ErrorCode.MALFORMED_REQUEST


@pytest.mark.parametrize("profile", DeviceProfile)
def test_each_vector_has_one_verdict_at_every_door(profile: DeviceProfile, tables: Any, issuers: Issuers) -> None:
    environment = {Variable.DEVICE_PROFILE: profile.value}
    doors = {
        "header": header_door(profile),
        "body": body_door(csr_front.build({**csr_front_environment(), **environment}), "/new/csr"),
        "EST": body_door(est.build({**est_environment(), **environment}), "/.well-known/est/simpleenroll"),
    }
    lines = [
        line
        for line in json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))
        if profile.value in line.get("profiles", ())
    ]
    allowed = 0
    for line in lines:
        der = (VECTORS / line["file"]).read_bytes()
        request = verified(der, profile)
        if isinstance(request, VerifiedCsr):
            item = {"device-id": line["deviceId"], "pubkey": request.public_key.registry_text()}
            tables.put_item(TableName="registry", Item={name: {"S": value} for name, value in item.items()})
            allowed += 1
        expected = 202 if isinstance(request, VerifiedCsr) else request.status
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert {name: ask(der) for name, ask in doors.items()} == dict.fromkeys(doors, expected), line["file"]
    assert len(lines) > allowed > 0
    assert issuers.calls == 2 * allowed
