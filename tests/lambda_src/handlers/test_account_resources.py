"""The custom resources' Lambda: CloudFormation always gets its answer."""

import http.server
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
from secretfree.adapters import cloudformation
from secretfree.adapters.ca_registration import CaRegistration, RegisteredCa
from secretfree.handlers import account_resources

CONTEXT = SimpleNamespace(log_stream_name="stream")


class CloudFormation(http.server.HTTPServer):
    """Where the answers go: real HTTP on the loopback."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.content_types: list[str | None] = []
        self.refusals = 0
        super().__init__(("127.0.0.1", 0), _Answered)


class _Answered(http.server.BaseHTTPRequestHandler):
    server: CloudFormation

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusals:
            self.server.refusals -= 1
            self.send_response(503)
        else:
            self.server.answers.append(json.loads(body))
            self.server.content_types.append(self.headers["Content-Type"])
            self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloudformation_server() -> Iterator[CloudFormation]:
    server = CloudFormation()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(cloudformation_server: CloudFormation) -> Any:
    def ask(request_type: str, resource_type: str, **more: Any) -> dict[str, Any]:
        event = {
            "RequestType": request_type,
            "ResourceType": resource_type,
            "ResponseURL": f"http://127.0.0.1:{cloudformation_server.server_port}/answer?signature=x",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "Logical",
            "ResourceProperties": {},
            **more,
        }
        account_resources.handler(event, CONTEXT)
        return cloudformation_server.answers[-1]

    return ask


class FakeIot:
    def describe_endpoint(self, *, endpointType: str) -> dict[str, str]:  # noqa: N803
        assert endpointType == "iot:Data-ATS"
        return {"endpointAddress": "abc-ats.iot.example"}


@pytest.fixture(autouse=True)
def _clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_resources.clients, "iot", FakeIot)
    monkeypatch.setattr(account_resources.clients, "acm_pca", lambda _arn: None)


def test_the_data_endpoint_is_looked_up(ask: Any, cloudformation_server: CloudFormation) -> None:
    assert ask("Create", "Custom::IotDataEndpoint") == {
        "Status": "SUCCESS",
        "Reason": "see log stream stream",
        "PhysicalResourceId": "abc-ats.iot.example",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Logical",
        "Data": {"EndpointAddress": "abc-ats.iot.example"},
    }
    # The pre-signed address covers an empty content type.
    assert cloudformation_server.content_types == [""]


def test_deleting_the_data_endpoint_does_nothing(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeIot, "describe_endpoint")
    answer = ask("Delete", "Custom::IotDataEndpoint", PhysicalResourceId="abc")
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "abc")


def test_a_registered_ca_is_answered_with_its_id_alone_however_long_its_certificate(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def ensure(_self: object, request: Any, *, previous_physical_id: str | None) -> RegisteredCa:
        seen.append((request.authority_arn, previous_physical_id))
        return RegisteredCa(certificate_id="c" * 64, physical_id="c" * 64)

    monkeypatch.setattr(CaRegistration, "ensure", ensure)
    properties = {"CertificateAuthorityArn": "arn", "Mode": "SNI_ONLY"}
    answer = ask("Create", "Custom::IotCaRegistration", ResourceProperties=properties)
    assert answer["PhysicalResourceId"] == "c" * 64
    assert answer["Data"] == {"CaCertificateId": "c" * 64}
    ask("Update", "Custom::IotCaRegistration", ResourceProperties=properties, PhysicalResourceId="c" * 64)
    assert seen == [("arn", None), ("arn", "c" * 64)]


def test_a_ca_is_removed_by_its_physical_id(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr(CaRegistration, "remove", lambda _self, physical_id: removed.append(physical_id))
    answer = ask("Delete", "Custom::IotCaRegistration", PhysicalResourceId="c" * 64)
    assert answer["Status"] == "SUCCESS"
    assert removed == ["c" * 64]


def test_a_failure_is_answered_and_its_rollback_succeeds(ask: Any) -> None:
    answer = ask("Create", "Custom::IotCaRegistration", ResourceProperties={"Mode": "BOTH"})
    assert answer["Status"] == "FAILED"
    assert "accepted: DEFAULT, SNI_ONLY" in answer["Reason"]
    rollback = ask("Delete", "Custom::IotCaRegistration", PhysicalResourceId=answer["PhysicalResourceId"])
    assert rollback["Status"] == "SUCCESS"


def test_an_unknown_resource_type_is_a_failure(ask: Any) -> None:
    assert ask("Create", "Custom::Other")["Status"] == "FAILED"


def test_a_failed_update_keeps_the_physical_id(ask: Any) -> None:
    answer = ask("Update", "Custom::IotCaRegistration", PhysicalResourceId="c" * 64)
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "c" * 64)


def test_a_long_reason_is_cut(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_self: object, _id: str) -> None:
        raise RuntimeError("x" * 9000)

    monkeypatch.setattr(CaRegistration, "remove", explode)
    assert len(ask("Delete", "Custom::IotCaRegistration", PhysicalResourceId="c" * 64)["Reason"]) == 1024


def test_an_answer_that_is_not_taken_is_put_again(
    ask: Any, cloudformation_server: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(cloudformation.time, "sleep", slept.append)
    cloudformation_server.refusals = 2
    event = {
        "StackId": "s",
        "RequestId": "r",
        "LogicalResourceId": "l",
        "ResponseURL": f"http://127.0.0.1:{cloudformation_server.server_port}/",
    }
    answer = cloudformation.Answer(physical_id="p")
    cloudformation.respond(event, answer, log_stream="stream", sleep=slept.append)
    assert slept == [1.0, 2.0]
    assert len(cloudformation_server.answers) == 1
    cloudformation_server.refusals = 5
    with pytest.raises(URLError):
        cloudformation.respond(event, answer, log_stream="stream", sleep=slept.append)
