"""Reads a device's issuances and certificates from the ledger. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from secretfree.contract import LedgerAttribute, LedgerRecord
from secretfree.errors import Reason

from secretfree_cli.target import Target

# A certificate of an unconfirmed issuance counts too: the device may have it and be connected with it.
_USABLE: Final = frozenset({"active", "issued"})
_IN_WORK: Final = frozenset({"requesting", "requested", "issued"})
_CERTIFICATE: Final = LedgerRecord.CERTIFICATE.value
_ISSUANCE: Final = LedgerRecord.ISSUANCE.value
_REISSUE: Final = LedgerRecord.REISSUE.value


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate that a device has, or is about to get. `not_after` is in epoch milliseconds."""

    certificate_id: str
    state: str
    issuer: str | None
    not_after: int | None

    def is_active(self, now_ms: int) -> bool:
        """Whether the device can connect with it, according to the ledger."""
        return self.state in _USABLE and (self.not_after is None or self.not_after > now_ms)


@dataclass(frozen=True)
class IssuanceRecord:
    """The state of a device's issuance at one issuer."""

    issuer: str
    state: str
    """A value of `secretfree.issuance.record.IssuanceState`."""
    generation: int
    begun_at: datetime | None
    attempts: int
    """Requests of the device since then."""
    lease_owner: str | None
    due: datetime | None
    """When a held lease expires, or when the sweeper processes the record."""
    last_reason: str | None
    """A value of `secretfree.errors.Reason`: why the last request did not finish."""
    fingerprint: str | None
    certificate_id: str | None
    in_use_until: datetime | None = None
    """While the next certificate is being issued: the end of the one in use."""
    reissue: Mapping[str, str] | None = None
    """`reason`, `by` and `at` of the last `secretfree reissue`."""

    @property
    def is_in_work(self) -> bool:
        """Whether a certificate is being issued."""
        return self.state in _IN_WORK


class LedgerView:
    """The ledger of a target. A registry named by `--table` has none."""

    def __init__(self, target: Target) -> None:
        self._table = target.ledger_table
        self._client: Any = target.client("dynamodb") if self._table is not None else None

    @property
    def is_known(self) -> bool:
        """Whether there is a ledger to read."""
        return self._table is not None

    def certificates(self, device_id: str) -> Sequence[CertificateRecord]:
        """Return the certificates of a device, read consistently.

        An issuance writes a certificate's own record last. A certificate without such a record is included.
        """
        return _certificates(list(self._items(device_id)))

    def records(self, device_id: str) -> tuple[Sequence[IssuanceRecord], Sequence[CertificateRecord]]:
        """Return the issuances and the certificates of a device from one consistent read."""
        items = list(self._items(device_id))
        reissues = {
            item["record"]["S"].removeprefix(_REISSUE): {
                name: _text(item, name) or "" for name in ("reason", "by", "at")
            }
            for item in items
            if item["record"]["S"].startswith(_REISSUE)
        }
        found = [_issuance(item) for item in items if item["record"]["S"].startswith(_ISSUANCE)]
        issuances = [replace(one, reissue=reissues.get(one.issuer)) for one in found]
        return issuances, _certificates(items)

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


def moment_of(milliseconds: int | None) -> datetime | None:
    """Return a date of the ledger."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _certificates(items: Sequence[Any]) -> Sequence[CertificateRecord]:
    records = [_record(item) for item in items if item["record"]["S"].startswith(_CERTIFICATE)]
    recorded = {record.certificate_id for record in records}
    unconfirmed = (item for item in items if item["record"]["S"].startswith(_ISSUANCE) and "certificate-id" in item)
    return [*records, *(_issued(item) for item in unconfirmed if item["certificate-id"]["S"] not in recorded)]


def _record(item: Any) -> CertificateRecord:
    return CertificateRecord(
        certificate_id=item["record"]["S"].removeprefix(_CERTIFICATE),
        state=_text(item, "state") or "unknown",
        issuer=_text(item, "issuer"),
        not_after=_number(item, "not-after"),
    )


def _issued(item: Any) -> CertificateRecord:
    return CertificateRecord(
        certificate_id=item["certificate-id"]["S"],
        state=_text(item, "state") or "unknown",
        issuer=item["record"]["S"].removeprefix(_ISSUANCE),
        not_after=_number(item, "not-after"),
    )


def _issuance(item: Any) -> IssuanceRecord:
    return IssuanceRecord(
        issuer=item["record"]["S"].removeprefix(_ISSUANCE),
        state=_text(item, "state") or "unknown",
        generation=_number(item, "generation") or 0,
        begun_at=moment_of(_number(item, "begun-at")),
        attempts=_number(item, "attempts") or 0,
        lease_owner=_text(item, "lease-owner"),
        due=moment_of(_number(item, "lease-expires")),
        last_reason=_reason(item),
        fingerprint=_text(item, "key-fingerprint"),
        certificate_id=_text(item, "certificate-id"),
        in_use_until=moment_of(_number(item.get("in-use", {}).get("M", {}), "not-after")),
    )


def _reason(item: Mapping[str, Any]) -> str | None:
    """The code, if it is a known one. Other text is not printed."""
    text = _text(item, LedgerAttribute.LAST_REASON)
    return text if text in set(Reason) else None


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def _number(item: Mapping[str, Any], name: str) -> int | None:
    value = item.get(name, {}).get("N")
    return None if value is None else int(value)
