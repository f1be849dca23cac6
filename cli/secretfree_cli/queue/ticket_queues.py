"""The queue of tickets of each issuer, and the devices that are next."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.contract import LedgerAttribute, LedgerRecord
from secretfree.issuance.tickets import TicketPolicy, TicketQueue

from secretfree_cli.target import Target

_POLICY: Final = TicketPolicy()
_NAMES: Final = {
    "#device": LedgerAttribute.DEVICE_ID.value,
    "#record": LedgerAttribute.RECORD.value,
    "#ticket": "ticket",
}


@dataclass(frozen=True, kw_only=True)
class IssuerQueue:
    """An issuer's queue at one moment.

    `is_open`: devices get numbers. `waiting`: the count of numbers that wait for their turn. `served`: the last number
    whose turn has come. `given`: the last number. `rate`: turns per second. `last_turn_in`: time until the turn of the
    last number.
    """

    issuer: str
    is_open: bool
    waiting: int
    served: int
    given: int
    rate: float
    last_turn_in: timedelta


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A device that waits for its turn."""

    issuer: str
    number: int
    at: datetime
    device_id: str


def ticket_queues(client: Any, table: str, *, now: datetime) -> Sequence[IssuerQueue]:
    """Query: the queue of each issuer at which a device ever got a number."""
    answer = client.query(
        TableName=table,
        KeyConditionExpression="#device = :tickets",
        ProjectionExpression="#record",
        ExpressionAttributeNames={name: _NAMES[name] for name in ("#device", "#record")},
        ExpressionAttributeValues={":tickets": {"S": LedgerRecord.TICKETS.value}},
    )
    issuers = [item["record"]["S"].removeprefix(LedgerRecord.TICKETS) for item in answer["Items"]]
    read = ((issuer, DynamoDbTicketCounter(client, table=table, issuer=issuer).read()) for issuer in issuers)
    return [_queue(issuer, queue, now.timestamp()) for issuer, queue in read if queue is not None]


def next_devices(target: Target, *, most: int) -> Sequence[Waiting]:
    """The devices with the lowest numbers that still wait. Reads the whole ledger."""
    now = datetime.now(UTC)
    return heapq.nsmallest(
        most, (one for one in _waiting(target) if one.at > now), key=lambda one: (one.at, one.issuer, one.number)
    )


def _queue(issuer: str, queue: TicketQueue, now: float) -> IssuerQueue:
    is_open = queue.is_open(_POLICY, now)
    served = min(queue.given, int(queue.served(now))) if is_open else queue.given
    return IssuerQueue(
        issuer=issuer,
        is_open=is_open,
        waiting=queue.given - served,
        served=served,
        given=queue.given,
        rate=round(queue.rate, 3),
        last_turn_in=timedelta(seconds=round(queue.wait(queue.given, _POLICY, now))),
    )


def _waiting(target: Target) -> Iterator[Waiting]:
    pages = (
        target.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=target.ledger_table,
            FilterExpression="begins_with(#record, :issuance) AND attribute_exists(#ticket)",
            ProjectionExpression=", ".join(_NAMES),
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues={":issuance": {"S": LedgerRecord.ISSUANCE.value}},
        )
    )
    for page in pages:
        for item in page["Items"]:
            yield _device(item)


def _device(item: Mapping[str, Any]) -> Waiting:
    ticket = item["ticket"]["M"]
    return Waiting(
        issuer=item["record"]["S"].removeprefix(LedgerRecord.ISSUANCE),
        number=int(ticket["number"]["N"]),
        at=datetime.fromtimestamp(int(ticket["at"]["N"]) / 1000, UTC),
        device_id=item["device-id"]["S"],
    )
