"""Selects the devices of a rollout: named ones, a batch's, or those with a certificate of one CA or issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.issuance.ports import UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.request.device_id import DeviceId

from secretfree_cli.devices.listing import Criteria, Listing
from secretfree_cli.target import Target

_ISSUANCE: Final = "issuance#"
_ALL: Final = 10**9


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The selection; None matches any. `authority`: the ARN of the CA that signed the certificate."""

    device_ids: Sequence[str] = ()
    batch: str | None = None
    authority: str | None = None
    issuer: str | None = None

    def takes(self, record: Issuance) -> bool:
        """Whether a record's certificate matches."""
        signed = self.authority is None or (record.reference or "").startswith(f"{self.authority}/certificate/")
        return signed and self.issuer in (None, record.issuer)


def device_ids(target: Target, chosen: Chosen) -> Sequence[str]:
    """Return the ids of the devices that may match, sorted, each once.

    Without ids or a batch, this reads the ledger.
    """
    if chosen.device_ids:
        return sorted(set(chosen.device_ids))
    if chosen.batch is not None:
        listed = Listing(target).devices(Criteria(batch=chosen.batch), limit=_ALL)
        return sorted({device.device_id for device in listed})
    return sorted(set(_with_certificate(target, chosen)))


def records(ledger: DynamoDbLedger, chosen: Chosen) -> Callable[[str], Sequence[Issuance | UnreadableRecord]]:
    """Return a function that reads a device's matching records and its unreadable ones."""

    def read(device_id: str) -> Sequence[Issuance | UnreadableRecord]:
        found = ledger.issuances(DeviceId.parse(device_id))
        return [one for one in found if isinstance(one, UnreadableRecord) or chosen.takes(one)]

    return read


def _with_certificate(target: Target, chosen: Chosen) -> Iterator[str]:
    condition = "begins_with(#record, :issuance) AND #state = :active"
    names = {"#device": "device-id", "#record": "record", "#state": "state"}
    values = {":issuance": {"S": _ISSUANCE + (chosen.issuer or "")}, ":active": {"S": IssuanceState.ACTIVE.value}}
    if chosen.authority is not None:
        condition += " AND begins_with(#reference, :authority)"
        names["#reference"] = "reference"
        values[":authority"] = {"S": f"{chosen.authority}/certificate/"}
    client: Any = target.client("dynamodb")
    pages = client.get_paginator("scan").paginate(
        TableName=target.ledger_table,
        FilterExpression=condition,
        ProjectionExpression="#device",
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=values,
    )
    for page in pages:
        for item in page["Items"]:
            yield item["device-id"]["S"]
