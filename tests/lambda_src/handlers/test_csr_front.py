"""A CSR as the body: decided as the authorizer would, answered by the issuer, and never both forms at once."""

import base64
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.adapters import clients, single_try_clients
from secretfree.contract import Metric, Variable
from secretfree.errors import ErrorCode
from secretfree.handlers import authorizer, csr_front
from secretfree.handlers.http.problem import problem_body
from secretfree.handlers.http.request import device_csr
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import parse_header_value
from secretfree.request.keys import DevicePublicKey
from support.environments import authorizer_environment, csr_front_environment

REQUEST_ID = "0a1b2c3d-request"
ANSWER = {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": "{}", "isBase64Encoded": False}


class Lambda:
    """Lambda's API: keeps what the issuers are called with, and answers or raises what it was given."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, dict[str, Any]]] = []
        self.answer: Any = {"Payload": ANSWER}

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.invoked.append((FunctionName, json.loads(Payload)))
        if isinstance(self.answer, Exception):
            raise self.answer
        payload = self.answer["Payload"]
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return {**self.answer, "Payload": io.BytesIO(data)}


class Front:
    """The handler and what stands behind it."""

    def __init__(self, issuers: Lambda, tables: Any) -> None:
        self.issuers = issuers
        self._tables = tables
        self._handler = csr_front.build(csr_front_environment())

    def enrol(self, device_id: str, key: DevicePublicKey, **attributes: str) -> None:
        item = {"device-id": device_id, "pubkey": key.registry_text(), **attributes}
        self._tables.put_item(TableName="registry", Item={name: {"S": value} for name, value in item.items()})

    def __call__(self, body: bytes | str | None, /, **changes: Any) -> dict[str, Any]:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        return self._handler({**event(text), **changes}, None)


def event(body: str | None, *, content_type: str = "application/pkcs10", path: str = "new") -> dict[str, Any]:
    """A proxy event as API Gateway documents it."""
    return {
        "resource": f"/{path}/csr",
        "path": f"/{path}/csr",
        "httpMethod": "POST",
        "headers": {"Content-Type": content_type, "Accept": "application/x-pem-file"},
        "multiValueHeaders": {"Content-Type": [content_type], "Accept": ["application/x-pem-file"]},
        "requestContext": {"requestId": REQUEST_ID, "extendedRequestId": "Jn0fYEZcFiAFj-A=", "authorizer": None},
        "body": body,
        "isBase64Encoded": False,
    }


def pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def problem(code: ErrorCode) -> tuple[int, str]:
    return code.status, problem_body(code, REQUEST_ID)


def seen(answer: Mapping[str, Any]) -> tuple[int, str]:
    return answer["statusCode"], answer["body"]


@pytest.fixture
def front(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    clients.client.cache_clear()
    issuers = Lambda()
    monkeypatch.setattr(single_try_clients, "functions", lambda: issuers)
    yield Front(issuers, tables)
    clients.client.cache_clear()


@pytest.fixture
def enrolled(front: Front, public_key: DevicePublicKey) -> Front:
    front.enrol("widget-1", public_key)
    return front


# --- allowed ---


@pytest.mark.parametrize("form", ["base64", "wrapped", "pem", "pem-in-base64", "binary"])
def test_a_device_gets_the_issuers_own_answer_whatever_form_its_body_has(
    form: str, enrolled: Front, csr_der: Callable[..., bytes]
) -> None:
    der = csr_der()
    if form == "binary":  # where an API names the type as binary
        answer = enrolled(base64.b64encode(der).decode(), isBase64Encoded=True)
    else:
        forms = {
            "base64": base64.b64encode(der).decode(),
            "wrapped": base64.encodebytes(der).decode().replace("\n", "\r\n"),
            "pem": pem(der),
            "pem-in-base64": base64.b64encode(pem(der).encode()).decode(),
        }
        answer = enrolled(forms[form])
    assert answer == ANSWER
    ((function, given),) = enrolled.issuers.invoked
    assert function == "issuer-new"
    assert parse_header_value(device_csr(given)) == der


def test_the_issuer_is_called_as_it_is_behind_the_authorizer(
    enrolled: Front, csr_der: Callable[..., bytes], header_value: Callable[[bytes], str]
) -> None:
    der = csr_der()
    enrolled(pem(der))
    ((_, given),) = enrolled.issuers.invoked
    by_header = {
        "methodArn": "arn",
        "multiValueHeaders": {"device-csr": [header_value(der)]},
        "requestContext": {"requestId": REQUEST_ID},
    }
    allowed = authorizer.build(authorizer_environment())(by_header, None)
    assert given["requestContext"]["authorizer"] == allowed["context"]
    assert AuthorizedDevice.from_context(given["requestContext"]["authorizer"]).device_id == "widget-1"
    assert given["requestContext"]["requestId"] == REQUEST_ID
    assert given["multiValueHeaders"]["accept"] == ["application/x-pem-file"]


def test_each_path_has_its_own_issuer(enrolled: Front, csr_der: Callable[..., bytes]) -> None:
    enrolled(pem(csr_der()), resource="/proto/csr")
    assert [function for function, _ in enrolled.issuers.invoked] == ["issuer-proto"]


@pytest.mark.parametrize(
    "content_type", ["application/pkcs10", "Application/PKCS10; charset=us-ascii", "application/x-pem-file"]
)
def test_the_types_of_the_contract_are_taken(content_type: str, enrolled: Front, csr_der: Callable[..., bytes]) -> None:
    assert enrolled(pem(csr_der()), multiValueHeaders={"content-type": [content_type]}) == ANSWER


# --- refused: nothing is issued, and the answer has the bytes that the header form gets ---


def test_every_impostor_gets_the_same_403(
    front: Front, csr_der: Callable[..., bytes], public_key: DevicePublicKey, other_key: ec.EllipticCurvePrivateKey
) -> None:
    front.enrol("widget-1", public_key)
    front.enrol("blocked-1", public_key, status="blocked")
    forged = bytearray(csr_der())
    forged[-6] ^= 1
    bodies = [csr_der("unknown-1"), csr_der(key=other_key), csr_der("blocked-1"), bytes(forged)]
    assert {seen(front(pem(body))) for body in bodies} == {problem(ErrorCode.NOT_AUTHORIZED)}
    assert front.issuers.invoked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"multiValueHeaders": {"Content-Type": ["application/pkcs10"], "device-csr": ["x"]}},
        {"multiValueHeaders": {"Content-Type": ["application/pkcs10"], "Device-CSR": [""]}},
        {"multiValueHeaders": {"Content-Type": ["application/json"]}},
        {"multiValueHeaders": {"Content-Type": ["application/pkcs10", "application/x-pem-file"]}},
        {"multiValueHeaders": {}},
        {"multiValueHeaders": None},
        {"isBase64Encoded": True},
        {"body": "not base64!"},
        {"body": "x" * 9_000},
        {"body": "MIIB"},
        {"body": pem(b"\x30\x03\x02\x01\x00") * 2},
    ],
)
def test_what_is_no_one_csr_of_a_known_type_is_malformed(
    changes: dict[str, Any], enrolled: Front, csr_der: Callable[..., bytes]
) -> None:
    assert seen(enrolled(pem(csr_der()), **changes)) == problem(ErrorCode.MALFORMED_REQUEST)
    assert enrolled.issuers.invoked == []


@pytest.mark.parametrize("body", [None, ""])
def test_no_body_is_no_csr(body: str | None, enrolled: Front) -> None:
    assert seen(enrolled(body)) == problem(ErrorCode.MISSING_CSR)


@pytest.mark.parametrize("rounds", [500, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_mutated_bodies_issue_nothing_and_are_no_fault_of_ours(
    enrolled: Front, csr_der: Callable[..., bytes], rounds: int
) -> None:
    chance = random.Random(7)
    original = pem(csr_der()).encode()
    statuses = set()
    for _ in range(rounds):
        body = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(len(body))
            body[position : position + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        if base64_content(bytes(body)) == base64_content(original):
            continue
        statuses.add(enrolled(bytes(body))["statusCode"])
    assert statuses <= {401, 403}
    assert enrolled.issuers.invoked == []


def base64_content(body: bytes) -> bytes:
    """A PEM without its white space: line ends that moved change nothing."""
    return b"".join(body.split())


def test_a_table_that_cannot_be_read_is_a_503_with_retry_after(
    enrolled: Front, csr_der: Callable[..., bytes], tables: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.delete_table(TableName="registry")
    answer = enrolled(pem(csr_der()))
    assert seen(answer) == problem(ErrorCode.UNAVAILABLE)
    assert answer["headers"]["Retry-After"] == "5"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(line.get(Metric.FAILED) == 1.0 for line in lines)
    assert enrolled.issuers.invoked == []


# --- the issuer does not answer ---


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"), ErrorCode.UNAVAILABLE),
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "Invoke"), ErrorCode.UNAVAILABLE),
        (ReadTimeoutError(endpoint_url="https://lambda"), ErrorCode.UNAVAILABLE),
        ({"Payload": {"errorMessage": "x"}, "FunctionError": "Unhandled"}, ErrorCode.INTERNAL),
        ({"Payload": {"errorMessage": "x"}}, ErrorCode.INTERNAL),
        ({"Payload": [1]}, ErrorCode.INTERNAL),
        ({"Payload": b"no JSON"}, ErrorCode.INTERNAL),
    ],
)
def test_an_issuer_that_does_not_answer_is_invoked_once_and_the_device_must_retry(
    answer: Any, code: ErrorCode, enrolled: Front, csr_der: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled.issuers.answer = answer
    given = enrolled(pem(csr_der()))
    assert seen(given) == problem(code)
    assert given["headers"]["Retry-After"] == "5"
    assert len(enrolled.issuers.invoked) == 1
    (line,) = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if one.get("level") == "ERROR"]
    assert line["deviceId"] == "widget-1"
    assert line["requestId"] == REQUEST_ID


def test_the_log_holds_no_request(
    enrolled: Front, csr_der: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    der = csr_der()
    enrolled(pem(der))
    assert base64.b64encode(der).decode()[:40] not in capsys.readouterr().out


@pytest.mark.parametrize("given", ["", "[]", '{"new": 1}'])
def test_a_configuration_without_issuers_is_refused(given: str) -> None:
    with pytest.raises(Exception, match=Variable.ISSUER_FUNCTIONS):
        csr_front.build(csr_front_environment({Variable.ISSUER_FUNCTIONS: given}))
