"""`secretfree renew` against a registry, a ledger and AWS IoT Jobs on moto."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId
from secretfree_cli.renewal.commands import renew
from support.stack_on_moto import make_tables, target_on_moto

CA = "arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/11111111-2222-3333-4444-555555555555"
OTHER_CA = CA[:-1] + "6"
NOW = datetime.now(UTC)


class Fleet:
    def __init__(self) -> None:
        self.client = make_tables()
        self.ledger = DynamoDbLedger(self.client, table="ledger")

    def provision(self, *devices: str, authority: str = CA) -> None:
        for device in devices:
            first = Issuance.first(DeviceId.parse(device), "private-ca", "a" * 64, owner="w", now=NOW)
            ready = first.requested(f"{authority}/certificate/1").issued(
                certificate_id="c1", certificate_pem="pem", chain=None, not_after=NOW + timedelta(days=365)
            )
            self.ledger.write(ready.active(clear_at=None))
            boto3.client("iot").create_thing(thingName=device)

    def record(self, device: str) -> Issuance:
        found = self.ledger.read(DeviceId.parse(device), "private-ca")
        assert found is not None
        return found

    def run(self, *arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(renew, [*map(str, arguments), "--reason", "new CA"], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Fleet:
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: target_on_moto())
    return Fleet()


def test_devices_are_marked_and_asked_by_a_job_with_rate_timeout_and_abort_criteria(fleet: Fleet) -> None:
    fleet.provision("widget-1", "widget-2")
    document = fleet.json("widget-2", "widget-1", "--rate", 30, "--name", "trial")
    assert document["devices"] == {"widget-1": "asked", "widget-2": "asked"}
    (job_id,) = document["jobs"]
    assert job_id.startswith("trial-")
    job = boto3.client("iot").describe_job(jobId=job_id)["job"]
    assert [target.rsplit("/", 1)[-1] for target in job["targets"]] == ["widget-1", "widget-2"]
    assert job["jobExecutionsRolloutConfig"]["maximumPerMinute"] == 30
    assert {one["failureType"] for one in job["abortConfig"]["criteriaList"]} == {"FAILED", "REJECTED", "TIMED_OUT"}
    assert job["timeoutConfig"]["inProgressTimeoutInMinutes"] == 60
    assert fleet.record("widget-1").renewal_job == job_id
    account = fleet.client.get_item(
        TableName="ledger", Key={"device-id": {"S": "widget-1"}, "record": {"S": "renewal#private-ca"}}
    )["Item"]
    assert (account["reason"]["S"], account["job"]["S"]) == ("new CA", job_id)


def test_the_same_command_again_asks_no_device_twice(fleet: Fleet) -> None:
    fleet.provision("widget-1")
    fleet.run("widget-1")
    version = fleet.record("widget-1").version
    assert fleet.json("widget-1")["devices"] == {"widget-1": "already-asked"}
    assert fleet.record("widget-1").version == version


def test_devices_of_a_ca_are_found_in_the_ledger(fleet: Fleet) -> None:
    fleet.provision("widget-1", "widget-3")
    fleet.provision("widget-2", authority=OTHER_CA)
    assert list(fleet.json("--authority", CA)["devices"]) == ["widget-1", "widget-3"]
    assert list(fleet.json("--issuer", "private-ca", "--name", "all")["devices"]) == [
        "widget-1",
        "widget-2",
        "widget-3",
    ]


def test_devices_of_a_batch_are_found_in_the_registry(fleet: Fleet) -> None:
    fleet.provision("widget-1", "widget-2", "widget-3")
    for device, batch in (("widget-1", "b1"), ("widget-2", "b2"), ("widget-3", "b1")):
        fleet.client.put_item(
            TableName="registry", Item={"device-id": {"S": device}, "pubkey": {"S": "x"}, "batch": {"S": batch}}
        )
    assert list(fleet.json("--batch", "b1")["devices"]) == ["widget-1", "widget-3"]


def test_devices_that_are_not_asked_are_named_and_set_the_exit_code(fleet: Fleet) -> None:
    fleet.provision("widget-1", "widget-2")
    leased = replace(fleet.record("widget-2"), lease_owner="w", due=datetime.now(UTC) + timedelta(minutes=1))
    fleet.ledger.write(leased)
    document = fleet.json("widget-1", "widget-2", "widget-9", code=3)
    assert document["devices"] == {
        "widget-1": "asked",
        "widget-2": "being-issued",
        "widget-9": "no-active-certificate",
    }
    assert fleet.json("widget-9", code=4)["jobs"] == []


def test_devices_come_from_a_file(fleet: Fleet, tmp_path: Path) -> None:
    fleet.provision("widget-1")
    ids = tmp_path / "ids.txt"
    ids.write_text("# devices\nwidget-1\n")
    assert list(fleet.json("--from", ids)["devices"]) == ["widget-1"]


def test_a_cancelled_job_is_an_error_that_names_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.provision("widget-1", "widget-2")
    monkeypatch.setattr(
        "secretfree.clock.SystemClock.sleep", lambda *_: boto3.client("iot").cancel_job(jobId=_only_job())
    )
    result = fleet.run("widget-1", "widget-2", "--rate", 1, code=3)
    assert _only_job() in result.output


def _only_job() -> str:
    (job,) = boto3.client("iot").list_jobs()["jobs"]
    return str(job["jobId"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("widget-1", "--batch", "b1"),
        ("--authority", "arn:aws:iot:eu-central-1:123456789012:cacert/1"),
        ("widget-1", "--name", "a name"),
        ("widget-1", "--rate", "0"),
        ("not an id",),
    ],
)
def test_a_wrong_argument_is_a_usage_error_and_asks_no_device(fleet: Fleet, arguments: tuple[str, ...]) -> None:
    fleet.provision("widget-1")
    fleet.run(*arguments, code=2)
    assert boto3.client("iot").list_jobs()["jobs"] == []


def test_an_empty_reason_is_a_usage_error(fleet: Fleet) -> None:
    assert CliRunner().invoke(renew, ["widget-1", "--reason", " "]).exit_code == 2


def test_no_device_with_such_a_certificate_is_exit_code_4(fleet: Fleet) -> None:
    fleet.run("--authority", CA, code=4)
