"""The command `secretfree queue`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from secretfree_cli.command_line import command
from secretfree_cli.diagnose.collectors import dead_letters
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import read_stack
from secretfree_cli.diagnose.evidence import DeadLetters
from secretfree_cli.durations import age
from secretfree_cli.output import CliError, ExitCode, emit, emit_json, emit_table, json_option, note
from secretfree_cli.queue.ticket_queues import IssuerQueue, Waiting, next_devices, ticket_queues
from secretfree_cli.target import Target, target_options

_MOST_NEXT = 1000


@command("queue")
@click.option(
    "--next",
    "most",
    type=click.IntRange(1, _MOST_NEXT),
    metavar="COUNT",
    help="Name the COUNT devices with the next turns. Reads the whole ledger.",
)
@json_option
@target_options
def queue(*, target: Target, most: int | None, as_json: bool) -> None:
    """Show what waits: each issuer's queue of tickets, and what was given up.

    A fleet that comes faster than the quotas allow waits in a queue: each device has a number and a time. The dead
    letters are changes of the registry, connects, and certificates of other Regions that failed again and again.
    """
    if target.ledger_table is None:
        raise CliError("the target has no ledger", hint="name the stack with --stack", exit_code=ExitCode.USAGE)
    now, reading, table = datetime.now(UTC), Reading(), target.ledger_table
    client = target.client("dynamodb")
    found = reading.attempt("the queues of tickets", lambda: ticket_queues(client, table, now=now)) or ()
    letters = dead_letters.read(target, read_stack(target, reading), reading)
    waiting = None
    if most is not None:
        waiting = reading.attempt("the devices that wait", lambda: next_devices(target, most=most)) or ()
    if as_json:
        emit_json(_document(found, letters, waiting) | {"notRead": reading.gaps})
    else:
        _show(found, letters, waiting)
    for gap in reading.gaps:
        note(f"not read: {gap.what} ({gap.why})")


def _show(found: Sequence[IssuerQueue], letters: Sequence[DeadLetters], waiting: Sequence[Waiting] | None) -> None:
    if found:
        emit_table(
            ("ISSUER", "QUEUE", "WAITING", "NOW AT", "LAST NUMBER", "A SECOND", "LAST TURN IN"),
            (
                (
                    one.issuer,
                    "open" if one.is_open else "none",
                    str(one.waiting),
                    str(one.served),
                    str(one.given),
                    f"{one.rate:g}",
                    age(one.last_turn_in),
                )
                for one in found
            ),
        )
    else:
        note("no device ever waited for its turn")
    if waiting:
        emit("")
        emit_table(
            ("NUMBER", "TURN (UTC)", "ISSUER", "DEVICE"),
            ((str(one.number), f"{one.at:%Y-%m-%d %H:%M:%S}", one.issuer, one.device_id) for one in waiting),
        )
    elif waiting is not None:
        note("no device waits for its turn")
    if letters:
        if found or waiting:
            emit("")
        emit_table(
            ("DEAD LETTERS", "MESSAGES", "DEVICES"),
            ((one.kind.value, str(one.count), ", ".join(sorted(one.devices))) for one in letters),
        )


def _document(
    found: Sequence[IssuerQueue], letters: Sequence[DeadLetters], waiting: Sequence[Waiting] | None
) -> dict[str, object]:
    document: dict[str, object] = {
        "ticketQueues": [
            {
                "issuer": one.issuer,
                "open": one.is_open,
                "waiting": one.waiting,
                "served": one.served,
                "given": one.given,
                "turnsPerSecond": one.rate,
                "lastTurnInSeconds": one.last_turn_in.total_seconds(),
            }
            for one in found
        ],
        "deadLetters": [
            {"kind": one.kind, "queueUrl": one.url, "messages": one.count, "devices": sorted(one.devices)}
            for one in letters
        ],
    }
    if waiting is not None:
        document["next"] = [
            {"number": one.number, "at": one.at, "issuer": one.issuer, "deviceId": one.device_id} for one in waiting
        ]
    return document
