"""Event source mappings on a stream: partial failures, bisecting, bounded retries, a destination for what fails."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.emulators.aws_streams import first_failure
from secretfree_cli.local.state import CloudRecord

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-streams")]  # one process for all of them

PATIENCE_SECONDS = 30.0
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
CODE = """
def handler(event, context):
    failed = []
    for record in event["Records"]:
        name = record["dynamodb"]["Keys"]["id"]["S"]
        print("saw " + name, flush=True)
        if name == "crash":
            raise RuntimeError("as a bug would")
        if name.startswith("bad"):
            failed.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
    return {"batchItemFailures": failed}
"""


def record(number: str) -> dict[str, Any]:
    return {"dynamodb": {"SequenceNumber": number}}


RAW = [record("1"), record("2"), record("3")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, None),
        ({}, None),
        ({"batchItemFailures": []}, None),
        ({"batchItemFailures": [{"itemIdentifier": "3"}, {"itemIdentifier": "2"}]}, 1),
        ('{"batchItemFailures": [{"itemIdentifier": "3"}]}', 2),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, 0),
        ("not JSON", 0),
    ],
)
def test_the_lowest_reported_failure_is_where_the_batch_begins_again(answer, expected):
    assert first_failure(RAW, answer, reports=True) == expected


def test_a_mapping_without_partial_responses_takes_no_failures():
    answer = {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert first_failure(RAW, answer, reports=False) is None


@pytest.fixture
def fed(shared_cloud: CloudRecord) -> tuple[Callable[[str], None], Callable[[], list[str]], Callable[[], list[Any]]]:
    """Write an item; what the function saw; what was given up."""
    dynamodb = local_client(shared_cloud, "dynamodb")
    dynamodb.create_table(
        TableName="fed",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    role = local_client(shared_cloud, "iam").create_role(RoleName="fed", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", CODE)
    functions = local_client(shared_cloud, "lambda")
    functions.create_function(
        FunctionName="fed",
        Runtime="python3.12",
        Handler="index.handler",
        Role=role,
        Code={"ZipFile": packed.getvalue()},
        Timeout=30,
    )
    sqs = local_client(shared_cloud, "sqs")
    queue = sqs.create_queue(QueueName="given-up")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    functions.create_event_source_mapping(
        FunctionName="fed",
        EventSourceArn=dynamodb.describe_table(TableName="fed")["Table"]["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
        BatchSize=10,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        DestinationConfig={"OnFailure": {"Destination": queue_arn}},
    )
    logs = local_client(shared_cloud, "logs")

    def put(name: str) -> None:
        dynamodb.put_item(TableName="fed", Item={"id": {"S": name}})

    def seen() -> list[str]:
        groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
        events = logs.filter_log_events(logGroupName="/aws/lambda/fed")["events"] if "/aws/lambda/fed" in groups else []
        lines = [line for event in events for line in event["message"].splitlines()]
        return [line.removeprefix("saw ") for line in lines if line.startswith("saw ")]

    def given_up() -> list[Any]:
        received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
        return [json.loads(message["Body"]) for message in received]

    return put, seen, given_up


def test_what_keeps_failing_is_given_up_alone_and_the_rest_goes_through(fed):
    put, seen, given_up = fed
    for name in ("one", "bad", "two", "crash", "three"):
        put(name)
    end = time.monotonic() + PATIENCE_SECONDS
    while len(given_up()) < 2 or "three" not in seen():
        assert time.monotonic() < end, (seen(), given_up())
        time.sleep(0.1)
    assert {"one", "two", "three"} <= set(seen())
    assert {message["requestContext"]["condition"] for message in given_up()} == {"RetryAttemptsExhausted"}
    assert [message["DDBStreamBatchInfo"]["batchSize"] for message in given_up()] == [1, 1]
