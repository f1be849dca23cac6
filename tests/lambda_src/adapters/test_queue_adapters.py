"""The places in the queue on DynamoDB, and the queue on SQS."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from secretfree.adapters.dynamodb.queue_marks import DynamoDbQueueMarks
from secretfree.adapters.sqs_queue import SqsRequestQueue
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.ports import ThrottledError
from secretfree.issuance.queueing import MarkState, QueuedRequest, QueueMark
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEVICE = AuthorizedDevice(DeviceId.parse("widget-1"), "a" * 64, "b" * 64)
CLAIM = QueueMark.claimed(DEVICE, "private-ca", NOW)
OTHER = replace(CLAIM, token="c" * 64)
WAITS = CLAIM.queued(NOW + timedelta(days=4))


@pytest.fixture
def client(tables: Any) -> Any:
    return tables


@pytest.fixture
def marks(client: Any) -> DynamoDbQueueMarks:
    return DynamoDbQueueMarks(client, table="ledger")


def stored(client: Any) -> dict[str, Any]:
    (item,) = client.scan(TableName="ledger")["Items"]
    return {name: next(iter(value.values())) for name, value in item.items()}


class TestMarks:
    def test_a_free_place_is_claimed_and_vanishes_by_itself(self, client: Any, marks: DynamoDbQueueMarks) -> None:
        assert marks.claim(CLAIM, now=NOW) is None
        item = stored(client)
        assert (item["record"], item["state"]) == ("queued#private-ca", "claimed")
        assert int(item["expires-at"]) == int(CLAIM.until.timestamp())

    def test_a_place_that_holds_is_told_and_kept(self, marks: DynamoDbQueueMarks) -> None:
        marks.claim(CLAIM, now=NOW)
        assert marks.claim(OTHER, now=NOW + timedelta(seconds=59)) == CLAIM

    def test_a_place_that_holds_no_more_is_claimed_anew(self, client: Any, marks: DynamoDbQueueMarks) -> None:
        marks.claim(CLAIM, now=NOW)
        assert marks.claim(OTHER, now=CLAIM.until) is None
        assert stored(client)["token"] == OTHER.token

    def test_a_claim_that_finds_itself_is_success(self, marks: DynamoDbQueueMarks) -> None:
        marks.claim(CLAIM, now=NOW)
        assert marks.claim(CLAIM, now=NOW) is None

    def test_a_claim_is_confirmed(self, marks: DynamoDbQueueMarks) -> None:
        marks.claim(CLAIM, now=NOW)
        marks.confirm(WAITS)
        assert marks.claim(OTHER, now=NOW + timedelta(days=3)) == WAITS

    @pytest.mark.parametrize("settled", [CLAIM.done(NOW), CLAIM.refused(ErrorCode.CONFLICT, NOW)])
    def test_a_worker_that_was_faster_is_not_overwritten(
        self, client: Any, marks: DynamoDbQueueMarks, settled: QueueMark
    ) -> None:
        marks.claim(CLAIM, now=NOW)
        marks.settle(settled)
        marks.confirm(WAITS)
        assert stored(client)["state"] == settled.state.value

    def test_a_refusal_is_told(self, marks: DynamoDbQueueMarks) -> None:
        marks.settle(CLAIM.refused(ErrorCode.CONFLICT, NOW))
        told = marks.claim(OTHER, now=NOW)
        assert told is not None
        assert (told.state, told.refusal) == (MarkState.REFUSED, ErrorCode.CONFLICT)

    def test_another_request_s_place_is_not_settled(self, client: Any, marks: DynamoDbQueueMarks) -> None:
        marks.claim(OTHER, now=NOW)
        marks.settle(CLAIM.done(NOW))
        assert stored(client)["token"] == OTHER.token

    def test_throttling_is_told_as_such(self) -> None:
        client = boto3.client("dynamodb")
        with Stubber(client) as stub:
            stub.add_client_error("put_item", "ThrottlingException")
            with pytest.raises(ThrottledError):
                DynamoDbQueueMarks(client, table="ledger").settle(WAITS)


class TestQueue:
    def test_a_request_arrives_as_it_was_sent(self) -> None:
        request = QueuedRequest(device=DEVICE, csr_der=b"\x30\x00", as_of=2)
        with mock_aws():
            client = boto3.client("sqs")
            url = client.create_queue(QueueName="queue")["QueueUrl"]
            SqsRequestQueue(client, url=url).send(request)
            (message,) = client.receive_message(QueueUrl=url)["Messages"]
        assert set(json.loads(message["Body"])) == {"deviceId", "keyFingerprint", "csrDigest", "csr", "asOf"}
        assert QueuedRequest.from_message(message["Body"]) == request

    def test_a_postponed_message_comes_back_after_its_time(self) -> None:
        client = boto3.client("sqs")
        with Stubber(client) as stub:
            stub.add_response(
                "change_message_visibility",
                {},
                {"QueueUrl": "https://queue", "ReceiptHandle": "handle", "VisibilityTimeout": 17},
            )
            SqsRequestQueue(client, url="https://queue").postpone("handle", 17)
            stub.assert_no_pending_responses()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"csr": "AA=="}',
            json.dumps({**DEVICE.to_context(), "csr": "not base64", "asOf": 0}),
            json.dumps({**DEVICE.to_context(), "csr": "AA=="}),
        ],
    )
    def test_any_other_message_is_refused(self, text: str) -> None:
        with pytest.raises(SecretFreeError) as refused:
            QueuedRequest.from_message(text)
        assert refused.value.code is ErrorCode.INVALID_REQUEST
