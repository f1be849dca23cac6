"""The ledger's items in DynamoDB's own JSON: how a record is written, and how what is stored is read."""

from collections.abc import Container, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from secretfree.adapters.dynamodb.dates import date_of, date_value
from secretfree.adapters.dynamodb.stored_chains import chain_attributes, chain_of
from secretfree.contract import LedgerAttribute, LedgerRecord
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.other_certificates import CertificateInUse, Suspect
from secretfree.issuance.ports import CertificateRecordState, UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.issuance.tickets import Ticket
from secretfree.request.device_id import DeviceId

# DynamoDB deletes a record that accounts for no certificate after this time without a request: that of a rolled-back
# issuance, or of a device that got a number and never came back.
EMPTY_KEPT_FOR: Final = timedelta(days=90)

# One partition of an index takes 1,000 writes a second. Taking or releasing a lease costs two to four writes. Without
# shards, a fleet that repeatedly gets 202 would throttle the table through its index.
SHARDS: Final = 16

ISSUANCE: Final = LedgerRecord.ISSUANCE.value
CERTIFICATE: Final = LedgerRecord.CERTIFICATE.value


def issuance_item(issuance: Issuance, *, stored_chains: Container[str] = frozenset()) -> dict[str, Any]:
    """The record's item. `stored_chains`: the digests of the chains that have an item of their own."""
    item: dict[str, Any] = {
        "device-id": {"S": str(issuance.device_id)},
        "record": {"S": ISSUANCE + issuance.issuer},
        "key-fingerprint": {"S": issuance.fingerprint},
        "state": {"S": issuance.state.value},
        "generation": {"N": str(issuance.generation)},
        "version": {"N": str(issuance.version)},
        "begun-at": date_value(issuance.begun_at),
        "attempts": {"N": str(issuance.attempts)},
        "replaces-key": {"BOOL": issuance.replaces_key},
        "thing-ensured": {"BOOL": issuance.thing_ensured},
        "withdrawn": {"BOOL": issuance.withdrawn},
    }
    item |= _index_keys(issuance)
    for name, moment in (
        ("admission", issuance.admission),
        ("requested-at", issuance.requested_at),
        ("not-after", issuance.not_after),
        ("verified-at", issuance.verified_at),
        ("superseded-until", issuance.superseded_until),
        ("renewal-requested-at", issuance.renewal_requested_at),
    ):
        if moment is not None:
            item[name] = date_value(moment)
    for name, text in (
        ("lease-owner", issuance.lease_owner),
        ("reference", issuance.reference),
        ("certificate-id", issuance.certificate_id),
        ("certificate-arn", issuance.certificate_arn),
        ("certificate", issuance.certificate_pem),
        (LedgerAttribute.LAST_REASON.value, issuance.last_reason),
        ("renewal-job", issuance.renewal_job),
    ):
        if text is not None:
            item[name] = {"S": str(text)}
    if issuance.ticket is not None:
        item["ticket"] = {"M": _ticket_entry(issuance.ticket)}
    item |= chain_attributes(issuance.chain, stored_chains) | _other_certificates(issuance, stored_chains)
    forget_after = issuance.forget_after
    if forget_after is None and issuance.is_empty:
        begun_at = issuance.begun_at if issuance.ticket is None else max(issuance.begun_at, issuance.ticket.at)
        forget_after = begun_at + EMPTY_KEPT_FOR
    if forget_after is not None:
        item[LedgerAttribute.EXPIRES_AT.value] = {"N": str(int(forget_after.timestamp()))}
    if issuance.forget_after is not None:
        item["forget-after"] = date_value(issuance.forget_after)
    return item


def certificate_item(issuance: Issuance, state: CertificateRecordState) -> dict[str, Any]:
    """The certificate's own record, which outlives the generation: the certificate's id, key and end."""
    item: dict[str, Any] = {
        "device-id": {"S": str(issuance.device_id)},
        "record": {"S": f"{CERTIFICATE}{issuance.certificate_id}"},
        "state": {"S": state.value},
        "issuer": {"S": issuance.issuer},
        "generation": {"N": str(issuance.generation)},
        "key-fingerprint": {"S": issuance.fingerprint},
    }
    if issuance.reference is not None:
        item["reference"] = {"S": issuance.reference}
    if issuance.not_after is not None:
        item["not-after"] = date_value(issuance.not_after)
    return item


def readable_issuance(item: Mapping[str, Any]) -> Issuance | UnreadableRecord:
    """The record of an item, or a description of a damaged one, so that it does not stop the work on others."""
    try:
        return _issuance(item)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, SecretFreeError) as error:
        defect = error.detail if isinstance(error, SecretFreeError) else str(error)
        return UnreadableRecord(
            device_id=item["device-id"]["S"],
            issuer=item["record"]["S"].removeprefix(ISSUANCE),
            defect=f"{type(error).__name__}: {defect}",
        )


def required_issuance(item: Mapping[str, Any]) -> Issuance:
    """The record of an item; SecretFreeError (`internal`) for a damaged one."""
    record = readable_issuance(item)
    if isinstance(record, UnreadableRecord):
        raise SecretFreeError(
            ErrorCode.INTERNAL,
            f"the ledger's record {ISSUANCE}{record.issuer} of {record.device_id} cannot be read: {record.defect}",
            reason=Reason.LEDGER_RECORD,
        )
    return record


def shard_value(issuer: str, shard: int) -> str:
    """The partition key of an index, for the records of an issuer in one of `SHARDS` shards."""
    return f"{issuer}#{shard}"


def text_of(item: Mapping[str, Any], name: str) -> str | None:
    return str(item[name]["S"]) if name in item else None


def _issuance(item: Mapping[str, Any]) -> Issuance:
    return Issuance(
        device_id=DeviceId.parse(item["device-id"]["S"]),
        issuer=item["record"]["S"].removeprefix(ISSUANCE),
        fingerprint=item["key-fingerprint"]["S"],
        state=IssuanceState(item["state"]["S"]),
        generation=int(item["generation"]["N"]),
        version=int(item["version"]["N"]),
        lease_owner=text_of(item, "lease-owner"),
        due=_moment(item, "lease-expires"),
        begun_at=date_of(item, "begun-at"),
        attempts=int(item["attempts"]["N"]),
        admission=_moment(item, "admission"),
        requested_at=_moment(item, "requested-at"),
        reference=text_of(item, "reference"),
        certificate_id=text_of(item, "certificate-id"),
        certificate_arn=text_of(item, "certificate-arn"),
        certificate_pem=text_of(item, "certificate"),
        chain=chain_of(item),
        not_after=_moment(item, "not-after"),
        verified_at=_moment(item, "verified-at"),
        thing_ensured=bool(item.get("thing-ensured", {}).get("BOOL")),
        replaces_key=bool(item.get("replaces-key", {}).get("BOOL")),
        withdrawn=bool(item.get("withdrawn", {}).get("BOOL")),
        last_reason=_reason(item),
        ticket=_ticket(item["ticket"]["M"]) if "ticket" in item else None,
        in_use=_in_use(item["in-use"]["M"]) if "in-use" in item else None,
        superseded=_list(item, "superseded"),
        superseded_until=_moment(item, "superseded-until"),
        obsolete=_list(item, "obsolete"),
        suspects=tuple(_suspect(entry["M"]) for entry in item.get("suspects", {"L": []})["L"]),
        renewal_requested_at=_moment(item, "renewal-requested-at"),
        renewal_job=text_of(item, "renewal-job"),
        forget_after=_moment(item, "forget-after"),
    )


def _index_keys(issuance: Issuance) -> dict[str, Any]:
    """The keys of two sparse indexes: of the unfinished records, and of the devices that have a certificate."""
    shard = {"S": shard_value(issuance.issuer, crc32(issuance.device_id.encode()) % SHARDS)}
    keys: dict[str, Any] = {}
    if issuance.due is not None:
        keys |= {LedgerAttribute.PENDING.value: shard, LedgerAttribute.LEASE_EXPIRES.value: date_value(issuance.due)}
    if issuance.ends_at is not None:
        keys |= {LedgerAttribute.ENDING.value: shard, LedgerAttribute.ENDS_AT.value: date_value(issuance.ends_at)}
    return keys


def _other_certificates(issuance: Issuance, stored_chains: Container[str]) -> dict[str, Any]:
    """The attributes of the other certificates that the record keeps."""
    attributes: dict[str, Any] = {}
    for name, certificates in (("superseded", issuance.superseded), ("obsolete", issuance.obsolete)):
        if certificates:
            attributes[name] = {"L": [{"S": certificate_id} for certificate_id in certificates]}
    if issuance.in_use is not None:
        attributes["in-use"] = {"M": _in_use_item(issuance.in_use, stored_chains)}
    if issuance.suspects:
        attributes["suspects"] = {"L": [_suspect_item(suspect) for suspect in issuance.suspects]}
    return attributes


def _in_use_item(certificate: CertificateInUse, stored_chains: Container[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "certificate-id": {"S": certificate.certificate_id},
        "certificate": {"S": certificate.certificate_pem},
        "not-after": date_value(certificate.not_after),
        **chain_attributes(certificate.chain, stored_chains),
    }
    if certificate.verified_at is not None:
        entry["verified-at"] = date_value(certificate.verified_at)
    if certificate.reference is not None:
        entry["reference"] = {"S": certificate.reference}
    return entry


def _in_use(entry: Mapping[str, Any]) -> CertificateInUse:
    return CertificateInUse(
        certificate_id=entry["certificate-id"]["S"],
        certificate_pem=entry["certificate"]["S"],
        chain=chain_of(entry),
        not_after=date_of(entry, "not-after"),
        verified_at=_moment(entry, "verified-at"),
        reference=text_of(entry, "reference"),
    )


def _suspect_item(suspect: Suspect) -> dict[str, Any]:
    entry = {"key-fingerprint": {"S": suspect.fingerprint}, "requested-at": date_value(suspect.requested_at)}
    return {"M": entry if suspect.reference is None else {**entry, "reference": {"S": suspect.reference}}}


def _suspect(entry: Mapping[str, Any]) -> Suspect:
    requested_at = date_of(entry, "requested-at")
    return Suspect(
        fingerprint=entry["key-fingerprint"]["S"], requested_at=requested_at, reference=text_of(entry, "reference")
    )


def _ticket_entry(ticket: Ticket) -> dict[str, Any]:
    missed = {"missed": {"BOOL": True}} if ticket.missed else {}
    return {"number": {"N": str(ticket.number)}, "at": date_value(ticket.at), **missed}


def _ticket(entry: Mapping[str, Any]) -> Ticket:
    missed = bool(entry.get("missed", {}).get("BOOL", False))
    return Ticket(number=int(entry["number"]["N"]), at=date_of(entry, "at"), missed=missed)


def _reason(item: Mapping[str, Any]) -> Reason | None:
    """A code that this version does not know counts as none, so that the record stays readable."""
    text = text_of(item, LedgerAttribute.LAST_REASON)
    return Reason(text) if text in set(Reason) else None


def _moment(item: Mapping[str, Any], name: str) -> datetime | None:
    return date_of(item, name) if name in item else None


def _list(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(entry["S"] for entry in item.get(name, {"L": []})["L"])
