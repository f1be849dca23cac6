"""What the ledger says about devices' certificates: read here, never written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from secretfree_cli.target import Target

# Of an issuance that nobody confirmed yet: the device may have the certificate, and be connected with it.
_USABLE: Final = frozenset({"active", "issued"})
_CERTIFICATE: Final = "certificate#"
_ISSUANCE: Final = "issuance#"


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate that a device was, or is just being, given. `not_after` is in epoch milliseconds."""

    certificate_id: str
    state: str
    issuer: str | None
    not_after: int | None

    def is_active(self, now_ms: int) -> bool:
        """Whether the device can connect with it, as far as the ledger knows."""
        return self.state in _USABLE and (self.not_after is None or self.not_after > now_ms)


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
        """Return the certificates of a device, read consistently.

        A certificate's own record is written last, so one that an issuance knows and has no such record is told too.
        """
        items = list(self._items(device_id))
        records = [_record(item) for item in items if item["record"]["S"].startswith(_CERTIFICATE)]
        recorded = {record.certificate_id for record in records}
        unconfirmed = (item for item in items if item["record"]["S"].startswith(_ISSUANCE) and "certificate-id" in item)
        return [*records, *(_issued(item) for item in unconfirmed if item["certificate-id"]["S"] not in recorded)]

    def active_certificates(self, device_id: str) -> Sequence[CertificateRecord]:
        """Return those with which the device can connect."""
        now_ms = int(time.time() * 1000)
        return [record for record in self.certificates(device_id) if record.is_active(now_ms)]

    def _items(self, device_id: str) -> Iterator[Any]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#id = :id",
            "ExpressionAttributeNames": {"#id": "device-id"},
            "ExpressionAttributeValues": {":id": {"S": device_id}},
            "ConsistentRead": True,
        }
        while True:
            page = self._client.query(**request)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _record(item: Any) -> CertificateRecord:
    return CertificateRecord(
        certificate_id=item["record"]["S"].removeprefix(_CERTIFICATE),
        state=item.get("state", {}).get("S", "unknown"),
        issuer=item.get("issuer", {}).get("S"),
        not_after=int(item["not-after"]["N"]) if "not-after" in item else None,
    )


def _issued(item: Any) -> CertificateRecord:
    return CertificateRecord(
        certificate_id=item["certificate-id"]["S"],
        state=item.get("state", {}).get("S", "unknown"),
        issuer=item["record"]["S"].removeprefix(_ISSUANCE),
        not_after=int(item["not-after"]["N"]) if "not-after" in item else None,
    )
