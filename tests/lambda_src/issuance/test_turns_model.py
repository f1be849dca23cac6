"""Random fleets with tickets: a device that keeps to `Retry-After` has its turn, one that does not gains nothing."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.contract import IssuerKind
from secretfree.errors import Reason
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.rates import RetryPolicy
from secretfree.issuance.tickets import Ticket, TicketPolicy
from secretfree.issuance.turns import Turns
from support.fake_cloud import Fault
from support.world import World

RATE = 2.0
MOST_DEVICES = 20
MOST_WAITS = 8
"""How often a device that keeps to its times is asked to wait for its turn."""
MOST_REQUESTS = 12
"""How often it asks in all, throttled turns included."""
EARLY = 3.0
"""Seconds after which a device asks that does not keep to its times."""
SLOWEST = TicketPolicy().least_share
THROTTLED_FOR = timedelta(minutes=4)
"""In its turn a device is throttled for this long at most."""
STALE_SECONDS = 2.0
"""For this long a worker believes what it read of the queue."""


@dataclass(kw_only=True)
class Member:
    """A device of the fleet: whether it keeps to its times, when it asks next, and how often it did.

    `latest`: when it has its certificate at the latest, if it keeps to its times. None until it has a number.
    """

    name: str
    patient: bool
    due: float
    waits: int = 0
    requests: int = 0
    latest: datetime | None = None


class QueueModel(RuleBasedStateMachine):
    """Up to some thirty devices and two workers. The account's quota is the configured rate, or half of it."""

    kind = IssuerKind.PRIVATE_CA

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.kind, rate=RATE)
        self.world.policy = replace(self.world.policy, retry=RetryPolicy(attempts=1))
        self.world.cloud.quotas["AttachPolicy"] = RATE
        table = self.world.cloud.client("dynamodb")
        self.counter = DynamoDbTicketCounter(table, table=self.world.ledger, issuer=self.kind.value)
        self.workers = [self.world.turns(), self.world.turns()]
        self.waiting: list[Member] = []
        self.arrived = 0

    @initialize(patient=st.lists(st.booleans(), min_size=8, max_size=8))
    def a_queue_is_open(self, patient: list[bool]) -> None:
        self.devices_arrive(patient)

    @precondition(lambda self: self.arrived < MOST_DEVICES)
    @rule(patient=st.lists(st.booleans(), min_size=4, max_size=8))
    def devices_arrive(self, patient: list[bool]) -> None:
        now = self.world.clock.monotonic()
        for keeps_to_times in patient:
            self.waiting.append(Member(name=f"device-{self.arrived}", patient=keeps_to_times, due=now))
            self.arrived += 1
        self.time_passes(1)

    @rule(seconds=st.sampled_from([1, 5, 30]))
    def time_passes(self, seconds: float) -> None:
        """The devices ask when they are due."""
        end = self.world.clock.monotonic() + seconds
        while self.waiting and (member := min(self.waiting, key=lambda one: one.due)).due <= end:
            self.world.clock.sleep(max(0.0, member.due - self.world.clock.monotonic()))
            self.ask(member)
        self.world.clock.sleep(max(0.0, end - self.world.clock.monotonic()))

    @rule(numbers=st.sampled_from([10, 60]))
    def other_devices_take_numbers(self, numbers: int) -> None:
        if (queue := self.queue()) is not None:
            queue["given"] = {"N": str(int(queue.get("given", {"N": "0"})["N"]) + numbers)}

    @rule(share=st.sampled_from([0.5, 1.0]))
    def the_quota_changes(self, share: float) -> None:
        self.world.cloud.quotas["AttachPolicy"] = RATE * share

    @rule()
    def the_counter_is_throttled(self) -> None:
        self.world.cloud.always["UpdateItem"] = Fault.THROTTLED

    @rule()
    def the_counter_recovers(self) -> None:
        self.world.cloud.always.clear()

    def teardown(self) -> None:
        """Each device gets one certificate, however many of them ask all the time."""
        self.world.cloud.always.clear()
        for _ in range(60):
            if not self.waiting:
                break
            self.time_passes(30)
        assert not self.waiting
        assert len(self.world.cloud.issued) == self.arrived

    def ask(self, member: Member) -> None:
        ticket = self.ticket_of(member)
        worker = self.workers[member.requests % 2]
        self.world.ports = replace(self.world.ports, turns=worker)
        member.requests += 1
        may_call = {"GetItem"} if self.knows_the_queue(worker) else {"GetItem", "PutItem"}
        before = self.record_of(member)
        self.world.cloud.calls.clear()
        answer = self.world.ask(member.name)
        if ticket is not None and self.world.clock.now() < ticket.at:
            self.require_nothing_gained(ticket, answer)
            assert set(self.world.cloud.calls) <= may_call
            assert self.record_of(member) == before
        if isinstance(answer, IssuedCertificate):
            self.waiting.remove(member)
            if ticket is not None:
                self.require_its_turn(ticket)
            assert not member.patient or member.latest is None or self.world.clock.now() <= member.latest
            return
        self.note_the_latest(member)
        member.due = self.world.clock.monotonic() + (answer.retry_after if member.patient else EARLY)
        member.waits += answer.reason is Reason.QUEUED
        assert not member.patient or member.waits <= MOST_WAITS
        assert not member.patient or member.requests <= MOST_REQUESTS

    def note_the_latest(self, member: Member) -> None:
        """The time that a new number gave, if the queue moves at its slowest from now on."""
        given = self.ticket_of(member)
        if given is not None and member.latest is None:
            now = self.world.clock.now()
            member.latest = now + (given.at - now) / SLOWEST + THROTTLED_FOR

    def knows_the_queue(self, worker: Turns) -> bool:
        """Whether a worker only reads for a device that comes before its time.

        Another one tries to write the device's first record, which the ledger refuses: there is one.
        """
        policy, moment = TicketPolicy(rate=RATE), self.world.clock.now().timestamp()
        known = (worker._queue, self.counter.read())
        return worker._alert and all(queue is not None and queue.is_open(policy, moment) for queue in known)

    def require_nothing_gained(self, ticket: Ticket, answer: IssuedCertificate | NotReady) -> None:
        """A device that comes before its time gets the rest of its wait."""
        assert isinstance(answer, NotReady)
        assert answer.retry_after == ceil((ticket.at - self.world.clock.now()).total_seconds())

    def require_its_turn(self, ticket: Ticket) -> None:
        """A certificate comes after the time that was named, and after the numbers before it.

        The queue may be two seconds behind, and the throttled turns of those seconds.
        """
        now = self.world.clock.now()
        assert now >= ticket.at
        queue, policy = self.counter.read(), TicketPolicy(rate=RATE)
        assert queue is not None
        behind = RATE * STALE_SECONDS + MOST_DEVICES
        moment = now.timestamp()
        assert not queue.is_open(policy, moment) or queue.served(moment) >= ticket.number - behind

    def queue(self) -> dict[str, dict[str, str]] | None:
        return self.world.items.get(("tickets#", f"tickets#{self.kind.value}"))

    def record_of(self, member: Member) -> dict[str, Any]:
        return dict(self.world.items.get((member.name, f"issuance#{self.kind.value}"), {}))

    def ticket_of(self, member: Member) -> Ticket | None:
        item = self.record_of(member)
        if "ticket" not in item:
            return None
        number, at = (int(item["ticket"]["M"][name]["N"]) for name in ("number", "at"))
        return Ticket(number=number, at=datetime.fromtimestamp(at / 1000, UTC))


class IotCoreQueueModel(QueueModel):
    kind = IssuerKind.IOT_CORE


QUICK = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
THOROUGH = settings(QUICK, max_examples=200, derandomize=False)


class TestPrivateCaQueue(QueueModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


class TestIotCoreQueue(IotCoreQueueModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


@pytest.mark.nightly
class TestPrivateCaQueueThoroughly(QueueModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH


@pytest.mark.nightly
class TestIotCoreQueueThoroughly(IotCoreQueueModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH
