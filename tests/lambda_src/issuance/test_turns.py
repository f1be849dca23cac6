"""Devices above the quotas: each gets a number, is let through in its turn, and gains nothing by asking early."""

import heapq
from collections import Counter
from dataclasses import replace

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import Reason
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.rates import RetryAfterPolicy, RetryPolicy
from support.fake_cloud import Fault
from support.world import World

BOTH = pytest.mark.parametrize("kind", [IssuerKind.PRIVATE_CA, IssuerKind.IOT_CORE])
WRITES = ("PutItem", "UpdateItem", "TransactWriteItems")
OF_THE_CA = ("IssueCertificate", "CreateCertificateFromCsr", "CreateThing")


def world_of(kind: IssuerKind, *, rate: float = 10.0) -> World:
    """Each call is tried once, so that no device's backoff holds up the others of a test."""
    world = World(kind, rate=rate)
    world.policy = replace(world.policy, retry=RetryPolicy(attempts=1))
    return world


def throttle(world: World) -> None:
    for operation in ("IssueCertificate", "CreateCertificateFromCsr"):
        world.cloud.always[operation] = Fault.THROTTLED


def ticket_of(world: World, device: str) -> dict[str, str]:
    item = world.items[device, f"issuance#{world.kind.value}"]
    return {name: item["ticket"]["M"][name]["N"] for name in ("number", "at")}


def open_queue(world: World, devices: int = 30) -> list[NotReady]:
    """So many devices are throttled, and get numbers."""
    throttle(world)
    answers = [world.ask(f"early-{number}") for number in range(devices)]
    world.cloud.always.clear()
    assert all(isinstance(answer, NotReady) for answer in answers)
    return [answer for answer in answers if isinstance(answer, NotReady)]


@BOTH
def test_while_nothing_is_throttled_the_counter_is_not_touched(kind: IssuerKind) -> None:
    world = world_of(kind)
    assert isinstance(world.ask(), IssuedCertificate)
    assert "UpdateItem" not in world.cloud.calls
    assert ("tickets#", f"tickets#{kind.value}") not in world.items


@BOTH
def test_throttled_devices_get_successive_times(kind: IssuerKind) -> None:
    world = world_of(kind)
    waits = [answer.retry_after for answer in open_queue(world)]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(3, abs=1)


@BOTH
def test_a_new_device_takes_a_number_before_it_costs_a_call_of_the_ca(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    world.cloud.calls.clear()
    answer = world.ask("widget-1")
    assert isinstance(answer, NotReady)
    assert answer.reason is Reason.QUEUED
    assert sum(operation in WRITES for operation in world.cloud.calls) == 2
    assert not set(world.cloud.calls) & set(OF_THE_CA)


@BOTH
def test_asking_early_gives_the_same_answer_for_one_read_of_the_record_and_no_write(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    first = world.ask("widget-1")
    assert isinstance(first, NotReady)
    for waited in range(1, first.retry_after):
        world.clock.sleep(1)
        world.cloud.calls.clear()
        again = world.ask("widget-1")
        assert isinstance(again, NotReady)
        assert again.retry_after == first.retry_after - waited
        assert set(world.cloud.calls) == {"GetItem"}
        assert len(world.cloud.calls) <= 3  # the registry, the record, and now and then the queue


@BOTH
def test_a_device_is_let_through_at_its_time(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    world.clock.sleep(told.retry_after)
    assert isinstance(world.ask("widget-1"), IssuedCertificate)
    assert "ticket" not in world.items["widget-1", f"issuance#{kind.value}"]


@BOTH
def test_a_device_throttled_in_its_turn_keeps_its_number_and_tries_again_soon(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    number = ticket_of(world, "widget-1")["number"]
    world.clock.sleep(told.retry_after)
    throttle(world)
    again = world.ask("widget-1")
    assert isinstance(again, NotReady)
    assert again.retry_after <= 10
    assert ticket_of(world, "widget-1")["number"] == number
    world.cloud.always.clear()
    world.clock.sleep(again.retry_after)
    assert isinstance(world.ask("widget-1"), IssuedCertificate)


@BOTH
def test_a_device_throttled_in_its_turn_gains_nothing_by_trying_sooner_than_it_was_told(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    world.clock.sleep(told.retry_after)
    throttle(world)
    soon = world.ask("widget-1")
    assert isinstance(soon, NotReady)
    world.cloud.always.clear()
    for waited in range(soon.retry_after):
        world.cloud.calls.clear()
        again = world.ask("widget-1")
        assert isinstance(again, NotReady)
        assert again.retry_after == soon.retry_after - waited
        assert set(world.cloud.calls) == {"GetItem"}
        world.clock.sleep(1)
    assert isinstance(world.ask("widget-1"), IssuedCertificate)


@BOTH
def test_a_turn_counts_as_missed_once_however_often_its_device_is_throttled(kind: IssuerKind) -> None:
    world = world_of(kind)
    world.policy = replace(world.policy, retry_after=RetryAfterPolicy(base=0.1))
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    world.clock.sleep(told.retry_after)
    throttle(world)
    counted = []
    for _ in range(3):
        again = world.ask("widget-1")
        assert isinstance(again, NotReady)
        assert again.reason is Reason.THROTTLED
        counted.append(world.items["tickets#", f"tickets#{kind.value}"]["missed"]["N"])
        world.clock.sleep(again.retry_after)
    assert counted == ["1", "1", "1"]


@BOTH
def test_a_device_of_another_worker_waits_by_its_own_record(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    world.ports = replace(world.ports, turns=world.turns())
    again = world.ask("widget-1")
    assert isinstance(again, NotReady)
    assert again.retry_after == told.retry_after


@BOTH
def test_a_device_is_let_through_where_the_counter_gives_no_number(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    world.cloud.always["UpdateItem"] = Fault.THROTTLED
    assert isinstance(world.ask("widget-1"), IssuedCertificate)


@BOTH
def test_a_queue_whose_counter_was_deleted_is_opened_anew(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    del world.items["tickets#", f"tickets#{kind.value}"]
    world.clock.sleep(told.retry_after)
    throttle(world)
    assert isinstance(world.ask("widget-2"), NotReady)
    assert ticket_of(world, "widget-2")["number"] == "1"
    world.cloud.always.clear()
    assert isinstance(world.ask("widget-1"), IssuedCertificate)


@BOTH
def test_a_device_is_let_through_where_the_counter_is_damaged(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    world.items["tickets#", f"tickets#{kind.value}"]["rate"] = {"N": "0"}
    world.clock.sleep(told.retry_after)
    throttle(world)
    assert isinstance(world.ask("widget-2"), NotReady)
    world.cloud.always.clear()
    assert isinstance(world.ask("widget-1"), IssuedCertificate)


@BOTH
def test_a_counter_that_fails_is_reported_once_until_it_works_again(kind: IssuerKind) -> None:
    world = world_of(kind)
    open_queue(world)
    reported = []
    for fault in (Fault.THROTTLED, None, Fault.THROTTLED):
        world.cloud.always.clear()
        if fault is not None:
            world.cloud.always["UpdateItem"] = fault
        for number in range(5):
            world.ask(f"widget-{number}-{len(reported)}")
        reported.append(len(world.counter_failures))
        world.clock.sleep(50)
        throttle(world)
        world.ask(f"late-{len(reported)}")  # keeps the queue open
        world.clock.sleep(20)
    assert reported == [1, 1, 2]
    assert all("UpdateItem" in str(error) for error in world.counter_failures)


@pytest.mark.slow
@BOTH
def test_a_stopped_storm_is_forgotten(kind: IssuerKind) -> None:
    world = world_of(kind, rate=0.1)
    open_queue(world, devices=100)
    told = world.ask("widget-1")
    assert isinstance(told, NotReady)
    assert told.retry_after > 600
    world.clock.sleep(601)
    assert isinstance(world.ask("widget-2"), IssuedCertificate)


@BOTH
def test_a_renewal_that_waits_for_its_turn_keeps_the_certificate(kind: IssuerKind) -> None:
    world = world_of(kind)
    first = world.ask("widget-1")
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep_until(first.renew_after)
    open_queue(world)
    again = world.ask("widget-1")
    assert isinstance(again, IssuedCertificate)
    assert again.certificate_id == first.certificate_id
    assert isinstance(again.instead_of, NotReady)
    world.clock.sleep(30)
    renewed = world.ask("widget-1")
    assert isinstance(renewed, IssuedCertificate)
    assert renewed.certificate_id != first.certificate_id


class Fleet:
    """Devices that all ask at once. Those of `hammering` then ask every second, the others after `Retry-After`."""

    def __init__(self, world: World, devices: int, *, hammering: frozenset[str] = frozenset()) -> None:
        self.world = world
        self.hammering = hammering
        self.requests: Counter[str] = Counter()
        self.issued_at: dict[str, float] = {}
        self.told_at: dict[str, float] = {}
        self.began = world.clock.monotonic()
        self._due = [(self.began + number / 1_000, f"device-{number}") for number in range(devices)]

    def run(self) -> None:
        heapq.heapify(self._due)
        while self._due:
            at, device = heapq.heappop(self._due)
            self.world.clock.sleep(max(0.0, at - self.world.clock.monotonic()))
            self.requests[device] += 1
            answer = self.world.ask(device)
            now = self.world.clock.monotonic()
            if isinstance(answer, IssuedCertificate):
                self.issued_at[device] = now - self.began
                continue
            self.told_at.setdefault(device, now + answer.retry_after - self.began)
            pause = 1.0 if device in self.hammering else answer.retry_after
            heapq.heappush(self._due, (now + pause, device))


@pytest.mark.slow
@BOTH
def test_a_fleet_is_served_in_its_time_with_few_requests_and_writes(kind: IssuerKind) -> None:
    world = world_of(kind, rate=2.0)
    world.cloud.quotas["AttachPolicy"] = 2.0
    fleet = Fleet(world, 240)
    fleet.run()
    assert len(fleet.issued_at) == 240
    assert len(world.cloud.issued) == 240
    assert max(fleet.issued_at.values()) <= 1.2 * 240 / 2.0
    assert fleet.requests.total() <= 4 * 240
    assert sum(operation in WRITES for operation in world.cloud.calls) <= 9 * 240


@pytest.mark.slow
@BOTH
def test_devices_that_ask_all_the_time_gain_nothing_and_those_that_wait_are_not_starved(kind: IssuerKind) -> None:
    world = world_of(kind, rate=2.0)
    world.cloud.quotas["AttachPolicy"] = 2.0
    hammering = frozenset(f"device-{number}" for number in range(1, 100, 2))
    fleet = Fleet(world, 100, hammering=hammering)
    fleet.run()
    assert len(fleet.issued_at) == 100
    early = [name for name in hammering if name in fleet.told_at and fleet.issued_at[name] < fleet.told_at[name] - 1e-3]
    assert early == []
    waiting = [at for name, at in fleet.issued_at.items() if name not in hammering]
    asking = [at for name, at in fleet.issued_at.items() if name in hammering]
    assert sum(waiting) / len(waiting) <= 1.1 * sum(asking) / len(asking)
    assert max(waiting) <= 1.25 * 100 / 2.0
