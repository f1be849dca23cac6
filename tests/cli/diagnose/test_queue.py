"""The command `queue`: the queue of tickets of each issuer, who is next, and the dead letters."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.issuance.tickets import Ticket, TicketPolicy, TicketQueue
from secretfree_cli.queue.commands import queue

SECOND = timedelta(seconds=1)


def opened(desk: Any, *, given: int, rate: float) -> None:
    """A queue that opened just now, of so many numbers."""
    counter = DynamoDbTicketCounter(desk.dynamodb, table=desk.physical["Ledger"], issuer="private-ca")
    assert counter.change(None, TicketQueue.opened(None, TicketPolicy(rate=rate), desk.now.timestamp()))
    for _ in range(given):
        counter.take()


def wait(desk: Any, device_id: str, number: int, wait: timedelta) -> None:
    held = desk.begin(device_id).never_requested().parked()
    desk.ledger.write(held.waiting(Ticket(number=number, at=desk.now + wait)))


def test_a_queue_shows_its_rate_and_how_many_wait(desk: Any, run: Any) -> None:
    opened(desk, given=7, rate=0.001)
    (found,) = json.loads(run(queue, "--json").stdout)["ticketQueues"]
    assert (found["issuer"], found["open"], found["waiting"], found["given"]) == ("private-ca", True, 7, 7)
    assert found["turnsPerSecond"] == 0.001
    assert found["lastTurnInSeconds"] > 3600
    shown = run(queue).stdout
    assert "open" in shown


def test_a_queue_that_cannot_be_read_is_named_with_its_defect(desk: Any, run: Any) -> None:
    opened(desk, given=1, rate=0.001)
    desk.dynamodb.update_item(
        TableName=desk.physical["Ledger"],
        Key={"device-id": {"S": "tickets#"}, "record": {"S": "tickets#private-ca"}},
        UpdateExpression="REMOVE rate",
    )
    (gap,) = json.loads(run(queue, "--json").stdout)["notRead"]
    assert gap["what"] == "the queues of tickets"
    assert "cannot be read: KeyError: 'rate'" in gap["why"]


def test_the_devices_whose_turns_come_first_are_named_in_order(desk: Any, run: Any) -> None:
    opened(desk, given=4, rate=0.001)
    for number, device_id in enumerate(("late", "next", "passed", "then")):
        wait(desk, device_id, number, {"late": 900, "next": 60, "passed": -60, "then": 120}[device_id] * SECOND)
    found = json.loads(run(queue, "--next", "2", "--json").stdout)["next"]
    assert [one["deviceId"] for one in found] == ["next", "then"]
    assert "next" in run(queue, "--next", "1").stdout


def test_dead_letters_are_counted_and_their_devices_named(desk: Any, run: Any) -> None:
    desk.give_up("Retirement", {"clientId": "dev-1", "principalIdentifier": "ab" * 32})
    desk.give_up("Blocking", {"DDBStreamBatchInfo": "..."})
    letters = json.loads(run(queue, "--json").stdout)["deadLetters"]
    assert {one["kind"]: (one["messages"], one["devices"]) for one in letters} == {
        "blocks": (1, []),
        "retirements": (1, ["dev-1"]),
        "other Regions": (0, []),
    }


def test_nothing_that_waits_is_said(desk: Any, run: Any) -> None:
    shown = run(queue)
    assert "no device ever waited" in shown.stderr
    assert shown.stdout.startswith("DEAD LETTERS")
