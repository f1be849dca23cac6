"""The authorizer as API Gateway calls it: realistic events, tables by moto, and nothing said that should not be."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.adapters import clients
from secretfree.contract import Dimension, Metric, Variable
from secretfree.handlers import authorizer, decision
from secretfree.handlers.entry import LambdaHandler
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from support.environments import authorizer_environment

ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/prod/POST/new"
Load = Callable[..., LambdaHandler]


def _event(*values: str, name: str = "device-csr") -> dict[str, Any]:
    """A REQUEST authorizer's event, as API Gateway documents it."""
    single = {"Accept": "*/*", "Host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "User-Agent": "curl/8.5.0"}
    return {
        "type": "REQUEST",
        "methodArn": ARN,
        "resource": "/new",
        "path": "/new",
        "httpMethod": "POST",
        "headers": single | ({name: values[-1]} if values else {}),
        "multiValueHeaders": {k: [v] for k, v in single.items()} | ({name: list(values)} if values else {}),
        "queryStringParameters": {},
        "multiValueQueryStringParameters": {},
        "pathParameters": {},
        "stageVariables": {},
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": "/new",
            "httpMethod": "POST",
            "requestId": "0a1b2c3d-request",
            "extendedRequestId": "Jn0fYEZcFiAFj-A=",
            "accountId": "123456789012",
            "stage": "prod",
            "apiId": "a1b2c3d4e5",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8.5.0"},
        },
    }


@pytest.fixture
def load(tables: Any) -> Iterator[Load]:
    """The handler as a new execution environment has it, with `changes` of its configuration."""

    def building(changes: Mapping[Variable, str] | None = None) -> LambdaHandler:
        clients.client.cache_clear()
        return authorizer.build(authorizer_environment(changes or {}))

    yield building
    clients.client.cache_clear()


@pytest.fixture
def enrol(tables: Any) -> Callable[..., None]:
    def put(device_id: str, pubkey: str, **attributes: str) -> None:
        item = {"device-id": device_id, "pubkey": pubkey} | {k.replace("_", "-"): v for k, v in attributes.items()}
        tables.put_item(TableName="registry", Item={name: {"S": value} for name, value in item.items()})

    return put


@pytest.fixture
def csr(csr_der: Callable[..., bytes], header_value: Callable[[bytes], str]) -> Callable[..., str]:
    """The header's value of a request."""
    return lambda *args, **by: header_value(csr_der(*args, **by))


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _statement(answer: dict[str, Any]) -> dict[str, Any]:
    (statement,) = answer["policyDocument"]["Statement"]
    return dict(statement)


def _denial(code: str) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": ARN}
    return {
        "principalId": "refused",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"code": code},
    }


NOT_AUTHORIZED, MALFORMED = _denial("not-authorized"), _denial("malformed-request")


# --- allowed ---


def test_an_enrolled_device_may_call_this_very_method(
    load: Load, enrol: Callable[..., None], csr: Callable[..., str], verified_csr: Any, public_key: DevicePublicKey
) -> None:
    enrol("widget-1", public_key.registry_text())
    value = csr()
    answer = load()(_event(value), None)
    assert _statement(answer) == {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN}
    assert answer["principalId"] == "widget-1"
    assert answer["context"]["deviceId"] == "widget-1"
    assert answer["context"]["keyFingerprint"] == public_key.fingerprint
    assert answer["context"]["csrDigest"] == _sha256(base64.b64decode(value))
    assert all(isinstance(item, str) for item in answer["context"].values())


def _sha256(data: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize().hex()


@pytest.mark.parametrize("name", ["device-csr", "Device-CSR", "DEVICE-CSR"])
def test_the_header_is_taken_in_any_letter_case(
    load: Load, enrol: Callable[..., None], csr: Callable[..., str], public_key: DevicePublicKey, name: str
) -> None:
    enrol("widget-1", public_key.pem())
    assert _statement(load()(_event(csr(), name=name), None))["Effect"] == "Allow"


def test_by_key_the_device_is_named_by_the_registry(
    load: Load, enrol: Callable[..., None], csr: Callable[..., str], public_key: DevicePublicKey
) -> None:
    enrol("widget-1", public_key.pem(), key_fingerprint=public_key.fingerprint)
    answer = load({Variable.MATCH_POLICY: "PUBLIC_KEY"})(_event(csr("other*name")), None)
    assert answer["context"]["deviceId"] == "widget-1"


def test_by_udid_the_ledgers_binding_decides(
    load: Load,
    enrol: Callable[..., None],
    csr: Callable[..., str],
    tables: Any,
    public_key: DevicePublicKey,
    other_key: ec.EllipticCurvePrivateKey,
) -> None:
    enrol("widget-1", "unknown at enrolment")
    handler = load({Variable.MATCH_POLICY: "UDID"})
    assert _statement(handler(_event(csr(key=other_key)), None))["Effect"] == "Allow"
    bound = {"device-id": "widget-1", "record": "binding", "key-fingerprint": public_key.fingerprint}
    tables.put_item(TableName="ledger", Item={name: {"S": value} for name, value in bound.items()})
    assert handler(_event(csr(key=other_key)), None) == NOT_AUTHORIZED
    assert _statement(handler(_event(csr()), None))["Effect"] == "Allow"


def test_a_cc32xx_is_allowed_under_its_profile(
    load: Load, enrol: Callable[..., None], header_value: Callable[[bytes], str]
) -> None:
    der = (Path(__file__).parents[1] / "vectors/csr/cc32xx-upper-case.der").read_bytes()
    enrol("0a1b2c3d4e5f60718293a4b5c6d7e8f9", _public_key_of(der).registry_text())
    handler = load({Variable.DEVICE_PROFILE: "TI_CC32XX"})
    assert _statement(handler(_event(header_value(der)), None))["Effect"] == "Allow"
    assert load()(_event(header_value(der)), None) == MALFORMED


def _public_key_of(der: bytes) -> DevicePublicKey:
    from cryptography import x509

    return DevicePublicKey.from_key(x509.load_der_x509_csr(der).public_key())


# --- refused ---


def test_a_missing_header_is_a_401(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    handler = load()
    with pytest.raises(Exception, match=r"^Unauthorized$") as caught:
        handler(_event(), None)
    assert type(caught.value) is Exception
    assert any(line.get("reason") == "missing-header" for line in _lines(capsys))


def test_every_refusal_that_depends_on_devices_is_the_same(
    load: Load,
    enrol: Callable[..., None],
    csr: Callable[..., str],
    public_key: DevicePublicKey,
    other_key: ec.EllipticCurvePrivateKey,
    header_value: Callable[[bytes], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    enrol("widget-1", public_key.pem())
    enrol("blocked", public_key.pem(), status="blocked")
    enrol("broken", "AAAA")
    enrol("disagreeing", public_key.pem(), key_fingerprint="0" * 64)
    forged = (Path(__file__).parents[1] / "vectors/csr/signature-forged.der").read_bytes()
    requests = {
        "key-mismatch": csr("widget-1", key=other_key),
        "bad-signature": header_value(forged),
        "unknown-device": csr("stranger"),
        "blocked-device": csr("blocked"),
        "registry-record": csr("broken"),
    }
    handler = load()
    for reason, value in requests.items():
        assert handler(_event(value), None) == NOT_AUTHORIZED
        logged = _lines(capsys)
        assert [line["reason"] for line in logged if "reason" in line] == [reason]
        assert [line[Dimension.REASON] for line in logged if Metric.DENIED in line] == [reason]
    assert handler(_event(csr("disagreeing")), None) == NOT_AUTHORIZED


def test_a_record_that_cannot_be_read_is_logged_as_our_own_error(
    load: Load, enrol: Callable[..., None], csr: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    enrol("widget-1", "AAAA")
    load()(_event(csr()), None)
    (line,) = [line for line in _lines(capsys) if line.get("event") == "denied"]
    assert (line["level"], line["requestId"]) == ("ERROR", "0a1b2c3d-request")
    assert line["extendedRequestId"] == "Jn0fYEZcFiAFj-A="  # a caller can set the other one


def test_a_cn_that_is_no_device_id_a_noise_and_two_headers_are_malformed(
    load: Load, csr: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = load()
    for common_name in ("wid*", "wid#", "wid+", "wid/1", "wid\x00", "w" * 129, ""):
        assert handler(_event(csr(common_name)), None) == MALFORMED
    for value in ("", "%%%", "AAAA", "A" * 9216, csr()[:-8], csr() + "AAAA"):
        assert handler(_event(value), None) == MALFORMED
    assert handler(_event(csr(), csr()), None) == MALFORMED


@pytest.mark.parametrize("profile", DeviceProfile)
def test_no_vector_comes_through_and_each_is_a_403(
    load: Load, header_value: Callable[[bytes], str], profile: DeviceProfile
) -> None:
    """What is well-formed is unknown, since nothing is enrolled."""
    vectors = Path(__file__).parents[1] / "vectors"
    handler = load({Variable.DEVICE_PROFILE: profile.value})
    for line in json.loads((vectors / "index.json").read_text()):
        if profile.value not in line.get("profiles", []):
            continue
        well_formed = line["reason"] == "bad-signature" or line.get("deviceId") is not None
        answer = handler(_event(header_value((vectors / line["file"]).read_bytes())), None)
        assert answer == (NOT_AUTHORIZED if well_formed else MALFORMED), line["file"]


# --- failed ---


@pytest.mark.parametrize("match", ["UDID_AND_PUBLIC_KEY", "PUBLIC_KEY", "UDID"])
def test_a_table_that_cannot_be_read_closes_the_door_with_a_500(
    load: Load, csr: Callable[..., str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = load({Variable.MATCH_POLICY: match})
    with Stubber(clients.dynamodb()) as stub:
        operation = "query" if match == "PUBLIC_KEY" else "get_item"
        stub.add_client_error(operation, "AccessDeniedException", "arn:aws:dynamodb:::table/secret")
        with pytest.raises(authorizer.AuthorizerError) as caught:
            handler(_event(csr()), None)
    assert str(caught.value) == "the request could not be decided"
    assert caught.value.__suppress_context__
    logged = _lines(capsys)
    assert any(line.get("reason") == "registry-unavailable" and line["level"] == "ERROR" for line in logged)
    assert any(line.get(Metric.FAILED) == 1.0 for line in logged)


def test_a_defect_of_ours_closes_the_door_with_a_500(
    load: Load, csr: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = load()

    def defective(_value: object, _profile: object) -> None:
        raise ZeroDivisionError("device-csr: secret")

    monkeypatch.setattr(decision, "verify", defective)
    with pytest.raises(authorizer.AuthorizerError):
        handler(_event(csr()), None)
    out = capsys.readouterr().out
    assert "ZeroDivisionError" in out
    assert "secret" not in out.replace("secretfree", "")


def test_an_incomplete_configuration_is_refused_before_the_first_request(load: Load) -> None:
    with pytest.raises(Exception, match="SECRETFREE_REGISTRY_TABLE is missing"):
        load({Variable.REGISTRY_TABLE: ""})


# --- what is said ---


def test_the_log_holds_no_request_and_no_key(
    load: Load,
    enrol: Callable[..., None],
    csr: Callable[..., str],
    public_key: DevicePublicKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enrol("widget-1", public_key.registry_text())
    value = csr()
    handler = load({Variable.LOG_LEVEL: "DEBUG"})
    handler(_event(value), None)
    handler(_event(csr("not ! an id")), None)
    handler(_event(value[:-8]), None)
    out = capsys.readouterr().out
    for secret in (
        value[:40],
        value[-40:-8],
        public_key.registry_text()[:40],
        "192.0.2.1",
        "curl/8.5.0",
        "not ! an id",
    ):
        assert secret not in out


def test_each_invocation_writes_its_own_metrics(
    load: Load,
    enrol: Callable[..., None],
    csr: Callable[..., str],
    public_key: DevicePublicKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enrol("widget-1", public_key.pem())
    handler = load()
    handler(_event(csr()), None)
    logged = _lines(capsys)
    assert [line[Metric.ALLOWED] for line in logged if Metric.ALLOWED in line] == [1.0]
    assert [line[Dimension.STAGE] for line in logged if Metric.STAGE_LATENCY in line] == ["authorize"]
    handler(_event(csr("stranger")), None)
    assert not any(Metric.ALLOWED in line for line in _lines(capsys))


def test_a_refusal_is_logged_with_what_the_request_claims_under_names_that_say_so(
    load: Load,
    csr: Callable[..., str],
    csr_der: Callable[..., bytes],
    header_value: Callable[[bytes], str],
    public_key: DevicePublicKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = load()
    forged = csr_der()[:-1] + bytes([csr_der()[-1] ^ 1])
    for value in (csr(), header_value(forged)):
        handler(_event(value), None)
        (line,) = [line for line in _lines(capsys) if line.get("event") == "denied"]
        assert line["claimedDeviceId"] == "widget-1"
        assert line["claimedKeyFingerprint"] == public_key.fingerprint
        assert not {"deviceId", "keyFingerprint"} & set(line)


# --- the import budget ---

# What a cold start of the authorizer must not pay for. `urllib3`, `http.client` and `email` come with botocore itself.
_NEVER_IMPORTED = (
    "aws_cdk", "boto3", "s3transfer", "click", "rich", "requests", "pydantic", "aws_lambda_powertools", "asyncio",
    "multiprocessing", "sqlite3", "unittest", "cryptography.x509.ocsp",
    "secretfree.issuance.pipeline", "secretfree.issuance.record", "secretfree.registry.admission",
    "secretfree.handlers.issuer", "secretfree.adapters.issuers", "secretfree.adapters.iot_core",
)  # fmt: skip
_MODULE_BUDGET = 431


def test_a_cold_start_imports_no_more_than_the_authorizer_uses() -> None:
    """In a fresh interpreter; the number of modules is a budget, so that a heavy dependency cannot slip in unseen."""
    program = "import sys, secretfree.handlers.authorizer; print(*sorted(sys.modules))"
    aws = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
    environment = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-central-1"} | authorizer_environment() | aws
    environment["AWS_LAMBDA_FUNCTION_NAME"] = "authorizer"
    listed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(_NEVER_IMPORTED) & set(listed)
    assert len(listed) <= _MODULE_BUDGET
