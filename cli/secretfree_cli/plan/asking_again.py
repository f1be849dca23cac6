"""Retry policies: the runtime's own, and the fixed interval that the plan compares with."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from secretfree.issuance.rates import Congestion, RetryAfterPolicy, RetryPolicy
from secretfree.issuance.tickets import TicketPolicy
from secretfree_device import Patience


class Worker(Protocol):
    """The memory of a Lambda execution environment. Times in seconds."""

    knows_queue: bool
    """Whether it has seen that devices take numbers."""

    def observe(self, call: str, now: float, *, throttled: bool) -> None:
        """Record how a call of the kind `call` ended."""
        ...

    def retry_delay(
        self, call: str, tries: int, now: float, source: random.Random, *, its_turn: bool = False
    ) -> float | None:
        """Return the wait before a call that was refused `tries` times is repeated; None ends the request."""
        ...

    def retry_after(self, age: float | None, attempts: int, now: float, source: random.Random) -> float:
        """Return the device's Retry-After, `age` after it first asked and at its `attempts`th try.

        `age` is None if the ledger did not answer.
        """
        ...


class AskingAgain(Protocol):
    """The policy by which cloud and devices repeat requests."""

    @property
    def name(self) -> str:
        """The name in the plot and the report."""
        ...

    @property
    def tickets(self) -> TicketPolicy | None:
        """The policy of the tickets; None where there are none."""
        ...

    def told(self, seconds: float, source: random.Random) -> float:
        """Return the wait of a device that got this `Retry-After` with a 202."""
        ...

    def worker(self) -> Worker:
        """Return the empty memory of a new execution environment."""
        ...

    def turned_away(self, attempts: int, source: random.Random) -> float:
        """Return the wait of a device that a throttle in front of the functions refused."""
        ...


DOOR_RETRY_AFTER = 5.0
"""Seconds that API Gateway's own 429 and 503 name, the same for all: `ApiOptions.retry_after` of the construct."""


@dataclass
class _RuntimeWorker:
    retry: RetryPolicy
    after: RetryAfterPolicy
    congestion: Congestion = field(default_factory=Congestion)
    knows_queue: bool = False

    def observe(self, call: str, now: float, *, throttled: bool) -> None:
        self.congestion.observe(throttled=throttled, now=now, call=call)

    def retry_delay(
        self, call: str, tries: int, now: float, source: random.Random, *, its_turn: bool = False
    ) -> float | None:
        if tries >= self.retry.limit(0.0 if its_turn else self.congestion.pressure(now, call=call)):
            return None
        return self.retry.delay(tries - 1, source.random)

    def retry_after(self, age: float | None, attempts: int, now: float, source: random.Random) -> float:
        if age is None:  # as the pipeline does where the ledger is out of reach
            return self.after.seconds(
                age=timedelta(), attempts=self.after.early_doublings + 1, pressure=1.0, chance=source.random
            )
        return self.after.seconds(
            age=timedelta(seconds=age),
            attempts=attempts,
            pressure=self.congestion.pressure(now),
            chance=source.random,
        )


@dataclass(frozen=True)
class RuntimePolicy:
    """The product's policy: `secretfree.issuance.rates` in the cloud, the simulated device's retries before it."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    after: RetryAfterPolicy = field(default_factory=RetryAfterPolicy)
    patience: Patience = field(default_factory=Patience)
    tickets: TicketPolicy | None = field(default_factory=TicketPolicy)
    name: str = "Retry-After of this runtime"

    def told(self, seconds: float, source: random.Random) -> float:
        return self.patience.until_turn(seconds, source.uniform)

    def worker(self) -> Worker:
        return _RuntimeWorker(self.retry, self.after)

    def turned_away(self, attempts: int, source: random.Random) -> float:
        return self.patience.pause(attempts, DOOR_RETRY_AFTER, source.uniform)


@dataclass
class _FixedWorker:
    """It learns nothing, and each call is tried once."""

    interval: float
    knows_queue: bool = False

    def observe(self, call: str, now: float, *, throttled: bool) -> None:
        """Record nothing."""

    def retry_delay(
        self,
        call: str,  # noqa: ARG002
        tries: int,  # noqa: ARG002
        now: float,  # noqa: ARG002
        source: random.Random,  # noqa: ARG002
        *,
        its_turn: bool = False,  # noqa: ARG002
    ) -> float | None:
        return None

    def retry_after(
        self,
        age: float | None,  # noqa: ARG002
        attempts: int,  # noqa: ARG002
        now: float,  # noqa: ARG002
        source: random.Random,  # noqa: ARG002
    ) -> float:
        return self.interval


@dataclass(frozen=True)
class FixedRetry:
    """A fleet that ignores Retry-After and asks again after the same time, and a cloud that tries each call once."""

    interval: float

    @property
    def name(self) -> str:
        return f"fixed retry every {self.interval:g} s"

    @property
    def tickets(self) -> TicketPolicy | None:
        return None

    def worker(self) -> Worker:
        return _FixedWorker(self.interval)

    def told(self, seconds: float, source: random.Random) -> float:  # noqa: ARG002
        return self.interval

    def turned_away(self, attempts: int, source: random.Random) -> float:  # noqa: ARG002
        return self.interval
