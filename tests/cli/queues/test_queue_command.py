"""`secretfree queue` on moto: a stack's queues, what waits in them and why requests became dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from secretfree.issuance.queueing import QueuedRequest
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.output import ExitCode
from secretfree_cli.queues.commands import queue
from secretfree_cli.target import Target

QUEUED = {
    "IotCoreQueueDeadLetters": {"Type": "AWS::SQS::Queue"},
    "IotCoreQueue": {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "RedrivePolicy": {
                "deadLetterTargetArn": {"Fn::GetAtt": ["IotCoreQueueDeadLetters", "Arn"]},
                "maxReceiveCount": 20,
            }
        },
    },
    "ImportUndelivered": {"Type": "AWS::SQS::Queue"},
    "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "worker"}},
}
DIRECT = {name: QUEUED[name] for name in ("ImportUndelivered", "Logs")}


class Cloud:
    """A stack with the resources of queue mode."""

    def __init__(self, resources: dict[str, Any]) -> None:
        boto3.client("cloudformation").create_stack(
            StackName="SecretFree", TemplateBody=json.dumps({"Resources": resources})
        )
        self.sqs, self.logs = boto3.client("sqs"), boto3.client("logs")
        self.urls = {
            name: url
            for url in self.sqs.list_queues()["QueueUrls"]
            for name in resources
            if f"-{name}-" in url.rpartition("/")[2]
        }

    def send(self, name: str, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.urls[name], MessageBody=body)

    def log(self, **fields: str) -> None:
        self.logs.create_log_stream(logGroupName="worker", logStreamName=fields["requestId"])
        at = int(datetime.now(UTC).timestamp() * 1000)
        self.logs.put_log_events(
            logGroupName="worker",
            logStreamName=fields["requestId"],
            logEvents=[{"timestamp": at, "message": json.dumps(fields)}],
        )

    def run(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(queue, list(arguments), standalone_mode=True)
        assert result.exit_code == code, result.output
        return result

    def shown(self, *arguments: str) -> Any:
        return json.loads(self.run("--json", *arguments).stdout)["queues"]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Any:
    target = Target(
        session=boto3.Session(),
        endpoint_url=None,
        region="eu-central-1",
        stack_name="SecretFree",
        registry_table="registry",
    )
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: target)
    return Cloud


def request(device_id: str) -> str:
    device = AuthorizedDevice(DeviceId.parse(device_id), "a" * 64, "b" * 64)
    return QueuedRequest(device=device, csr_der=b"the CSR", as_of=0).to_message()


def test_what_waits_is_counted_and_an_imports_queue_is_none_of_them(make: Any) -> None:
    cloud = make(QUEUED)
    cloud.send("IotCoreQueue", request("dev-0"))
    cloud.send("ImportUndelivered", "{}")

    (one,) = cloud.shown()

    assert (one["waiting"], one["inWork"], one["deadLetters"], one["letters"]) == (1, 0, 0, [])
    assert "IotCoreQueue" in one["name"]


def test_each_dead_letter_names_its_device_and_the_reason_of_its_last_failure(make: Any) -> None:
    cloud = make(QUEUED)
    for device_id in ("dev-0", "dev-1"):
        cloud.send("IotCoreQueueDeadLetters", request(device_id))
    cloud.log(event="failed", deviceId="dev-0", reason="upstream-refused", detail="the CA is disabled", requestId="1")
    cloud.log(event="not ready", deviceId="dev-0", reason="queued", requestId="2")

    (one,) = cloud.shown()

    letters = {letter["deviceId"]: (letter["reason"], letter["detail"]) for letter in one["letters"]}
    assert letters == {"dev-0": ("upstream-refused", "the CA is disabled"), "dev-1": (None, None)}
    shown = cloud.run().stdout
    assert "upstream-refused" in shown
    assert "dGhlIENTUg" not in shown  # no CSR


def test_reading_the_dead_letters_leaves_them_where_they_are(make: Any) -> None:
    cloud = make(QUEUED)
    for number in range(25):
        cloud.send("IotCoreQueueDeadLetters", request(f"dev-{number}"))

    for _ in range(2):
        (one,) = cloud.shown()
        assert one["deadLetters"] == 25
        assert len({letter["deviceId"] for letter in one["letters"]}) == len(one["letters"])
    (few,) = cloud.shown("--most", "1")
    assert (few["deadLetters"], len(few["letters"])) == (25, 1)
    assert "24 more dead letters were not read" in cloud.run("--most", "1").stderr


@pytest.mark.parametrize("body", ["", "no JSON", "[]", '{"deviceId": "dev-0"}', '{"deviceId": "\\u0000", "csr": 1}'])
def test_a_message_that_is_no_request_is_shown_as_such(make: Any, body: str) -> None:
    cloud = make(QUEUED)
    cloud.send("IotCoreQueueDeadLetters", body or " ")

    (one,) = cloud.shown()

    assert [(letter["deviceId"], letter["reason"]) for letter in one["letters"]] == [(None, "unreadable-message")]


def test_without_the_right_to_receive_the_counts_are_shown(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = make(QUEUED)
    cloud.send("IotCoreQueueDeadLetters", request("dev-0"))
    attempt = Reading.attempt

    def refused(self: Reading, what: str, read: Any) -> Any:
        def denied() -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "x"}}, "ReceiveMessage")

        return attempt(self, what, denied if what == "the dead letters" else read)

    monkeypatch.setattr(Reading, "attempt", refused)
    shown = cloud.run()
    assert "not read: the dead letters (ReceiveMessage: AccessDenied)" in shown.stderr
    assert "1 more dead letters were not read" in shown.stderr


def test_a_stack_without_queue_mode_has_no_queue(make: Any) -> None:
    result = make(DIRECT).run(code=ExitCode.NOT_FOUND)
    assert "no issuance queue" in result.stderr
