"""`secretfree audit` on moto: every version is read, each event once, and damage is named."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from secretfree.audit.event import shard_of
from secretfree_cli.audit.commands import audit
from secretfree_cli.output import ExitCode
from secretfree_cli.target import Target

BUCKET, DEVICE = "audit-trail", "widget-1"
NOW = datetime.now(UTC)


def line(
    change: str, *, event: str = "enrolled", device: str = DEVICE, age: timedelta = timedelta(0), **more: str
) -> str:
    at = (NOW - age).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, "event": event, "deviceId": device, "changeId": change, **more}) + "\n"


class Trail:
    """The bucket, and the command on it."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3")
        place: Any = {"LocationConstraint": "eu-central-1"}
        self.s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=place)

    def put(self, name: str, *lines: str, day: datetime = NOW, zipped: bool = True) -> str:
        key = f"events/{shard_of(DEVICE)}/{day:%Y/%m/%d}/{name}"
        body = "".join(lines).encode()
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(body) if zipped else body)
        return key

    def run(self, *arguments: str, device: str = DEVICE, code: int = 0) -> Result:
        result = CliRunner().invoke(audit, [device, *arguments])
        assert result.exit_code == code, result.output
        return result

    def events(self, *arguments: str) -> list[str]:
        lines = self.run("--json", *arguments).stdout.splitlines()
        return [json.loads(one)["event"] for one in lines]


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Trail:
    target = Target(
        session=boto3.Session(),
        endpoint_url=None,
        region="eu-central-1",
        stack_name="SecretFree",
        registry_table="registry",
        audit_bucket=BUCKET,
    )
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: target)
    return Trail()


def test_the_history_is_shown_oldest_first_each_event_once(trail: Trail) -> None:
    issued = line("2", event="issued", certificateId="c0ffee")
    trail.put("b", issued, line("3", event="blocked", blockedReason="stolen"))
    trail.put("a", issued, line("1", event="enrolled", age=timedelta(hours=1)))
    assert trail.events() == ["enrolled", "issued", "blocked"]
    assert "issued certificateId=c0ffee" in trail.run().stdout


def test_another_device_in_the_same_folder_is_left_out(trail: Trail) -> None:
    trail.put("a", line("1"), line("2", device="widget-2"))
    assert trail.events() == ["enrolled"]


def test_a_deleted_and_an_overwritten_object_are_read_all_the_same(trail: Trail) -> None:
    deleted = trail.put("a", line("1", event="enrolled"))
    trail.s3.delete_object(Bucket=BUCKET, Key=deleted)
    overwritten = trail.put("b", line("2", event="issued"))
    trail.s3.put_object(Bucket=BUCKET, Key=overwritten, Body=b"")
    result = trail.run()
    assert "enrolled" in result.stdout
    assert "issued" in result.stdout
    assert "2 of them are hidden" in result.stderr


def test_uncompressed_objects_are_read_too(trail: Trail) -> None:
    trail.put("a", line("1"), zipped=False)
    assert trail.events() == ["enrolled"]


@pytest.mark.parametrize(
    "damage",
    ["no json\n", "[]\n", '{"event": "issued"}\n', '{"at": "x", "event": "e", "deviceId": "d", "changeId": "c"}\n'],
)
def test_what_is_no_event_is_named_and_hides_no_other(trail: Trail, damage: str) -> None:
    key = trail.put("a", damage, line("1"))
    result = trail.run(code=ExitCode.REFUSED)
    assert "enrolled" in result.stdout
    assert f"not an event: {key}" in result.stderr


def test_a_broken_compression_is_named(trail: Trail) -> None:
    key = f"events/{shard_of(DEVICE)}/2026/01/01/x"
    trail.s3.put_object(Bucket=BUCKET, Key=key, Body=b"\x1f\x8bbroken")
    assert key in trail.run(code=ExitCode.REFUSED).stderr


def test_since_leaves_out_what_is_older(trail: Trail) -> None:
    old = timedelta(days=40)
    trail.put("a", line("1", age=old), day=NOW - old)
    trail.put("b", line("2", event="issued"))
    assert trail.events("--since", "30d") == ["issued"]
    assert trail.events() == ["enrolled", "issued"]


def test_a_device_without_an_event_is_not_found(trail: Trail) -> None:
    trail.run(device="widget-9", code=ExitCode.NOT_FOUND)


def test_a_forged_line_cannot_forge_a_second_one(trail: Trail) -> None:
    trail.put("a", line("1", blockedReason="x\n2026-01-01 00:00:00 issued \x1b[2J"))
    assert len(trail.run().stdout.splitlines()) == 1


def test_a_stack_without_a_trail_says_how_to_add_one(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(
        session=boto3.Session(), endpoint_url=None, region="eu-central-1", stack_name="S", registry_table="registry"
    )
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: target)
    assert "AuditTrail" in trail.run(code=ExitCode.NOT_FOUND).stderr
    trail.put("a", line("1"))
    assert trail.events("--bucket", BUCKET) == ["enrolled"]
