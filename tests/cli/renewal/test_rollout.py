"""The rollout of renewals: who is marked and asked, how fast, what ends it, and what a repetition does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import IssuerKind
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.record import Issuance
from secretfree_cli.renewal.rollout import Rollout, RolloutAbortedError, RolloutOutcome
from secretfree_cli.renewal.selection import Chosen, records
from support.fake_cloud import Fault, Killed
from support.world import World


@dataclass
class FakeJobs:
    made: dict[str, tuple[Sequence[str], int]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)

    def status(self, job_id: str) -> str | None:
        return None if job_id not in self.made else ("CANCELED" if job_id in self.cancelled else "IN_PROGRESS")

    def create(self, job_id: str, device_ids: Sequence[str], *, per_minute: int) -> None:
        self.made.setdefault(job_id, (tuple(device_ids), per_minute))


def fleet(size: int) -> World:
    world = World(IssuerKind.PRIVATE_CA)
    for number in range(size):
        assert isinstance(world.ask(f"widget-{number}"), IssuedCertificate)
    world.clock.sleep(3600)
    return world


def rollout(world: World, jobs: FakeJobs, *, rate: int = 100, chosen: Chosen | None = None) -> Rollout:
    ledger = DynamoDbLedger(world.cloud.client("dynamodb"), table="ledger")
    accounts: list[tuple[str, str]] = []

    def account(record: Issuance, job_id: str) -> None:
        accounts.append((record.device_id, job_id))

    return Rollout(
        name="renew-1",
        rate=rate,
        records=records(ledger, chosen or Chosen()),
        ledger=ledger,
        jobs=jobs,
        account=account,
        clock=world.clock,
    )


def ids(size: int) -> list[str]:
    return sorted(f"widget-{number}" for number in range(size))


def outcomes(world: World, jobs: FakeJobs, devices: Sequence[str], *, rate: int = 100) -> dict[str, RolloutOutcome]:
    return {
        device: outcome
        for asked in rollout(world, jobs, rate=rate).ask(devices)
        for device, outcome in asked.outcomes.items()
    }


def test_devices_are_marked_then_asked_and_renew_at_their_next_request() -> None:
    world, jobs = fleet(3), FakeJobs()
    before = set(world.cloud.certificates)
    assert set(outcomes(world, jobs, ids(3)).values()) == {RolloutOutcome.ASKED}
    ((asked, per_minute),) = jobs.made.values()
    assert (asked, per_minute) == (tuple(ids(3)), 100)
    for device in ids(3):
        assert world.ask_until_issued(device)[0].certificate_id not in before


def test_groups_follow_each_other_at_the_rate() -> None:
    world, jobs = fleet(7), FakeJobs()
    start = world.clock.monotonic()
    outcomes(world, jobs, ids(7), rate=3)
    assert [len(devices) for devices, _ in jobs.made.values()] == [3, 3, 1]
    assert {per_minute for _, per_minute in jobs.made.values()} == {3}
    assert world.clock.monotonic() - start == 120


def test_a_cancelled_job_ends_the_rollout_before_the_next_group() -> None:
    world, jobs = fleet(6), FakeJobs()
    groups = rollout(world, jobs, rate=2).ask(ids(6))
    first = next(groups)
    assert first.job_id is not None
    jobs.cancelled.add(first.job_id)
    with pytest.raises(RolloutAbortedError):
        next(groups)
    assert len(jobs.made) == 1


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_command_that_dies_is_repeated_and_asks_each_device_once(number: int, fault: Fault) -> None:
    world, jobs = fleet(4), FakeJobs()
    world.cloud.faults[len(world.cloud.calls) + number] = fault
    with pytest.raises(Killed):
        outcomes(world, jobs, ids(4), rate=2)
    renewed = {device: world.ask_until_issued(device)[0].certificate_id for device in ids(4)}
    world.clock.sleep(3600)
    result = outcomes(world, jobs, ids(4), rate=2)
    assert set(result.values()) <= {RolloutOutcome.ASKED, RolloutOutcome.ALREADY_ASKED}
    asked = [device for devices, _ in jobs.made.values() for device in devices]
    assert sorted(asked) == ids(4)
    marked = [device for device in ids(4) if "renewal-requested-at" in world.record(device)]
    for device in ids(4):
        again = world.ask_until_issued(device)[0].certificate_id
        assert (again != renewed[device]) == (device in marked)


def test_a_repeated_command_changes_nothing() -> None:
    world, jobs = fleet(2), FakeJobs()
    outcomes(world, jobs, ids(2))
    new = [world.ask_until_issued(device)[0].certificate_id for device in ids(2)]
    assert set(outcomes(world, jobs, ids(2)).values()) == {RolloutOutcome.ALREADY_ASKED}
    assert [world.ask_until_issued(device)[0].certificate_id for device in ids(2)] == new


def test_a_device_without_an_active_certificate_or_being_served_is_not_asked() -> None:
    world, jobs = fleet(2), FakeJobs()
    item = world.items["widget-1", "issuance#private-ca"]
    item["state"] = {"S": "requesting"}
    assert outcomes(world, jobs, ["widget-0", "widget-1", "widget-unknown"]) == {
        "widget-0": RolloutOutcome.ASKED,
        "widget-1": RolloutOutcome.BEING_ISSUED,
        "widget-unknown": RolloutOutcome.NO_CERTIFICATE,
    }
    item["state"] = {"S": "?"}
    assert outcomes(world, jobs, ["widget-1"]) == {"widget-1": RolloutOutcome.UNREADABLE}
    assert [devices for devices, _ in jobs.made.values()] == [("widget-0",)]


def test_only_certificates_of_the_chosen_ca_are_renewed() -> None:
    world, jobs = fleet(1), FakeJobs()
    authority = world.record("widget-0")["reference"].partition("/certificate/")[0]
    for chosen, expected in (
        (Chosen(authority=authority[:-1] + "f"), RolloutOutcome.NO_CERTIFICATE),
        (Chosen(issuer="iot-core"), RolloutOutcome.NO_CERTIFICATE),
        (Chosen(authority=authority, issuer="private-ca"), RolloutOutcome.ASKED),
    ):
        (asked,) = rollout(world, jobs, chosen=chosen).ask(["widget-0"])
        assert asked.outcomes == {"widget-0": expected}
