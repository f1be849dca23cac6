"""What the functions wrote, read through CloudWatch Logs."""

from __future__ import annotations

import time
from itertools import islice

import boto3
import pytest
from moto import mock_aws
from secretfree_cli.local import lambda_logs


@pytest.fixture
def logs():
    with mock_aws():
        client = boto3.client("logs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        for group in ("/aws/stack/Issuer", "/aws/stack/Authorizer"):
            client.create_log_group(logGroupName=group)
            client.create_log_stream(logGroupName=group, logStreamName="s")
        yield client


def put(client, group: str, *lines: tuple[int, str]) -> None:
    events = [{"timestamp": timestamp, "message": message} for timestamp, message in lines]
    client.put_log_events(logGroupName=f"/aws/stack/{group}", logStreamName="s", logEvents=events)


def test_lines_of_all_functions_come_in_order_of_time(logs):
    now = int(time.time() * 1000)
    put(logs, "Issuer", (now + 1, "issued"))
    put(logs, "Authorizer", (now, "allowed"), (now + 2, "denied"))
    assert [line.message for line in lambda_logs.read(logs)] == ["allowed", "issued", "denied"]


def test_the_runtimes_own_lines_are_left_out(logs):
    now = int(time.time() * 1000)
    put(
        logs,
        "Issuer",
        (now, "START RequestId: 1"),
        (now, "issued"),
        (now, "END RequestId: 1"),
        (now, "REPORT RequestId: 1"),
    )
    assert [line.message for line in lambda_logs.read(logs)] == ["issued"]


def test_a_line_shows_its_time_and_its_function():
    line = lambda_logs.LogLine(1_795_559_575_461, "/aws/stack/Authorizer", "denied\n")
    assert str(line) == "22:32:55.461 Authorizer  denied"


def test_following_yields_what_is_new_and_nothing_twice(logs, monkeypatch):
    monkeypatch.setattr(lambda_logs, "_POLL_SECONDS", 0)
    now = int(time.time() * 1000)
    put(logs, "Issuer", (now, "old"))
    seen = lambda_logs.read(logs)
    put(logs, "Issuer", (now, "same moment"), (now + 1, "later"))
    assert [line.message for line in islice(lambda_logs.follow(logs, seen=seen), 2)] == ["same moment", "later"]
