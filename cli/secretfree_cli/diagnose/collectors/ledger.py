"""The device's records in the ledger: issuances and certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import LedgerRecord
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.target import Target

_WHAT = "the ledger"
_ISSUANCE = LedgerRecord.ISSUANCE.value
_CERTIFICATE = LedgerRecord.CERTIFICATE.value


def read(target: Target, reading: Reading, device_id: str | None) -> tuple[Sequence[Issuance], Mapping[str, str]]:
    """Return the issuances, and every certificate's id with its issuer."""
    if device_id is None or not DeviceId.is_valid(device_id):
        return (), {}
    if target.ledger_table is None:
        reading.gap(_WHAT, "the target has none: name the stack with --stack")
        return (), {}
    client = target.client("dynamodb")
    issuances: list[Issuance] = []
    known: dict[str, str] = {}
    table = target.ledger_table
    for item in reading.attempt(_WHAT, lambda: list(_items(client, table, device_id))) or ():
        record = item["record"]["S"]
        if record.startswith(_ISSUANCE):
            issuances += _issuance(client, table, device_id, record, reading)
        elif record.startswith(_CERTIFICATE):
            known[record.removeprefix(_CERTIFICATE)] = item.get("issuer", {}).get("S", "unknown")
    known |= {issuance.certificate_id: issuance.issuer for issuance in issuances if issuance.certificate_id}
    return issuances, known


def _items(client: Any, table: str, device_id: str) -> Iterator[Mapping[str, Any]]:
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="#id = :id",
        ExpressionAttributeNames={"#id": "device-id"},
        ExpressionAttributeValues={":id": {"S": device_id}},
        ConsistentRead=True,
    )
    for page in pages:
        yield from page["Items"]


def _issuance(client: Any, table: str, device_id: str, record: str, reading: Reading) -> list[Issuance]:
    """The record as the runtime reads it. An unreadable record is a gap."""
    issuer = record.removeprefix(_ISSUANCE)
    try:
        found = DynamoDbLedger(client, table=table).read(DeviceId.parse(device_id), issuer)
    except (ThrottledError, UnreachableError, SecretFreeError, KeyError, ValueError, TypeError) as error:
        reading.gap(f"the ledger's record {record}", f"{type(error).__name__}: it cannot be read")
        return []
    return [] if found is None else [found]
