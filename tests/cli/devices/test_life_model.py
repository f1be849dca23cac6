"""Any mixture of renewals, connects, blocks, retirements, rotations and faults in two Regions ends as it should."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.errors import SecretFreeError
from secretfree.issuance.calls import OutOfTimeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.ports import StaleLedgerError, StillAttachedError, ThrottledError, UnreachableError
from secretfree.issuance.states import IssuanceState
from secretfree.registry.store import ChangedMeanwhile
from secretfree.request.device_id import DeviceId
from secretfree_cli.devices.retire import Retiring
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed
from support.fake_store import FakeStore
from support.retiring import Retirer
from support.two_regions import Region, TwoRegions
from support.world import verified_csr

DEVICE = DeviceId.parse("widget-1")
ENDED_EARLY = (
    *(Killed, SecretFreeError, ThrottledError, UnreachableError, OutOfTimeError, StaleLedgerError),
    *(StillAttachedError, ChangedMeanwhile, ClientError, BotoCoreError),
)
WHERE = st.sampled_from([0, 1])
SECONDS = st.sampled_from([1, 10, 60, 400, 86_400 * 20, 86_400 * 200, 86_400 * 340])


class LifeModel(RuleBasedStateMachine):
    """One device, and an operator who works in the first Region.

    `given`: the certificates that the device was given. `connects`, `changes`: the events that may come again.
    """

    one_ca = True

    def __init__(self) -> None:
        super().__init__()
        self.both = TwoRegions(one_ca=self.one_ca)
        self.retirers = [Retirer(region.world) for region in self.both.regions]
        self.given: list[str] = []
        self.revoked: list[set[str]] = [set(), set()]
        self.changes: list[tuple[Region, dict[str, Any]]] = []
        self.connects: list[tuple[Retirer, str]] = []
        self.key = 0
        self.jobs = 0
        self.write_registry("allowed")
        self.both.replicate_registry()

    @rule(where=WHERE)
    def the_device_asks(self, where: int) -> None:
        region = self.both.regions[where]
        with suppress(*ENDED_EARLY):
            outcome = region.world.ask_as_enrolled(key=self.key)
            if isinstance(outcome, IssuedCertificate):
                assert self.permits(region)
                self.given.append(outcome.certificate_id)

    @precondition(lambda self: self.given)
    @rule(where=WHERE, number=st.integers(0, 5))
    def the_device_connects(self, where: int, number: int) -> None:
        certificate = self.given[-1 - number % len(self.given)]
        if self.retirers[where].connect(certificate):
            assert certificate not in self.revoked[where]

    @rule(where=WHERE)
    def a_connect_is_delivered(self, where: int) -> None:
        retirer = self.retirers[where]
        if retirer.events:
            body = retirer.events[0]
            self.connects.append((retirer, body))
            with suppress(*ENDED_EARLY):
                retirer.deliver(body)
                retirer.events.pop(0)

    @precondition(lambda self: self.connects)
    @rule(number=st.integers(0, 5))
    def a_connect_is_delivered_again(self, number: int) -> None:
        retirer, body = self.connects[number % len(self.connects)]
        with suppress(*ENDED_EARLY):
            retirer.deliver(body)

    @rule(status=st.sampled_from(["allowed", "blocked"]))
    def the_operator_blocks_or_unblocks(self, status: str) -> None:
        if self.status != "retired":
            self.write_registry(status)

    @rule(key=st.sampled_from([0, 1]))
    def the_operator_enrols_a_key(self, key: int) -> None:
        """Enrol a device, also a retired one again."""
        self.key = key
        self.write_registry("allowed")

    @rule()
    def the_operator_retires_the_device(self) -> None:
        world, revoker = self.both.here.world, self.both.here.revoker
        before = world.cloud.registry[DEVICE]
        retiring = Retiring(
            store=FakeStore(world.cloud),  # type: ignore[arg-type]
            ledger=DynamoDbLedger(world.cloud.client("dynamodb"), table=world.ledger),
            things=world.things,
            ports=revoker.ports,
            clock=world.clock,
            history=timedelta(days=90),
        )
        with suppress(*ENDED_EARLY):
            retiring.retire(DEVICE, "scrapped")
        revoker.changed(DEVICE, before)

    @rule(where=WHERE)
    def the_operator_asks_for_a_renewal(self, where: int) -> None:
        world = self.both.regions[where].world
        ledger = DynamoDbLedger(world.cloud.client("dynamodb"), table=world.ledger)
        self.jobs += 1
        with suppress(*ENDED_EARLY):
            record = ledger.read(DEVICE, "private-ca")
            if record is not None and record.state is IssuanceState.ACTIVE:
                ledger.write(record.renewal_requested(f"job-{self.jobs}", world.clock.now()))

    @precondition(lambda self: self.one_ca)
    @rule(authorities=st.sampled_from([(NEXT_CA_ARN, CA_ARN), (CA_ARN, NEXT_CA_ARN)]))
    def a_ca_follows_another(self, authorities: tuple[str, ...]) -> None:
        self.both.rotate(*authorities)

    @rule()
    def the_registry_is_replicated(self) -> None:
        self.both.replicate_registry()

    @rule(where=WHERE)
    def the_announcements_are_replicated(self, where: int) -> None:
        self.both.replicate(self.both.regions[where])

    @rule(where=WHERE)
    def an_announcement_is_followed(self, where: int) -> None:
        with suppress(*ENDED_EARLY):
            self.both.regions[where].follow()

    @rule(where=WHERE)
    def a_change_is_delivered(self, where: int) -> None:
        region = self.both.regions[where]
        if region.revoker.stream:
            change = region.revoker.stream[0]
            self.changes.append((region, change))
            with suppress(*ENDED_EARLY):
                region.revoker.deliver(change)
                region.revoker.stream[:] = [one for one in region.revoker.stream if one is not change]

    @precondition(lambda self: self.changes)
    @rule(number=st.integers(0, 5))
    def a_change_is_delivered_again(self, number: int) -> None:
        region, change = self.changes[number % len(self.changes)]
        with suppress(*ENDED_EARLY):
            region.revoker.deliver(change)

    @rule(where=WHERE)
    def the_sweeper_runs(self, where: int) -> None:
        with suppress(*ENDED_EARLY):
            self.both.regions[where].world.sweep()

    @rule(where=WHERE, call=st.integers(1, 12), fault=st.sampled_from(list(Fault)))
    def a_call_will_fail(self, where: int, call: int, fault: Fault) -> None:
        cloud = self.both.regions[where].world.cloud
        cloud.faults[len(cloud.calls) + call] = fault

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.both.clock.sleep(seconds)

    @invariant()
    def a_certificate_is_on_the_device_s_thing_alone(self) -> None:
        for region in self.both.regions:
            for one in region.world.cloud.certificates.values():
                assert one.things in ({}, {DEVICE: "EXCLUSIVE_THING"})

    @invariant()
    def revoked_stays_revoked(self) -> None:
        for region, revoked in zip(self.both.regions, self.revoked, strict=True):
            certificates = region.world.cloud.certificates.values()
            assert revoked.isdisjoint({one.certificate_id for one in certificates if one.status == "ACTIVE"})
            revoked |= {one.certificate_id for one in certificates if one.status == "REVOKED"}

    @invariant()
    def a_token_brings_one_certificate_in_five_minutes(self) -> None:
        """Private CA knows a token for so long. Regions that are behind by more issue one each."""
        last: dict[tuple[str, str], datetime] = {}
        for order in self.both.here.world.cloud.orders.values():
            token = order["CertificateAuthorityArn"], order["IdempotencyToken"]
            assert token not in last or order["at"] >= last[token] + timedelta(minutes=5)
            last[token] = order["at"]

    def teardown(self) -> None:
        """Deliver all without faults. What is not permitted has nothing; else both Regions agree on one certificate."""
        for region in self.both.regions:
            region.world.cloud.faults.clear()
        self.settle()
        here, there = self.both.regions
        if self.status != "allowed":
            assert here.active() == there.active() == set()
            return
        for region in (here, there, here):  # what an operator asked of one Region is done there
            self.both.pass_time(timedelta(minutes=10))
            answer, _ = region.world.ask_until_issued(key=self.key)
            self.settle()
        assert answer.certificate_id in here.active() & there.active()
        for region, retirer in zip(self.both.regions, self.retirers, strict=True):
            again = region.world.ask_as_enrolled(key=self.key)
            assert isinstance(again, IssuedCertificate)
            assert again.certificate_id == answer.certificate_id
            assert retirer.connect(answer.certificate_id)
        self.settle()
        assert here.active() == there.active() == {answer.certificate_id}

    def settle(self) -> None:
        self.both.replicate_registry()
        self.both.converge()
        for retirer in self.retirers:
            while retirer.events:
                with suppress(SecretFreeError):  # of a record that is settled later
                    retirer.deliver(retirer.events[0])
                retirer.events.pop(0)
        self.both.converge()
        for region in self.both.regions:
            region.world.quiesce()
        self.both.converge()

    @property
    def status(self) -> str:
        return str(self.both.here.world.cloud.registry[DEVICE].get("status", {"S": "allowed"})["S"])

    def permits(self, region: Region) -> bool:
        item = region.world.cloud.registry[DEVICE]
        fingerprint = verified_csr(DEVICE, self.key).public_key.fingerprint
        return item.get("status", {"S": "allowed"}) == {"S": "allowed"} and item["key-fingerprint"] == {
            "S": fingerprint
        }

    def write_registry(self, status: str) -> None:
        self.both.enrol_here(key=self.key, **({} if status == "allowed" else {"status": status}))


class LifeWithACaEach(LifeModel):
    one_ca = False


QUICK = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LONG = settings(QUICK, max_examples=250, stateful_step_count=50)


class TestLifeWithOneCa(LifeModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


@pytest.mark.slow
class TestLifeWithACaEach(LifeWithACaEach.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


@pytest.mark.nightly
class TestLifeWithOneCaForLong(LifeModel.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG


@pytest.mark.nightly
class TestLifeWithACaEachForLong(LifeWithACaEach.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG
