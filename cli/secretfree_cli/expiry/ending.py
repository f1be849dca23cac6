"""Certificates near their end, from the ledger, and the CA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from secretfree.adapters.dynamodb.dates import date_of
from secretfree.contract import LedgerAttribute

from secretfree_cli.diagnose.collectors import authority
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.target import Target

_ISSUANCE: Final = "issuance#"
_NAMES: Final = {
    "#device": "device-id",
    "#record": "record",
    "#state": "state",
    "#end": "not-after",
    "#certificate": "certificate-id",
    "#ends": LedgerAttribute.ENDS_AT.value,
    "#used": "in-use",
}
# A record that an earlier version wrote has no `ends-at`.
_ENDING: Final = (
    "begins_with(#record, :issuance) AND "
    "(#ends <= :last OR (attribute_not_exists(#ends) AND #state = :active AND #end <= :last))"
)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A certificate or CA with its end. `kind`: `certificate` or `ca`; `name`: the device, or the CA's ARN."""

    kind: str
    name: str
    not_after: datetime
    issuer: str | None = None
    certificate_id: str | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has ended."""
        return self.not_after <= now


def certificates(target: Target, *, now: datetime, within: timedelta) -> Iterator[Ending]:
    """Yield each device's current certificate that ends before `now + within`, or has ended. Reads the whole ledger.

    A renewed certificate is not current, so the devices of the yielded ones have not renewed.
    """
    last = int((now + within).timestamp() * 1000)
    pages = (
        target.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=target.ledger_table,
            FilterExpression=_ENDING,
            ProjectionExpression=", ".join(_NAMES),
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues={
                ":issuance": {"S": _ISSUANCE},
                ":active": {"S": "active"},
                ":last": {"N": str(last)},
            },
        )
    )
    for page in pages:
        for item in page["Items"]:
            yield _certificate(item)


def authorities(target: Target, reading: Reading, *, now: datetime, within: timedelta) -> Iterator[Ending]:
    """Yield the stack's Private CA, if it ends before `now + within`, or has ended."""
    found = authority.read(target, reading)
    if found is not None and found.not_after is not None and found.not_after <= now + within:
        yield Ending(kind="ca", name=found.arn, not_after=found.not_after)


def _certificate(item: Mapping[str, Any]) -> Ending:
    used = item.get("in-use", {}).get("M", item)
    return Ending(
        kind="certificate",
        name=item["device-id"]["S"],
        issuer=item["record"]["S"].removeprefix(_ISSUANCE),
        certificate_id=used.get("certificate-id", {}).get("S"),
        not_after=date_of(item, LedgerAttribute.ENDS_AT if LedgerAttribute.ENDS_AT in item else "not-after"),
    )
