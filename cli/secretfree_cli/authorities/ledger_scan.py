"""Finds the devices with a certificate of a CA in the ledger. A count reads the whole ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from secretfree.contract import LedgerAttribute, LedgerRecord

from secretfree_cli.target import Target

UNKNOWN: Final = "unknown"
"""Stands for an unknown CA: the ledger has no reference of the certificate."""
_CERTIFICATE_PART: Final = "/certificate/"
_USABLE: Final = frozenset({"active", "issued"})
_NAMES: Final = {
    "#device": LedgerAttribute.DEVICE_ID.value,
    "#record": LedgerAttribute.RECORD.value,
    "#state": "state",
    "#reference": "reference",
    "#certificate": "certificate-id",
    "#in_use": "in-use",
}
_PROJECTION: Final = "#device, #record, #state, #reference, #certificate, #in_use.#reference, #in_use.#certificate"


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """The number of devices with a certificate in use by issuer and CA's ARN, and the count's read units."""

    devices: Counter[tuple[str, str]] = field(default_factory=Counter)
    read_units: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SignedCertificate:
    """A certificate that a CA signed for a device and that may be in use."""

    device_id: str
    certificate_id: str


def count_devices(target: Target) -> Remaining:
    """Count the devices by the CA of the certificate that each has in use. Devices without one are not counted."""
    devices: Counter[tuple[str, str]] = Counter()
    units = 0.0
    for page in _pages(target, "begins_with(#record, :record)", {":record": {"S": LedgerRecord.ISSUANCE.value}}):
        units += page["ConsumedCapacity"]["CapacityUnits"] if "ConsumedCapacity" in page else 0.0
        for item in page["Items"]:
            used = _in_use(item)
            if used is not None:
                issuer = item["record"]["S"].removeprefix(LedgerRecord.ISSUANCE.value)
                devices[issuer, authority_of(_text(used, "reference"))] += 1
    return Remaining(devices=devices, read_units=units)


def signed_by(target: Target, authority_arn: str) -> Iterator[SignedCertificate]:
    """Yield each certificate of a CA that may be in use according to the ledger, once."""
    prefix = authority_arn + _CERTIFICATE_PART
    seen: set[str] = set()
    condition = "begins_with(#reference, :prefix) OR begins_with(#in_use.#reference, :prefix)"
    for page in _pages(target, condition, {":prefix": {"S": prefix}}):
        for item in page["Items"]:
            for certificate_id in _usable(item, prefix):
                if certificate_id not in seen:
                    seen.add(certificate_id)
                    yield SignedCertificate(device_id=item["device-id"]["S"], certificate_id=certificate_id)


def authority_of(reference: str | None) -> str:
    """Return the ARN of the CA in a reference, which is a certificate's ARN."""
    authority, separator, _ = (reference or "").partition(_CERTIFICATE_PART)
    return authority if separator else UNKNOWN


def _pages(target: Target, condition: str, values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    # A request reads 1 MB at most and waits for the previous one. Nothing else limits the rate.
    yield from (
        target.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=target.ledger_table,
            FilterExpression=condition,
            ProjectionExpression=_PROJECTION,
            ExpressionAttributeNames={**_NAMES},
            ExpressionAttributeValues=values,
            ReturnConsumedCapacity="TOTAL",
        )
    )


def _in_use(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The certificate that the device gets: the generation's own, or the former one while that is being issued."""
    if _text(item, "state") in _USABLE:
        return item
    kept: Mapping[str, Any] | None = item.get("in-use", {}).get("M")
    return kept or None


def _usable(item: Mapping[str, Any], prefix: str) -> Iterator[str]:
    record = item["record"]["S"]
    if record.startswith(LedgerRecord.CERTIFICATE.value):
        # A superseded certificate is usable until it is deleted. A revoked one is not.
        if _text(item, "state") != "revoked":
            yield record.removeprefix(LedgerRecord.CERTIFICATE.value)
        return
    for part in (item, item.get("in-use", {}).get("M", {})):
        certificate_id = _text(part, "certificate-id")
        revoked = part is item and _text(item, "state") == "revoked"
        if certificate_id is not None and not revoked and (_text(part, "reference") or "").startswith(prefix):
            yield certificate_id


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)
