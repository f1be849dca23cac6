"""A fleet that provisions against the account's quotas, as a discrete-event simulation (SimPy).

Devices that post in the same second with the same progress form a cohort of their mean age. A quota that cannot serve a
whole cohort splits it. So every quota and burst keeps its true size, and no call is left out. Only chance is coarse: a
cohort has one delay before a call is tried again, and at most `_DRAWS` different Retry-Afters. If no more devices post
in a second than the resolution, each is simulated on its own.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

from secretfree_cli.plan.asking_again import AskingAgain, Worker
from secretfree_cli.plan.calls import Call, CallSequence, CallStage, IssuanceProgress, Priced
from secretfree_cli.plan.cohorts import Cohort, WaitingDevices
from secretfree_cli.plan.quotas import QuotaTable
from secretfree_cli.plan.ticket_counter import TicketCounter
from secretfree_cli.plan.token_bucket import TokenBucket

API_QUOTAS = ("ApiStageRequests", "ApiGatewayRequests")
CONCURRENCY_QUOTA = "LambdaConcurrency"
_MANY_ATTEMPTS = 16
"""Later attempts do not differ, for the policies and so for the simulation."""
_DRAWS = 16
_BOOT_SECONDS = 10.0
"""Devices that are switched on all at once still differ by this much."""

_Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Scenario:
    """Input of a simulation. Times in seconds."""

    devices: int
    window: float
    """First requests are spread evenly over this time; 0 is all at once."""
    calls: CallSequence
    quotas: QuotaTable
    asking_again: AskingAgain
    seed: int = 0
    horizon: float = math.inf
    """The simulation ends after this time."""
    resolution: int = 8
    """Cohorts that ask in one second, at most (and again so many for each different history)."""
    sample_interval: float = 60.0
    """Time between two points of the recorded course."""


@dataclass
class FleetOutcome:
    """Result of a simulation."""

    provisioned: int = 0
    finished_at: float = 0.0
    """When the last device of those provisioned got its certificate."""
    requests: int = 0
    """Requests sent by devices."""
    turned_away: int = 0
    """Of those, how many met API Gateway's or Lambda's throttle."""
    turned_away_by_api: int = 0
    authorizer_seconds: float = 0.0
    issuer_seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    """Answered calls by operation."""
    throttled: Counter[str] = field(default_factory=Counter)
    """Calls that a quota refused, by operation."""
    priced_units: Counter[Priced] = field(default_factory=Counter)
    course: list[tuple[float, int, int]] = field(default_factory=list)
    """(seconds, provisioned, requests) at evenly spaced moments."""

    @property
    def served(self) -> int:
        """Requests that reached the functions."""
        return self.requests - self.turned_away


def simulate(scenario: Scenario) -> FleetOutcome:
    """Run the scenario to its end, or its horizon, and return what happened."""
    return _Run(scenario).to_the_end()


@dataclass(slots=True)
class _Planned:
    """A call in its place: `seconds` pass after it, where it ends its stage."""

    call: Call
    buckets: tuple[tuple[TokenBucket, int], ...]
    seconds: float
    resumed_from: IssuanceProgress
    leased: bool


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.outcome = FleetOutcome()
        self._env = simpy.Environment()
        self._finished = self._env.event()
        self._source = random.Random(scenario.seed)  # noqa: S311 - a simulation
        self._buckets = {name: TokenBucket(quota) for name, quota in scenario.quotas.quotas.items() if quota.rate}
        self._free = scenario.quotas[CONCURRENCY_QUOTA].concurrency or 0
        self._idle: list[Worker] = []
        self._waiting: defaultdict[int, defaultdict[tuple[IssuanceProgress, int, bool, bool], WaitingDevices]]
        self._waiting = defaultdict(lambda: defaultdict(WaitingDevices))
        calls = scenario.calls
        self._paths = {progress: self._planned(stages) for progress, stages in calls.paths.items()}
        self._giving_up = _Planned(
            calls.giving_up, self._drawn(calls.giving_up), 0.0, IssuanceProgress.NOTHING, leased=True
        )
        self._authorizer_seconds = calls.first[0].seconds
        self._tickets = TicketCounter(scenario.asking_again.tickets) if scenario.asking_again.tickets else None
        self._looking = tuple(self._unleased(call) for call in calls.looking)
        self._taking_a_number = self._unleased(calls.taking_a_number)
        self._keeping_a_ticket = self._unleased(calls.keeping_a_ticket)

    def to_the_end(self) -> FleetOutcome:
        self._env.process(self._arrivals())
        self._env.process(self._recorder())
        limit = self.scenario.horizon
        deadline = self._env.timeout(limit) if math.isfinite(limit) else self._env.event()
        self._env.run(until=self._env.any_of([self._finished, deadline]))
        self._sample()
        return self.outcome

    def _planned(self, stages: tuple[CallStage, ...]) -> list[_Planned]:
        return [
            _Planned(
                call,
                self._drawn(call),
                stage.seconds if place == len(stage.calls) else 0.0,
                stage.resumed_from,
                leased=stage.leased,
            )
            for stage in stages
            for place, call in enumerate(stage.calls, start=1)
        ]

    def _unleased(self, call: Call) -> _Planned:
        return _Planned(call, self._drawn(call), 0.0, IssuanceProgress.NOTHING, leased=False)

    def _drawn(self, call: Call) -> tuple[tuple[TokenBucket, int], ...]:
        return tuple((self._buckets[name], units) for name, units in call.draws.items())

    # Devices: arriving, asking, waiting.

    def _arrivals(self) -> _Process:
        window = self.scenario.window or _BOOT_SECONDS
        devices = self.scenario.devices
        size = math.ceil(devices / (window * self.scenario.resolution))
        cohorts = math.ceil(devices / size)
        for number in range(cohorts):
            self._ask(Cohort(min(size, devices - number * size), begun=self._env.now))
            yield self._env.timeout(window / cohorts)

    def _ask(self, cohort: Cohort) -> None:
        """Send the cohort's requests; those that a throttle turns away wait, the others run."""
        outcome = self.outcome
        outcome.requests += cohort.size
        doors = [self._buckets[name] for name in API_QUOTAS]
        admitted = min(cohort.size, *(door.available(self._env.now, 1) for door in doors))
        for door in doors:
            door.tokens -= admitted
        started = min(admitted, self._free)
        if turned_away := cohort.size - started:
            outcome.turned_away += turned_away
            outcome.turned_away_by_api += cohort.size - admitted
            for part in cohort.part(started, cohort.size).parts(_DRAWS):
                pause = self.scenario.asking_again.turned_away(cohort.attempts, self._source)
                self._wait(part, pause)
        if started:
            self._free -= started
            outcome.authorizer_seconds += started * self._authorizer_seconds
            self._env.process(self._invoke(cohort.part(0, started), self._worker(), self._env.now))

    def _wait(self, cohort: Cohort, delay: float) -> None:
        attempts = min(cohort.attempts + 1, _MANY_ATTEMPTS)
        second = math.ceil(self._env.now + delay)
        if second not in self._waiting:
            self._env.process(self._wake(second))
        waiting = self._waiting[second][cohort.progress, attempts, bool(cohort.numbers), cohort.missed]
        waiting.size += cohort.size
        waiting.begun += cohort.size * cohort.begun
        waiting.numbers += cohort.numbers

    def _wake(self, second: int) -> _Process:
        yield self._env.timeout(second - self._env.now)
        waking = self._waiting.pop(second)
        asking = sum(waiting.size for waiting in waking.values())
        cohorts: list[Cohort] = []
        for (progress, attempts, _, missed), waiting in waking.items():
            numbers = tuple(sorted(waiting.numbers))
            together = Cohort(waiting.size, waiting.begun / waiting.size, progress, attempts, numbers, missed)
            cohorts.extend(together.parts(max(1, round(self.scenario.resolution * waiting.size / asking))))
        self._source.shuffle(cohorts)
        for cohort in cohorts:
            self._ask(cohort)
            yield self._env.timeout(1 / len(cohorts))

    # The cloud: an invocation of the authorizer and the issuer.

    def _worker(self) -> Worker:
        # Lambda picks any warm environment.
        return self._idle.pop() if self._idle else self.scenario.asking_again.worker()

    def _invoke(
        self,
        cohort: Cohort,
        worker: Worker,
        started: float,
        *,
        position: int = 0,
        tries: int = 0,
        delay: float = 0.0,
    ) -> _Process:
        """Make the remaining calls, from `position` on, until all are made or a quota refuses one."""
        if delay:
            yield self._env.timeout(delay)
        size, moment = cohort.size, self._env.now
        if not position and not tries:
            cohort = self._let_through(cohort, worker, started)
            size = cohort.size
            if not size:
                return
        path = self._paths[cohort.progress]
        for place in range(position, len(path)):
            planned = path[place]
            granted = self._granted(planned, moment, size)
            if granted < size:
                rest = cohort.part(granted, size)
                its_worker = self._worker() if granted else worker
                self._throttled(rest, its_worker, started, place=place, tries=tries + 1)
            if not granted:
                return
            worker.observe(planned.call.kind, moment, throttled=False)
            cohort = cohort.part(0, granted)
            size, tries = granted, 0
            moment += planned.seconds
        yield self._env.timeout(moment - self._env.now)
        if self._tickets is not None and worker.knows_queue:
            self._changes(self._tickets.step(self._env.now))
        self._end(size, worker, started)
        self._provisioned(size)

    # Tickets.

    def _let_through(self, cohort: Cohort, worker: Worker, started: float) -> Cohort:
        """Return the part of the cohort that continues. The others get a time, if devices take numbers."""
        tickets, now = self._tickets, self._env.now
        if tickets is None or not (worker.knows_queue or cohort.numbers):
            return cohort
        worker.knows_queue = tickets.is_open(now)
        if not worker.knows_queue:
            return cohort
        for call in self._looking:
            self._granted(call, now, cohort.size)
        fresh = not cohort.numbers
        if fresh:
            cohort = self._numbered(tickets, cohort)
        through = sum(not tickets.wait(number, now) for number in cohort.numbers)
        if rest := cohort.size - through:
            if fresh:
                self._granted(self._keeping_a_ticket, now, rest)
            progress = IssuanceProgress.TICKETED if cohort.progress is IssuanceProgress.NOTHING else cohort.progress
            self._name_times(tickets, replace(cohort.part(through, cohort.size), progress=progress))
            self._end(rest, worker, started)
        return cohort.part(0, through)

    def _numbered(self, tickets: TicketCounter, cohort: Cohort) -> Cohort:
        self._granted(self._taking_a_number, self._env.now, cohort.size)
        return replace(cohort, numbers=tickets.take(cohort.size))

    def _name_times(self, tickets: TicketCounter, cohort: Cohort) -> None:
        for device in cohort.parts(cohort.size):
            seconds = tickets.named(device.numbers[0], self._env.now)
            self._wait(replace(device, attempts=0), self.scenario.asking_again.told(seconds, self._source))

    def _changes(self, changes: int) -> None:
        self.outcome.calls[self._taking_a_number.call.operation] += changes

    def _granted(self, planned: _Planned, now: float, wanted: int) -> int:
        """Draw for as many of `wanted` calls as every quota concerned allows; return how many."""
        granted = wanted
        for bucket, units in planned.buckets:
            granted = min(granted, bucket.available(now, units))
        for bucket, units in planned.buckets:
            bucket.tokens -= granted * units
        call = planned.call
        self.outcome.calls[call.operation] += granted
        self.outcome.priced_units[call.priced] += granted * call.priced_units
        if granted < wanted:
            self.outcome.throttled[call.operation] += wanted - granted
        return granted

    def _throttled(self, cohort: Cohort, worker: Worker, started: float, *, place: int, tries: int) -> None:
        now = self._env.now
        planned = self._paths[cohort.progress][place]
        worker.observe(planned.call.kind, now, throttled=True)
        delay = worker.retry_delay(planned.call.kind, tries, now, self._source, its_turn=bool(cohort.numbers))
        if delay is not None:
            again = self._invoke(cohort, worker, started, position=place, tries=tries, delay=delay)
            self._env.process(again)
            return
        if planned.leased:
            self._granted(self._giving_up, now, cohort.size)
        if self._tickets is not None and planned.leased:
            worker.knows_queue = True
            turns = 0 if cohort.missed else len(cohort.numbers)
            self._changes(self._tickets.throttled(turns, now))
            cohort = replace(cohort, missed=bool(cohort.numbers))
            if not cohort.numbers:
                numbered = replace(self._numbered(self._tickets, cohort), progress=planned.resumed_from)
                self._name_times(self._tickets, numbered)
                self._end(cohort.size, worker, started)
                return
        for part in cohort.parts(_DRAWS):
            age = (0.0 if cohort.numbers else now - cohort.begun) if planned.leased else None
            pause = worker.retry_after(age, cohort.attempts, now, self._source)
            self._wait(replace(part, progress=planned.resumed_from), pause)
        self._end(cohort.size, worker, started)

    def _end(self, size: int, worker: Worker, started: float) -> None:
        self._free += size
        self._idle.append(worker)
        self.outcome.issuer_seconds += size * max(0.0, self._env.now - started - self._authorizer_seconds)

    def _provisioned(self, size: int) -> None:
        self.outcome.provisioned += size
        self.outcome.finished_at = self._env.now
        if self.outcome.provisioned == self.scenario.devices:
            self._finished.succeed()

    def _recorder(self) -> _Process:
        while True:
            self._sample()
            yield self._env.timeout(self.scenario.sample_interval)

    def _sample(self) -> None:
        self.outcome.course.append((self._env.now, self.outcome.provisioned, self.outcome.requests))
