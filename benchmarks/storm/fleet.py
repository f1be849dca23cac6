"""A fleet that is switched on at once, and posts until each device has its certificate.

Devices that do not use the API meet the same limits as on AWS: the throttle as deployed, and a bounded number of
invocations at once. A device waits by the formulas of the wire contract.
"""

from __future__ import annotations

import heapq
import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from cloud import Device
from runtime import Outcome
from secretfree_cli.local.emulators.private_ca.settings import TokenBucket
from secretfree_device import Patience

API_THROTTLED, BUSY = "429 of the API", "503, every function busy"
# Seconds: what the construct's gateway responses for the API's own 429 and 503 say.
API_RETRY_AFTER = 5.0
_PATIENCE = Patience()


@dataclass(frozen=True)
class Way:
    """One way to the functions: `send` runs in `executor`, in at most `places` at once, admitted by `throttle`."""

    name: str
    executor: Executor
    places: int
    send: Callable[[str], Outcome]
    throttle: TokenBucket


@dataclass
class Result:
    """The figures of a storm."""

    seconds: float = 0.0
    certificates: dict[str, str] = field(default_factory=dict)
    """Certificate id by device."""
    waited: dict[str, float] = field(default_factory=dict)
    """Seconds from a device's first request to its certificate."""
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """Answers, by way."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests that reached the functions, by device."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Storm:
    """A storm of `devices`, each bound to its way. They arrive evenly over `arrival` seconds. It ends after `limit`."""

    devices: Sequence[tuple[Device, Way]]
    arrival: float
    limit: float
    tell: Callable[[str], None]

    def run(self) -> Result:
        """Run until every device has its certificate, or the time is up."""
        return _Run(self).run()


class _Run:
    """One run of a storm: which device asks when, and who is being served."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._devices = storm.devices
        self._chance = random.Random(20)
        self._first = [self._chance.uniform(0, storm.arrival) for _ in storm.devices]
        self._due = [(at, number) for number, at in enumerate(self._first)]
        heapq.heapify(self._due)
        self._failures: Counter[int] = Counter()
        self._busy: Counter[str] = Counter()
        self._ended: SimpleQueue[tuple[int, Future[Outcome]]] = SimpleQueue()
        self._result = Result(answers={way.name: Counter() for _, way in storm.devices})
        self._began = time.monotonic()

    def run(self) -> Result:
        told = 0.0
        while len(self._result.certificates) < len(self._devices) and self._now() < self._storm.limit:
            while self._due and self._due[0][0] <= self._now():
                self._ask(heapq.heappop(self._due)[1])
            with suppress(Empty):
                self._answered(*self._ended.get(timeout=0.005))
            if self._now() - told > 15:
                told = self._now()
                self._storm.tell(f"{told:6.0f} s  {len(self._result.certificates)} of {len(self._devices)}")
        self._result.seconds = self._now()
        return self._result

    def _ask(self, number: int) -> None:
        device, way = self._devices[number]
        if not way.throttle.take():
            self._result.answers[way.name][API_THROTTLED] += 1
            self._ask_again(number, API_RETRY_AFTER)
        elif self._busy[way.name] >= way.places:
            self._result.answers[way.name][BUSY] += 1
            self._ask_again(number, API_RETRY_AFTER)
        else:
            self._busy[way.name] += 1
            self._result.requests[device.device_id] += 1
            future = way.executor.submit(way.send, device.device_csr)
            future.add_done_callback(partial(self._report, number))

    def _report(self, number: int, done: Future[Outcome]) -> None:
        """Runs in the thread that ended the request."""
        self._ended.put((number, done))

    def _answered(self, number: int, done: Future[Outcome]) -> None:
        device, way = self._devices[number]
        self._busy[way.name] -= 1
        outcome = done.result()
        self._result.calls.update(outcome.calls)
        self._result.answers[way.name][str(outcome.status)] += 1
        if outcome.certificate is not None:
            self._result.waited[device.device_id] = self._now() - self._first[number]
            _keep(self._result, device, outcome.certificate)
        elif outcome.status == 202 and outcome.retry_after is not None:
            self._failures[number] = 0
            self._ask_at(number, _PATIENCE.until_turn(outcome.retry_after, self._chance.uniform))
        elif outcome.status in {202, 429} or outcome.status >= 500:
            self._ask_again(number, outcome.retry_after)
        else:
            self._result.mistakes.append(f"{device.device_id} was answered {outcome.status}")

    def _ask_again(self, number: int, retry_after: float | None) -> None:
        self._failures[number] += 1
        self._ask_at(number, _PATIENCE.pause(self._failures[number], retry_after, self._chance.uniform))

    def _ask_at(self, number: int, pause: float) -> None:
        heapq.heappush(self._due, (self._now() + pause, number))

    def _now(self) -> float:
        return time.monotonic() - self._began


def over_http(url: str, path: str) -> Callable[[str], Outcome]:
    """One request to the API itself, on a connection of its own. Its AWS calls are not counted."""
    address = urlsplit(url)

    def send(device_csr: str) -> Outcome:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        try:
            connection.request("POST", f"{address.path}/{path}", headers={"device-csr": device_csr})
            response = connection.getresponse()
            body = response.read().decode()
        except (OSError, http.client.HTTPException):
            return Outcome(599, None, None, {})
        finally:
            connection.close()
        retry_after = response.headers.get("retry-after")
        certificate = body if response.status == 200 else None
        return Outcome(response.status, float(retry_after) if retry_after else None, certificate, {})

    return send


def _keep(result: Result, device: Device, answer: str) -> None:
    document = json.loads(answer)
    if document["thingName"] != device.device_id:
        result.mistakes.append(f"{device.device_id} got the certificate of {document['thingName']}")
    result.certificates[device.device_id] = document["certificateId"]
