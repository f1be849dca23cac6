"""Queue mode from the device's request to its certificate: the two Lambdas on the fake cloud, with a queue between."""

import base64
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from secretfree.adapters import clients, single_try_clients
from secretfree.config import ConfigurationError, QueuedIssuerConfig, QueueingConfig
from secretfree.contract import Variable
from secretfree.handlers import queue_front, queue_worker, wiring
from secretfree.handlers.entry import LambdaHandler
from support.environments import queue_environment
from support.fake_cloud import FakeCloud, Fault, InlineExecutor, Killed, client_error
from support.world import verified_csr

URL = queue_environment()[Variable.QUEUE_URL]


@dataclass
class FakeQueue:
    """SQS, as the Lambdas see it."""

    bodies: list[str] = field(default_factory=list)
    postponed: list[int] = field(default_factory=list)
    error: str | None = None
    killed: bool = False

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> Any:  # noqa: N803
        assert QueueUrl == URL
        if self.killed:
            raise Killed
        if self.error is not None:
            raise client_error("SendMessage", self.error)
        self.bodies.append(MessageBody)
        return {"MessageId": str(len(self.bodies))}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> Any:  # noqa: N803
        assert (QueueUrl, ReceiptHandle) == (URL, "handle")
        if self.error is not None:
            raise client_error("ChangeMessageVisibility", self.error)
        self.postponed.append(VisibilityTimeout)
        return {}


@dataclass
class Line:
    """The product line: devices ask at the front, the worker is fed by hand."""

    cloud: FakeCloud
    queue: FakeQueue
    front: LambdaHandler
    worker: LambdaHandler

    def ask(self, device: str = "widget-1", key: int = 0, accept: str = "*/*") -> tuple[int, dict[str, Any], Any]:
        csr = verified_csr(device, key)
        self.cloud.enroll(device, csr.public_key.fingerprint)
        value = base64.b64encode(x509.load_der_x509_csr(csr.der).public_bytes(Encoding.PEM)).decode()
        context = {"deviceId": device, "keyFingerprint": csr.public_key.fingerprint, "csrDigest": csr.digest}
        event = {
            "multiValueHeaders": {"device-csr": [value], "Accept": [accept]},
            "requestContext": {"requestId": "request-1", "authorizer": context},
        }
        answer = self.front(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 29_000))
        return answer["statusCode"], answer["headers"], json.loads(answer["body"])

    def work(self, *bodies: str, receives: int = 1) -> list[str]:
        """Let the worker have the messages; the ids of those that are to come back."""
        records = [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": body,
                "attributes": {"ApproximateReceiveCount": str(receives)},
            }
            for number, body in enumerate(bodies)
        ]
        answer = self.worker({"Records": records}, SimpleNamespace(get_remaining_time_in_millis=lambda: 40_000))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def place(self) -> str:
        return self.cloud.items["widget-1", "queued#private-ca"]["state"]["S"]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    cloud, queue = FakeCloud(), FakeQueue()
    monkeypatch.setattr(clients, "dynamodb", lambda: cloud.client("dynamodb"))
    monkeypatch.setattr(clients, "sqs", lambda: queue)
    monkeypatch.setattr(single_try_clients, "iot", lambda: cloud.client("iot"))
    monkeypatch.setattr(single_try_clients, "acm_pca", lambda: cloud.client("acm-pca"))
    monkeypatch.setattr("secretfree.clock.SystemClock", lambda: cloud.clock)
    monkeypatch.setattr(wiring, "ThreadPoolExecutor", lambda **_: InlineExecutor())
    environment = queue_environment()
    return Line(cloud, queue, queue_front.build(environment), queue_worker.build(environment))


def test_a_message_that_comes_again_does_not_take_the_place_of_the_key_that_came_after_it(line: Line) -> None:
    line.ask(key=0)
    late = line.queue.bodies[0]
    line.work(late)
    line.ask(key=1)
    line.work(line.queue.bodies[1])
    status, _, body = line.ask(key=1)
    assert status == 200
    assert line.work(late) == []  # refused for good
    line.cloud.clock.sleep(7200)
    assert line.ask(key=1)[2] == body
    assert line.cloud.items["widget-1", "issuance#private-ca"]["generation"]["N"] == "2"


def test_a_device_is_told_to_wait_and_then_collects(line: Line) -> None:
    status, headers, body = line.ask()
    assert (status, body["code"]) == (202, "not-ready")
    assert int(headers["Retry-After"]) >= 1
    assert line.cloud.certificates == {}
    assert line.work(*line.queue.bodies) == []
    status, _, body = line.ask()
    (certificate,) = line.cloud.certificates.values()
    assert (status, body["certificate"]) == (200, certificate.pem)
    assert (body["thingName"], body["endpoint"]) == ("widget-1", "abc-ats.iot.example")
    assert line.place() == "done"


def test_the_front_makes_no_call_but_to_ledger_and_queue(line: Line) -> None:
    line.ask()
    assert line.cloud.calls == ["GetItem", "PutItem", "PutItem"]


def test_a_device_that_keeps_asking_waits_in_the_queue_once(line: Line) -> None:
    statuses = []
    for _ in range(20):
        statuses.append(line.ask()[0])
        line.cloud.clock.sleep(5)
    assert set(statuses) == {202}
    assert len(line.queue.bodies) == 1


def test_the_longer_it_waits_the_longer_it_is_told_to(line: Line) -> None:
    line.ask()
    line.cloud.clock.sleep(2 * 3600)
    assert int(line.ask()[1]["Retry-After"]) > 60


def test_a_message_that_arrives_twice_changes_nothing(line: Line) -> None:
    line.ask()
    assert line.work(*line.queue.bodies, *line.queue.bodies) == []
    assert len(line.cloud.issued) == 1


def test_while_a_worker_holds_the_lease_nothing_is_queued(line: Line) -> None:
    line.ask()
    answers = []
    line.cloud.before_call[len(line.cloud.calls) + 2] = lambda: answers.append(line.ask()[0])
    line.work(*line.queue.bodies)
    assert answers == [202]
    assert len(line.queue.bodies) == 1


def test_a_front_that_died_before_sending_keeps_the_device_for_a_minute_only(line: Line) -> None:
    line.queue.killed = True
    with pytest.raises(Killed):
        line.ask()
    line.queue.killed = False
    line.cloud.clock.sleep(5)
    assert line.ask()[0] == 202
    assert line.queue.bodies == []
    line.cloud.clock.sleep(61)
    assert line.ask()[0] == 202
    assert len(line.queue.bodies) == 1


def test_a_request_that_could_not_be_sent_gives_its_place_back(line: Line) -> None:
    line.queue.error = "ThrottlingException"
    status, headers, _ = line.ask()
    assert (status, int(headers["Retry-After"]) >= 1) == (503, True)
    line.queue.error = None
    assert line.ask()[0] == 202
    assert len(line.queue.bodies) == 1


def test_a_request_that_the_queue_forgot_is_queued_anew(line: Line) -> None:
    line.ask()
    line.cloud.clock.sleep(345_601)
    assert line.ask()[0] == 202
    assert len(line.queue.bodies) == 2


def test_what_is_not_ready_comes_back_when_the_pipeline_says(line: Line) -> None:
    line.ask()
    line.cloud.always["CreateThing"] = Fault.THROTTLED
    assert line.work(*line.queue.bodies) == ["message-0"]
    assert len(line.queue.postponed) == 1
    assert line.queue.postponed[0] >= 1
    line.cloud.always.clear()
    assert line.work(*line.queue.bodies) == []
    assert line.ask()[0] == 200


def test_one_message_s_failure_is_not_the_others(line: Line) -> None:
    line.ask("widget-1")
    line.ask("widget-2")
    assert line.work("no message", *line.queue.bodies) == []
    assert len(line.cloud.certificates) == 2


def test_a_message_that_comes_no_more_frees_the_place(line: Line) -> None:
    line.ask()
    line.cloud.always["CreateThing"] = Fault.THROTTLED
    assert line.work(*line.queue.bodies, receives=3) == ["message-0"]
    assert line.place() == "done"
    line.cloud.always.clear()
    line.cloud.clock.sleep(60)
    assert line.ask()[0] == 202
    assert len(line.queue.bodies) == 2


def test_a_message_that_cannot_be_postponed_comes_back_in_the_queue_s_own_time(line: Line) -> None:
    line.ask()
    line.cloud.always["CreateThing"] = Fault.THROTTLED
    line.queue.error = "ThrottlingException"
    assert line.work(*line.queue.bodies) == ["message-0"]


def test_the_worker_s_refusal_reaches_the_device_and_is_looked_at_again_later(line: Line) -> None:
    line.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    line.ask()
    assert line.work(*line.queue.bodies) == []
    status, _, body = line.ask()
    assert (status, body["code"]) == (409, "conflict")
    line.cloud.clock.sleep(301)
    line.cloud.things.clear()
    assert line.ask()[0] == 202
    line.work(line.queue.bodies[-1])
    assert line.ask()[0] == 200


def test_another_key_is_not_told_what_was_refused_to_the_first(line: Line) -> None:
    line.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    line.ask(key=0)
    line.work(*line.queue.bodies)
    assert line.ask(key=1)[0] == 202


def test_a_key_whose_certificate_was_revoked_is_refused_and_not_queued(line: Line) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    (certificate,) = line.cloud.certificates.values()
    certificate.status = "REVOKED"
    line.cloud.clock.sleep(340 * 86_400)
    for _ in range(2):
        status, _, body = line.ask()
        assert (status, body["code"]) == (403, "not-authorized")
    assert len(line.queue.bodies) == 1
    assert len(line.cloud.issued) == 1


def test_a_certificate_revoked_since_the_front_looked_is_not_renewed(line: Line) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    line.cloud.clock.sleep(350 * 86_400)
    assert line.ask()[0] == 200  # looked at just now, and the renewal is queued
    (certificate,) = line.cloud.certificates.values()
    certificate.status = "REVOKED"
    line.work(line.queue.bodies[-1])
    assert line.ask()[0] == 403
    assert len(line.cloud.issued) == 1


def test_a_device_in_its_renewal_window_has_its_certificate_until_the_worker_has_made_the_next(line: Line) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    _, _, first = line.ask()
    line.cloud.clock.sleep(350 * 86_400)
    for _ in range(2):
        assert line.ask()[2] == first
    assert len(line.queue.bodies) == 2
    line.work(line.queue.bodies[-1])
    status, _, second = line.ask()
    assert status == 200
    assert second["certificateId"] != first["certificateId"]
    assert second["renewAfter"] > first["renewAfter"]
    assert len(line.cloud.issued) == 2


def test_a_renewal_that_fails_in_the_queue_or_at_the_worker_keeps_no_device_from_its_certificate(line: Line) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    _, _, first = line.ask()
    line.cloud.clock.sleep(350 * 86_400)
    line.queue.error = "ServiceUnavailable"
    assert line.ask()[2] == first
    line.queue.error = None
    assert line.ask()[2] == first
    line.cloud.things["widget-1"]["type"] = "another-product"
    line.work(line.queue.bodies[-1])
    for _ in range(3):
        status, _, body = line.ask()
        assert (status, body["certificateId"]) == (200, first["certificateId"])
        assert body["renewAfter"] <= first["renewAfter"]


def test_the_front_looks_a_served_certificate_up_at_iot_core_once_a_day(line: Line) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    assert line.ask()[0] == 200
    for _day in range(3):
        line.cloud.clock.sleep(25 * 3600)
        line.cloud.calls.clear()
        assert [line.ask()[0] for _ in range(3)] == [200] * 3
        assert line.cloud.calls.count("DescribeCertificate") == 1
    line.cloud.always["DescribeCertificate"] = Fault.THROTTLED
    line.cloud.clock.sleep(25 * 3600)
    assert line.ask()[0] == 200


@pytest.mark.parametrize(
    "forged",
    [
        {"deviceId": "widget-2", "csrDigest": "0" * 64},
        {"keyFingerprint": "0" * 64},
        {"csr": base64.b64encode(verified_csr("widget-1", 1).der).decode()},
        {"csr": base64.b64encode(b"0").decode()},
    ],
)
def test_a_message_whose_parts_do_not_fit_issues_nothing(line: Line, forged: dict[str, str]) -> None:
    line.ask()
    body = json.dumps(json.loads(line.queue.bodies[0]) | forged)
    assert line.work(body) == []
    assert line.cloud.issued == []


def test_the_workers_keep_their_pace(line: Line) -> None:
    for number in range(4):
        line.ask(f"widget-{number}")
    start = line.cloud.clock.monotonic()
    line.work(*line.queue.bodies)
    assert line.cloud.clock.monotonic() - start >= 3 * 0.5


def test_neither_logs_nor_the_queue_hold_what_would_let_a_reader_pass_for_the_device(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line.ask()
    line.work(*line.queue.bodies)
    line.ask()
    out = capsys.readouterr().out
    assert "BEGIN" not in out
    assert json.loads(line.queue.bodies[0])["csr"][:40] not in out
    assert "PRIVATE" not in line.queue.bodies[0]
    lines = [json.loads(text) for text in out.splitlines()]
    assert [entry["event"] for entry in lines if "event" in entry] == ["not ready", "issued", "answered again"]


@pytest.mark.parametrize(
    ("config", "variable", "value"),
    [
        (QueueingConfig, Variable.QUEUE_URL, ""),
        (QueueingConfig, Variable.QUEUE_RETENTION_SECONDS, "4 days"),
        (QueueingConfig, Variable.ISSUER, "private-ca,iot-core"),
        (QueuedIssuerConfig, Variable.QUEUE_MOST_RECEIVES, "0"),
        (QueuedIssuerConfig, Variable.ISSUANCE_INTERVAL_MILLISECONDS, "-1"),
    ],
)
def test_a_setting_that_is_not_accepted_is_named(config: Any, variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        config.from_environment(queue_environment({variable: value}))
