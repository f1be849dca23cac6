"""What the ledger says about devices' certificates: read here, never written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secretfree_cli.target import Target


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate that a device was given. `not_after` is in epoch milliseconds."""

    certificate_id: str
    state: str
    issuer: str | None
    not_after: int | None

    def is_active(self, now_ms: int) -> bool:
        """Whether the device can connect with it, as far as the ledger knows."""
        return self.state == "active" and (self.not_after is None or self.not_after > now_ms)


class LedgerView:
    """The ledger of a target. A registry named by `--table` alone has none."""

    def __init__(self, target: Target) -> None:
        self._table = target.ledger_table
        self._client: Any = target.client("dynamodb") if self._table is not None else None

    @property
    def is_known(self) -> bool:
        """Whether there is a ledger to ask."""
        return self._table is not None

    def certificates(self, device_id: str) -> Sequence[CertificateRecord]:
        """Return the certificates of a device, read consistently."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#id = :id AND begins_with(#record, :certificate)",
            "ExpressionAttributeNames": {"#id": "device-id", "#record": "record"},
            "ExpressionAttributeValues": {":id": {"S": device_id}, ":certificate": {"S": "certificate#"}},
            "ConsistentRead": True,
        }
        records: list[CertificateRecord] = []
        while True:
            page = self._client.query(**request)
            records += [_record(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return records
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def active_certificates(self, device_id: str) -> Sequence[CertificateRecord]:
        """Return those with which the device can connect."""
        now_ms = int(time.time() * 1000)
        return [record for record in self.certificates(device_id) if record.is_active(now_ms)]


def _record(item: Any) -> CertificateRecord:
    return CertificateRecord(
        certificate_id=item["record"]["S"].removeprefix("certificate#"),
        state=item.get("state", {}).get("S", "unknown"),
        issuer=item.get("issuer", {}).get("S"),
        not_after=int(item["not-after"]["N"]) if "not-after" in item else None,
    )
