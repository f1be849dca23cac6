"""The proof as a table: every call of the issuers failing in every way. `python crash_table.py` prints Markdown."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from secretfree.contract import IssuerKind
from support.fake_cloud import Fault
from support.world import World


class Row(NamedTuple):
    """`requests`: until the device had its certificate; `orphans`: at quiescence, after the sweeper."""

    issuer: str
    call: str
    fault: str
    requests: int
    seconds: int
    issued: int
    orphans: int


def rows() -> Iterator[Row]:
    """Fail each call once, let the device ask until it is served, let the sweeper run, and count."""
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


if __name__ == "__main__":
    columns = ["killed before", "after", "throttled", "timed out before", "after", "refused"]  # the order of `Fault`
    print("| issuer | AWS call | " + " | ".join(columns) + " | issued | orphans |")
    print("|---|---|" + "---|" * len(Fault) + "---:|---:|")
    for (issuer, call), of_call in groupby(rows(), key=lambda row: (row.issuer, row.call)):
        faults = list(of_call)
        cells = [f"{row.requests} ({row.seconds} s)" for row in faults]
        worst = (max(row.issued for row in faults), max(row.orphans for row in faults))
        print("| " + " | ".join([issuer, call, *cells, *map(str, worst)]) + " |")
