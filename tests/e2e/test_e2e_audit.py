"""The audit trail end to end: the life of a device is in the locked bucket, and cannot be removed from it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from secretfree_cli.main import main

_PATIENCE = 60.0
STACK = "Audited"


@pytest.fixture(scope="module")
def audited(cloud: Any) -> Any:
    """The sample with an audit trail, as the commands find it."""
    return cloud.stack(STACK, issuers="iot-core", audit="true", product="audited")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def history(device_id: str) -> list[dict[str, str]]:
    result = run("audit", device_id, "--local", "--stack", STACK, "--json")
    return [json.loads(line) for line in result.stdout.splitlines()]


def named(events: list[dict[str, str]], name: str) -> dict[str, str]:
    (event,) = [event for event in events if event["event"] == name]
    return event


def until(device_id: str, *expected: str) -> list[dict[str, str]]:
    """The device's history as soon as it has the expected events. The emulator's changes have whole seconds."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        events = history(device_id)
        if sorted(event["event"] for event in events) == sorted(expected):
            return events
        assert time.monotonic() < deadline, events
        time.sleep(0.5)


@pytest.fixture(autouse=True)
def _project(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))


def test_the_life_of_a_device_is_kept_and_cannot_be_deleted(audited: Any, workshop: Any, post: Any) -> None:
    device = workshop.enrolled(audited)
    enrolled = ["enrolled"]
    until(device.device_id, *enrolled)
    answer = post(f"{audited.url}/proto", device.csr())
    assert answer.status == 200
    issued = until(device.device_id, *enrolled, "issued")
    assert named(issued, "issued")["certificateId"] == answer.json["certificateId"]

    blocked = run("block", device.device_id, "--reason", "stolen", "--local", "--stack", STACK)
    assert blocked.exit_code == 0, blocked.output
    events = until(device.device_id, *enrolled, "issued", "blocked", "revoked")
    assert named(events, "blocked")["blockedReason"] == "stolen"

    s3, bucket = audited.target.client("s3"), audited.target.audit_bucket
    kept = named(events, "issued")["object"]
    (version,) = s3.list_object_versions(Bucket=bucket, Prefix=kept)["Versions"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key=kept, VersionId=version["VersionId"])
    s3.delete_object(Bucket=bucket, Key=kept)  # a delete marker, which hides it from a plain listing
    until(device.device_id, *enrolled, "issued", "blocked", "revoked")
