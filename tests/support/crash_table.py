"""The proof as two tables: every AWS call failing in every way. `python crash_table.py` prints Markdown."""

import functools
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from secretfree.contract import IssuerKind
from support.consumer_scenes import SCENES, Scene
from support.fake_cloud import Fault
from support.world import World

_FAULTS = ["killed before", "after", "throttled", "timed out before", "after", "refused"]  # the order of `Fault`


class Row(NamedTuple):
    """`requests`: the number until the device had its certificate; `orphans`: at quiescence, after the sweeper."""

    issuer: str
    call: str
    fault: str
    requests: int
    seconds: int
    issued: int
    orphans: int


class ConsumerRow(NamedTuple):
    """`deliveries`: until one succeeded, for each `Fault`, and with the event delivered twice at the same time.

    `same`: in all cases, the account's final state equals the one without a fault.
    """

    consumer: str
    call: str
    deliveries: tuple[int, ...]
    same: bool


@functools.cache
def rows() -> tuple[Row, ...]:
    """Fail each call once, repeat the device's request until it succeeds, run the sweeper, and count."""
    return tuple(_rows())


def _rows() -> Iterator[Row]:
    for kind in IssuerKind:
        calm = World(kind)
        calm.ask()
        for number, operation in enumerate(calm.cloud.calls, start=1):
            for fault in Fault:
                world = World(kind)
                world.cloud.faults[number] = fault
                start = world.clock.monotonic()
                answer, requests = world.ask_until_issued()
                seconds = round(world.clock.monotonic() - start)
                world.quiesce()
                orphans = len(set(world.cloud.certificates) - {answer.certificate_id})
                call = f"{number}. {operation}"
                yield Row(kind.value, call, fault.value, requests, seconds, len(world.cloud.issued), orphans)


@functools.cache
def consumer_rows() -> tuple[ConsumerRow, ...]:
    """Fail each call of each consumer once, and deliver the event again until it is processed.

    "Twice": just before the call, another process receives and processes the same event.
    """
    return tuple(_consumer_rows())


def _consumer_rows() -> Iterator[ConsumerRow]:
    for name, scene in SCENES.items():
        calm = scene()
        begun = len(calm.cloud.calls)
        calm.deliver()
        for number, operation in enumerate(calm.cloud.calls[begun:], start=1):
            ends = [_with_fault(scene(), number, fault) for fault in Fault] + [_twice(scene(), number)]
            deliveries = tuple(count for count, _ in ends)
            same = all(end == calm.end() for _, end in ends)
            yield ConsumerRow(name, f"{number}. {operation}", deliveries, same)


def _with_fault(scene: Scene, number: int, fault: Fault) -> tuple[int, object]:
    scene.cloud.faults[len(scene.cloud.calls) + number] = fault
    return scene.deliver_until_done(), scene.end()


def _twice(scene: Scene, number: int) -> tuple[int, object]:
    scene.cloud.before_call[len(scene.cloud.calls) + number] = scene.deliver_once
    return scene.deliver_until_done(), scene.end()


def issuance_table() -> str:
    lines = ["| issuer | AWS call | " + " | ".join(_FAULTS) + " | issued | orphans |"]
    lines.append("|---|---|" + "---|" * len(Fault) + "---:|---:|")
    for (issuer, call), of_call in groupby(rows(), key=lambda row: (row.issuer, row.call)):
        faults = list(of_call)
        cells = [f"{row.requests} ({row.seconds} s)" for row in faults]
        worst = (max(row.issued for row in faults), max(row.orphans for row in faults))
        lines.append("| " + " | ".join([issuer, call, *cells, *map(str, worst)]) + " |")
    return "\n".join(lines) + "\n"


def consumer_table() -> str:
    lines = ["| event | AWS call | " + " | ".join(_FAULTS) + " | twice | end state |"]
    lines.append("|---|---|" + "---:|" * (len(Fault) + 1) + "---|")
    for row in consumer_rows():
        cells = [row.consumer, row.call, *map(str, row.deliveries), "the same" if row.same else "ANOTHER"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


TABLES: tuple[Callable[[], str], ...] = (issuance_table, consumer_table)

if __name__ == "__main__":
    print("\n".join(table() for table in TABLES), end="")
