"""The report's figures, from a registry, a ledger and metrics on moto."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from secretfree.contract import METRIC_NAMESPACE, Metric
from secretfree_cli.report.commands import report
from secretfree_cli.report.gather import gather
from secretfree_cli.target import Target

NOW = datetime.now(UTC)


@pytest.fixture
def target(moto_account: None) -> Target:
    client = boto3.client("dynamodb")
    for table, keys in (("registry", ["device-id"]), ("ledger", ["device-id", "record"])):
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
        )
    return Target(
        session=boto3.Session(),
        endpoint_url=None,
        region="eu-central-1",
        stack_name="SecretFree",
        registry_table="registry",
        ledger_table="ledger",
        product="widget",
    )


def enroll(target: Target, device_id: str, **attributes: str) -> None:
    item = {"device-id": device_id, **attributes}
    target.client("dynamodb").put_item(TableName="registry", Item={name: {"S": text} for name, text in item.items()})


def issuance(target: Target, device_id: str, state: str, *, ends: timedelta | None, begun: timedelta) -> None:
    item: dict[str, Any] = {
        "device-id": {"S": device_id},
        "record": {"S": "issuance#private-ca"},
        "state": {"S": state},
        "attempts": {"N": "2"},
        "begun-at": {"N": str(int((NOW - begun).timestamp() * 1000))},
    }
    if ends is not None:
        item["not-after"] = {"N": str(int((NOW + ends).timestamp() * 1000))}
    target.client("dynamodb").put_item(TableName="ledger", Item=item)


def test_devices_are_counted_by_batch_and_stage(target: Target) -> None:
    enroll(target, "dev-1", batch="reel")
    enroll(target, "dev-2", batch="reel", status="blocked")
    enroll(target, "dev-3")
    enroll(target, "key#abc")
    issuance(target, "dev-1", "active", ends=timedelta(days=5), begun=timedelta(hours=1))
    issuance(target, "dev-3", "requested", ends=None, begun=timedelta(hours=1))
    issuance(target, "dev-4", "requested", ends=None, begun=timedelta(seconds=5))
    facts = gather(target, now=NOW, days=3)
    assert (facts.enrolled, facts.blocked, facts.asked, facts.provisioned) == (3, 1, 3, 1)
    assert facts.batches["reel"].provisioned == 1
    assert facts.ends == {"within 7 days": 1}
    assert [(one.device_id, one.attempts) for one in facts.stuck] == [("dev-3", 2)]


def test_an_ended_certificate_provisions_nothing(target: Target) -> None:
    enroll(target, "dev-1")
    issuance(target, "dev-1", "active", ends=-timedelta(days=1), begun=timedelta(days=9))
    facts = gather(target, now=NOW, days=1)
    assert (facts.provisioned, facts.ends) == (0, {"ended": 1})


def test_refusals_are_counted_by_reason_and_day(target: Target) -> None:
    for reason, count in (("key-mismatch", 4), ("unknown-device", 7)):
        target.client("cloudwatch").put_metric_data(
            Namespace=METRIC_NAMESPACE,
            MetricData=[
                {
                    "MetricName": Metric.DENIED,
                    "Dimensions": [{"Name": "Product", "Value": "widget"}, {"Name": "Reason", "Value": reason}],
                    "Timestamp": NOW - timedelta(minutes=1),
                    "Value": count,
                }
            ],
        )
    facts = gather(target, now=NOW, days=2)
    assert [(one.reason, one.total) for one in facts.denials] == [("unknown-device", 7), ("key-mismatch", 4)]


def test_the_command_writes_one_private_file_and_replaces_it(
    target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: target)
    page = tmp_path / "report.html"
    page.write_text("old")
    result = CliRunner().invoke(report, ["--output", str(page)], catch_exceptions=False)
    assert (result.exit_code, result.stdout.strip()) == (0, str(page))
    assert "Provisioning of widget" in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob(".report*")] == []
