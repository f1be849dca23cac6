"""A fleet that is switched on at once, and asks until each device has its certificate.

What stands between a device and the functions on AWS stands here too, for the devices that do not go through the API:
its throttle as deployed, and a bounded number of invocations at once. A device obeys Retry-After as the simulated
device does, and backs off by itself where none is given.
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
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from cloud import Device
from runtime import Outcome
from secretfree_cli.device.provisioning import Patience
from secretfree_cli.local.private_ca.settings import TokenBucket

API_THROTTLED, BUSY = "429 of the API", "503, every function busy"
# Seconds: what the construct's gateway response for a throttled request says.
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
    """What the storm was like."""

    seconds: float = 0.0
    certificates: dict[str, str] = field(default_factory=dict)
    """Certificate id by device."""
    waited: dict[str, float] = field(default_factory=dict)
    """Seconds from a device's first request to its certificate."""
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """What was answered, by way."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests that reached the functions, by device."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Storm:
    """`devices`, each bound to its way, arriving evenly over `arrival` seconds; it ends after `limit` at the latest."""

    devices: Sequence[tuple[Device, Way]]
    arrival: float
    limit: float
    tell: Callable[[str], None]

    def run(self) -> Result:
        """Run until every device has its certificate, or the time is up."""
        result = Result(answers={way.name: Counter() for _, way in self.devices})
        chance = random.Random(20)
        ended: SimpleQueue[tuple[int, Future[Outcome]]] = SimpleQueue()
        busy: Counter[str] = Counter()
        attempts: Counter[int] = Counter()
        began = time.monotonic()
        first = {number: chance.uniform(0, self.arrival) for number in range(len(self.devices))}
        due = [(at, number) for number, at in first.items()]
        heapq.heapify(due)
        told = began

        def again(number: int, retry_after: float | None) -> None:
            attempts[number] += 1
            pause = _PATIENCE.pause(attempts[number], retry_after, chance.uniform)
            heapq.heappush(due, (time.monotonic() - began + pause, number))

        def report(number: int, done: Future[Outcome]) -> None:
            ended.put((number, done))

        while len(result.certificates) < len(self.devices) and time.monotonic() - began < self.limit:
            while due and due[0][0] <= time.monotonic() - began:
                _, number = heapq.heappop(due)
                device, way = self.devices[number]
                if not way.throttle.take():
                    result.answers[way.name][API_THROTTLED] += 1
                    again(number, API_RETRY_AFTER)
                elif busy[way.name] >= way.places:
                    result.answers[way.name][BUSY] += 1
                    again(number, None)
                else:
                    busy[way.name] += 1
                    result.requests[device.device_id] += 1
                    future = way.executor.submit(way.send, device.device_csr)
                    future.add_done_callback(partial(report, number))
            try:
                number, done = ended.get(timeout=0.005)
            except Empty:
                continue
            device, way = self.devices[number]
            busy[way.name] -= 1
            outcome = done.result()
            result.calls.update(outcome.calls)
            result.answers[way.name][str(outcome.status)] += 1
            if outcome.certificate is not None:
                result.waited[device.device_id] = time.monotonic() - began - first[number]
                _keep(result, device, outcome.certificate)
            elif outcome.status in {202, 429} or outcome.status >= 500:
                again(number, outcome.retry_after)
            else:
                result.mistakes.append(f"{device.device_id} was answered {outcome.status}")
            if time.monotonic() - told > 15:
                told = time.monotonic()
                self.tell(f"{told - began:6.0f} s  {len(result.certificates)} of {len(self.devices)}")
        result.seconds = time.monotonic() - began
        return result


def over_http(url: str, path: str) -> Callable[[str], Outcome]:
    """One request to the API itself, on a connection of its own; its calls are not seen from here."""
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
