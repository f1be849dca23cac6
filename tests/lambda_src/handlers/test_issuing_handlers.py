"""The Lambdas of issuing: what goes over the wire, what is logged, and how the sweeper reports."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.issuers.iot_core import IotCoreIssuer
from secretfree.adapters.issuers.private_ca import PrivateCaIssuer
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import Dimension, IssuerKind, MatchPolicy, Metric, Variable
from secretfree.handlers import issuer, sweeper, wiring
from secretfree.handlers.entry import LambdaHandler
from support.environments import issuer_environment, private_ca_settings
from support.fake_cloud import FakeCloud, Fault, InlineExecutor, Killed
from support.world import verified_csr

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 29_000)
LONG_CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    cloud = FakeCloud()
    for device, key in (("widget-1", 0), ("widget-2", 0)):
        cloud.enroll(device, verified_csr(device, key).public_key.fingerprint)
    monkeypatch.setattr(clients, "dynamodb", lambda: cloud.client("dynamodb"))
    monkeypatch.setattr(single_try_clients, "iot", lambda: cloud.client("iot"))
    monkeypatch.setattr(single_try_clients, "acm_pca", lambda _arn: cloud.client("acm-pca"))
    monkeypatch.setattr("secretfree.clock.SystemClock", lambda: cloud.clock)
    # The confirmation, which an answer does not wait for, is then written when the handler returns.
    monkeypatch.setattr(wiring, "ThreadPoolExecutor", lambda **_: InlineExecutor())
    return cloud


@pytest.fixture
def load(cloud: FakeCloud) -> Callable[..., LambdaHandler]:
    """The handler of a module, as a cold start has it."""

    def build(module: ModuleType, *through: str) -> LambdaHandler:
        made: LambdaHandler = module.build(issuer_environment(*through))
        return made

    return build


def event(device: str = "widget-1", key: int = 0, **headers: list[str]) -> dict[str, Any]:
    csr = verified_csr(device, key)
    value = base64.b64encode(x509.load_der_x509_csr(csr.der).public_bytes(Encoding.PEM)).decode()
    return {
        "multiValueHeaders": {"Device-CSR": [value]} | headers,
        "requestContext": {
            "requestId": "request-1",
            "authorizer": {
                "deviceId": device,
                "keyFingerprint": csr.public_key.fingerprint,
                "csrDigest": csr.digest,
                "integrationLatency": 12,
            },
        },
    }


@pytest.mark.parametrize("through", list(IssuerKind))
def test_a_device_gets_its_certificate_and_where_to_connect(load: Any, cloud: FakeCloud, through: str) -> None:
    answer = load(issuer, through)(event(), CONTEXT)
    body = json.loads(answer["body"])
    (certificate,) = cloud.certificates.values()
    assert answer["statusCode"] == 200
    assert answer["headers"] == {"Content-Type": "application/json", "Cache-Control": "no-store"}
    expected = ["certificate", "certificateChain", "endpoint", "thingName", "certificateId", "notAfter", "renewAfter"]
    if through == IssuerKind.IOT_CORE:
        expected.remove("certificateChain")
    assert list(body) == expected
    assert body["certificate"] == certificate.pem
    assert body["endpoint"] == "abc-ats.iot.example"
    assert body["thingName"] == "widget-1"
    assert body["certificateId"] == certificate.certificate_id
    assert body["notAfter"] == "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("accept", "is_pem"),
    [
        (["application/x-pem-file"], True),
        (["text/html, Application/X-PEM-File;q=0.9"], True),
        (["*/*"], False),
        (["application/json"], False),
        (["application/x-pem-file;q=0, */*"], False),
        (["application/x-pem-file; Q=0.0"], False),
    ],
)
def test_the_pem_alone_is_returned_where_accept_names_it(
    load: Any, cloud: FakeCloud, accept: list[str], *, is_pem: bool
) -> None:
    answer = load(issuer)(event(accept=accept), CONTEXT)
    assert (answer["headers"]["Content-Type"] == "application/x-pem-file") is is_pem
    if is_pem:
        (certificate,) = cloud.certificates.values()
        assert answer["body"] == certificate.pem


def test_not_ready_says_when_to_ask_again(load: Any, cloud: FakeCloud) -> None:
    cloud.always["CreateThing"] = Fault.THROTTLED
    answer = load(issuer)(event(), CONTEXT)
    assert answer["statusCode"] == 202
    assert int(answer["headers"]["Retry-After"]) >= 1
    assert json.loads(answer["body"])["code"] == "not-ready"


def test_a_counter_of_tickets_that_fails_is_logged_once_and_keeps_no_device_from_its_answer(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.always |= {"IssueCertificate": Fault.THROTTLED, "UpdateItem": Fault.REFUSED}
    handler = load(issuer)
    statuses = [handler(event(device), CONTEXT)["statusCode"] for device in ("widget-1", "widget-2")]
    assert statuses == [202, 202]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (logged,) = [line for line in lines if line.get("event") == "tickets not read"]
    assert logged["level"] == "WARNING"
    assert logged["detail"]


def test_a_csr_other_than_the_authorized_one_is_a_bad_request(load: Any, cloud: FakeCloud) -> None:
    other = event(key=1)
    request = event()
    request["multiValueHeaders"] = other["multiValueHeaders"]
    answer = load(issuer)(request, CONTEXT)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["code"] == "invalid-request"
    assert cloud.calls == []


@pytest.mark.parametrize("values", [[], ["AAAA"], ["AAAA", "BBBB"]])
def test_behind_the_authorizer_a_malformed_header_is_a_bad_request(
    load: Any, cloud: FakeCloud, values: list[str]
) -> None:
    request = event()
    request["multiValueHeaders"] = {"device-csr": values}
    assert load(issuer)(request, CONTEXT)["statusCode"] == 400
    assert cloud.calls == []


@pytest.mark.parametrize("authorizer", [None, {}, {"deviceId": "a b"}])
def test_without_the_authorizer_s_word_nothing_is_done(load: Any, cloud: FakeCloud, authorizer: Any) -> None:
    request = event()
    request["requestContext"]["authorizer"] = authorizer
    assert load(issuer)(request, CONTEXT)["statusCode"] == 500
    assert cloud.calls == []


def test_a_conflict_is_a_409(load: Any, cloud: FakeCloud) -> None:
    cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    answer = load(issuer)(event(), CONTEXT)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (409, "conflict")


def test_a_device_in_a_tight_loop_is_answered_from_memory_at_no_call(load: Any, cloud: FakeCloud) -> None:
    handler = load(issuer)
    statuses = [handler(event(), CONTEXT)["statusCode"] for _ in range(240)]
    cloud.calls.clear()
    answer = handler(event(), CONTEXT)
    assert set(statuses) == {200}
    assert answer["statusCode"] == 200
    assert cloud.calls == []
    assert handler(event("widget-2"), CONTEXT)["statusCode"] == 200


def test_lines_of_what_is_not_ready_or_failed_name_device_key_and_call(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.always["CreateThing"] = Fault.THROTTLED
    load(issuer)(event(), CONTEXT)
    cloud.always = {"PutItem": Fault.THROTTLED}
    load(issuer)(event(), CONTEXT)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [line for line in lines if line.get("event") in {"not ready", "failed"}]
    assert [line["event"] for line in told] == ["not ready", "failed"]
    assert {line["deviceId"] for line in told} == {"widget-1"}
    assert {line["keyFingerprint"] for line in told} == {verified_csr("widget-1").public_key.fingerprint}
    assert "CreateThing" in told[0]["detail"]
    assert "quota" in told[0]["detail"]


def test_what_nobody_foresaw_is_a_bare_500(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "issue", lambda *_args, **_kwargs: 1 / 0)
    answer = load(issuer)(event(), CONTEXT)
    assert answer["statusCode"] == 500
    assert "division" not in answer["body"]


def test_the_time_left_bounds_the_work(load: Any, cloud: FakeCloud) -> None:
    cloud.looks_until_ready = 10_000
    start = cloud.clock.monotonic()
    short = SimpleNamespace(get_remaining_time_in_millis=lambda: 10_000)
    assert load(issuer)(event(), short)["statusCode"] == 202
    assert cloud.clock.monotonic() - start <= 4.0


def test_logs_and_metrics_tell_what_happened_and_hold_no_csr(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    request = event()
    handler = load(issuer)
    handler(request, CONTEXT)
    handler(request, CONTEXT)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines if "event" in line] == ["issued", "answered again"]
    assert any(line.get(Metric.ISSUED) == 1 for line in lines)
    assert any(line.get(Metric.REUSED) == 1 for line in lines)
    assert any(line.get(Dimension.STAGE) == "issue" for line in lines)
    text = json.dumps(lines)
    assert request["multiValueHeaders"]["Device-CSR"][0][:40] not in text
    assert "BEGIN" not in text


def test_the_sweeper_goes_through_each_issuer_and_reports(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    for through, last in (("private-ca", "TransactWriteItems"), ("iot-core", "UpdateCertificate")):
        cloud.always = {last: Fault.KILLED_BEFORE}
        with pytest.raises(Killed):
            load(issuer, through)(event(), CONTEXT)
    cloud.always = {}
    cloud.clock.sleep(timedelta(minutes=10).total_seconds())
    capsys.readouterr()
    done = load(sweeper, "private-ca", "iot-core")({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))
    assert done == {
        "private-ca": {"finished": 1, "retired": 0, "orphans": 0, "complete": True},
        "iot-core": {"rolled-back": 1, "retired": 0, "orphans": 0, "complete": True},
    }
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(line["issuer"], line["state"]) for line in lines if line.get("event") == "swept"} == {
        ("private-ca", "finished"),
        ("iot-core", "rolled-back"),
    }


def test_the_sweeper_measures_how_long_the_ca_can_sign(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = load(sweeper)
    sweep({}, LONG_CONTEXT)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (measured,) = [line[Metric.AUTHORITY_DAYS_LEFT] for line in lines if Metric.AUTHORITY_DAYS_LEFT in line]
    assert 0 < measured < 1000
    cloud.always["DescribeCertificateAuthority"] = Fault.THROTTLED
    assert sweep({}, LONG_CONTEXT)["private-ca"]["complete"] is True
    assert f'"{Metric.AUTHORITY_DAYS_LEFT}"' not in capsys.readouterr().out


def test_the_sweeper_counts_the_devices_that_are_late_to_renew(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted() -> list[int]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [line[Metric.CERTIFICATES_ENDING] for line in lines if Metric.CERTIFICATES_ENDING in line]

    load(issuer)(event(), CONTEXT)
    sweep = load(sweeper)
    for passed, expected in ((0, [0]), (358, [1]), (8, [0])):  # of 365 days; a quarter of the window is 7.5 days
        cloud.clock.sleep(timedelta(days=passed).total_seconds())
        capsys.readouterr()
        sweep({}, LONG_CONTEXT)
        assert counted() == expected
    cloud.always["Query"] = Fault.REFUSED
    sweep({}, LONG_CONTEXT)
    assert counted() == []


def test_the_sweeper_reports_what_was_removed_and_what_failed(
    load: Any, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = load(issuer)
    handler(event(key=0), CONTEXT)
    cloud.enroll("widget-1", verified_csr("widget-1", 1).public_key.fingerprint)
    handler(event(key=1), CONTEXT)
    cloud.clock.sleep(1)
    sweep = load(sweeper)
    cloud.always["DescribeCertificate"] = Fault.THROTTLED
    assert sweep({}, LONG_CONTEXT)["private-ca"]["complete"] is False
    cloud.always.clear()
    cloud.clock.sleep(600)
    assert sweep({}, LONG_CONTEXT)["private-ca"] == {"cleared": 1, "retired": 1, "orphans": 0, "complete": True}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(line.get("event") == "failed" and "Throttling" in line["detail"] for line in lines)
    assert any(line.get("event") == "certificates removed" and line["count"] == 1 for line in lines)


def test_the_ports_follow_the_configuration(cloud: FakeCloud) -> None:
    by_udid = issuer_environment("private-ca", "iot-core", changes={Variable.MATCH_POLICY: "UDID"})
    config = IssuerConfig.from_environment(by_udid)
    private_ca, iot_core = config.issuers
    assert isinstance(wiring.ports(config, private_ca).issuer, PrivateCaIssuer)
    assert isinstance(wiring.ports(config, iot_core).issuer, IotCoreIssuer)
    assert wiring.policy(config, iot_core).match is MatchPolicy.UDID
    assert wiring.policy(config, iot_core).renewal_window == timedelta(days=30)


def test_two_private_cas_issue_beside_each_other_each_with_its_own_record(cloud: FakeCloud) -> None:
    answers = {}
    for name in ("private-ca", "next-ca"):
        settings = json.dumps({name: private_ca_settings()})
        handler = issuer.build(issuer_environment(changes={Variable.ISSUER: name, Variable.ISSUERS: settings}))
        answers[name] = json.loads(handler(event(), CONTEXT)["body"])["certificateId"]
    assert answers["private-ca"] != answers["next-ca"]
    assert {"issuance#private-ca", "issuance#next-ca"} <= {record for _, record in cloud.items}
    assert len(cloud.orders) == 2


def test_workers_are_distinguished(cloud: FakeCloud) -> None:
    config = IssuerConfig.from_environment(issuer_environment("iot-core"))
    ports = wiring.ports(config, config.issuer)
    assert ports.owner() != ports.owner()
    assert 0 <= ports.chance() < 1


def test_iot_core_and_private_ca_are_tried_once_a_call() -> None:
    for client in (single_try_clients.iot(), single_try_clients.acm_pca()):
        assert client.meta.config.retries["total_max_attempts"] == 1  # type: ignore[index]
        assert client.meta.config.read_timeout < 10
    assert single_try_clients.iot() is single_try_clients.iot()


# What a cold start of an issuer must not pay for: the work of other functions, and of a second Region.
_NEVER_IMPORTED = (
    "boto3", "s3transfer", "cryptography.x509.ocsp", "secretfree.adapters.dynamodb.announcing", "secretfree.following",
    "secretfree.revocation", "secretfree.retirement", "secretfree.issuance.sweeping", "secretfree.issuance.fleet",
    "secretfree.registry.admission",
)  # fmt: skip


def test_a_cold_start_of_an_issuer_imports_no_more_than_it_uses() -> None:
    program = "import sys, secretfree.handlers.issuer; print(*sorted(sys.modules))"
    aws = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
    environment = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-central-1"} | issuer_environment() | aws
    environment["AWS_LAMBDA_FUNCTION_NAME"] = "issuer"
    listed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "secretfree.adapters.issuers.private_ca" in listed
    assert not set(_NEVER_IMPORTED) & set(listed)
