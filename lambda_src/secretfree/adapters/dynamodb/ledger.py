"""The ledger on DynamoDB: one conditional write for each step, the record's version as its condition."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.contract import LedgerAttribute, LedgerIndex, LedgerRecord
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import CertificateRecordState, StaleLedgerError, ThrottledError, UnreadableRecord
from secretfree.issuance.record import (
    CertificateInUse,
    Issuance,
    IssuanceState,
    Suspect,
    epoch_milliseconds,
    from_epoch_milliseconds,
)
from secretfree.request.device_id import DeviceId
from secretfree.revocation.ports import DeviceRecords

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# DynamoDB deletes the record of a rolled-back issuance after this time without a request.
ABANDONED_KEPT_FOR: Final = timedelta(days=90)

# One value of an index's partition key takes 1,000 writes a second, and taking or giving back a lease costs two or
# four of them: a fleet that gets 202 again and again would throttle the table through its index.
_SHARDS: Final = 16

_ISSUANCE: Final = LedgerRecord.ISSUANCE.value
_CERTIFICATE: Final = LedgerRecord.CERTIFICATE.value
_CONDITION_FAILED: Final = "ConditionalCheckFailed"


class DynamoDbLedger:
    """Port `Ledger`."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def write(self, issuance: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """PutItem, or TransactWriteItems when the certificate's own record goes with it."""
        stored = replace(issuance, version=issuance.version + 1)
        item = _item(stored)
        condition = _condition(issuance)
        with aws_call():
            try:
                if certificate is None:
                    self._client.put_item(
                        TableName=self._table, Item=item, ReturnValuesOnConditionCheckFailure="ALL_OLD", **condition
                    )
                else:
                    self._write_both(item, condition, _certificate_item(stored, certificate))
            except ClientError as error:
                found = _found_instead(error)
                if found is None:
                    raise
                # The SDK repeats a write whose answer was lost: finding one's own record is success.
                if found != item:
                    raise StaleLedgerError(_required(found) if found else None) from None
        return stored

    def _write_both(self, item: dict[str, Any], condition: dict[str, Any], certificate: dict[str, Any]) -> None:
        issuance_put: Any = {
            "TableName": self._table,
            "Item": item,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **condition,
        }
        self._client.transact_write_items(
            TransactItems=[{"Put": issuance_put}, {"Put": {"TableName": self._table, "Item": certificate}}]
        )

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """GetItem, consistent: the device's record at one issuer (port `IssuanceReader`)."""
        item = self._item({"S": device_id}, {"S": _ISSUANCE + issuer})
        return _required(item) if item else None

    def of_device(self, device_id: DeviceId) -> DeviceRecords:
        """Query, consistent, of all that the device has at all issuers, those that were removed since included."""
        issuances: list[Issuance | UnreadableRecord] = []
        references: dict[str, str] = {}
        start: Any = {}
        while True:
            with aws_call():
                page = self._client.query(
                    TableName=self._table,
                    KeyConditionExpression="#device = :device",
                    ExpressionAttributeNames={"#device": "device-id"},
                    ExpressionAttributeValues={":device": {"S": device_id}},
                    ConsistentRead=True,
                    **start,
                )
            for item in page["Items"]:
                record = item["record"]["S"]
                if record.startswith(_ISSUANCE):
                    issuances.append(_readable(item))
                elif record.startswith(_CERTIFICATE) and (reference := _text(item, "reference")) is not None:
                    references[record.removeprefix(_CERTIFICATE)] = reference
            if "LastEvaluatedKey" not in page:
                return DeviceRecords(issuances=tuple(issuances), references=references)
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def bind(self, device_id: DeviceId, fingerprint: str) -> bool:
        """PutItem on condition that no other key is there."""
        with aws_call():
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        "device-id": {"S": device_id},
                        "record": {"S": "binding"},
                        "key-fingerprint": {"S": fingerprint},
                    },
                    ConditionExpression="attribute_not_exists(#fingerprint) OR #fingerprint = :fingerprint",
                    ExpressionAttributeNames={"#fingerprint": "key-fingerprint"},
                    ExpressionAttributeValues={":fingerprint": {"S": fingerprint}},
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def unfinished(self, issuer: str, *, due: datetime, limit: int) -> Sequence[Issuance | UnreadableRecord]:
        """Queries of the sparse index, which holds keys alone, then each record itself, read consistently."""
        keys = [key for shard in range(_SHARDS) for key in self._due(_pending(issuer, shard), due, limit)]
        keys.sort(key=lambda key: int(key["lease-expires"]["N"]))
        items = (self._item(key["device-id"], key["record"]) for key in keys[:limit])
        records = [_readable(item) for item in items if item]
        return [record for record in records if isinstance(record, UnreadableRecord) or _is_due(record, due)]

    def set_aside(self, record: UnreadableRecord, *, until: datetime) -> None:
        """UpdateItem of the index's sort key alone: nothing else of a record that cannot be read is changed."""
        with aws_call():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"device-id": {"S": record.device_id}, "record": {"S": _ISSUANCE + record.issuer}},
                    UpdateExpression="SET #due = :until",
                    ConditionExpression="attribute_exists(#pending)",
                    ExpressionAttributeNames={"#due": "lease-expires", "#pending": "pending"},
                    ExpressionAttributeValues={":until": _date(until)},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def _due(self, pending: str, due: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        with aws_call():
            return self._client.query(
                TableName=self._table,
                IndexName=LedgerIndex.PENDING,
                KeyConditionExpression="#pending = :pending AND #due <= :due",
                ExpressionAttributeNames={"#pending": "pending", "#due": "lease-expires"},
                ExpressionAttributeValues={":pending": {"S": pending}, ":due": {"N": str(epoch_milliseconds(due))}},
                Limit=limit,
            )["Items"]

    def close_certificate(self, device_id: DeviceId, certificate_id: str, *, forget_after: datetime) -> None:
        """UpdateItem of the certificate's record; its time to live is `expires-at`, in epoch seconds."""
        with aws_call():
            self._client.update_item(
                TableName=self._table,
                Key={"device-id": {"S": device_id}, "record": {"S": _CERTIFICATE + certificate_id}},
                UpdateExpression="SET #state = :state, #expires = :expires",
                ExpressionAttributeNames={"#state": "state", "#expires": "expires-at"},
                ExpressionAttributeValues={
                    ":state": {"S": CertificateRecordState.SUPERSEDED.value},
                    ":expires": {"N": str(int(forget_after.timestamp()))},
                },
            )

    def _item(self, device_id: Any, record: Any) -> Mapping[str, Any] | None:
        with aws_call():
            answer = self._client.get_item(
                TableName=self._table, Key={"device-id": device_id, "record": record}, ConsistentRead=True
            )
        return answer.get("Item")


def _is_due(record: Issuance, due: datetime) -> bool:
    return record.due is not None and record.due <= due


def _readable(item: Mapping[str, Any]) -> Issuance | UnreadableRecord:
    """The record of an item; a damaged one is named, so that it does not stop the work on the others."""
    try:
        return _issuance(item)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, SecretFreeError) as error:
        told = error.detail if isinstance(error, SecretFreeError) else str(error)
        return UnreadableRecord(
            device_id=item["device-id"]["S"],
            issuer=item["record"]["S"].removeprefix(_ISSUANCE),
            defect=f"{type(error).__name__}: {told}",
        )


def _required(item: Mapping[str, Any]) -> Issuance:
    """The record of an item; SecretFreeError (`internal`) for a damaged one."""
    record = _readable(item)
    if isinstance(record, UnreadableRecord):
        raise SecretFreeError(
            ErrorCode.INTERNAL,
            f"the ledger's record {_ISSUANCE}{record.issuer} of {record.device_id} cannot be read: {record.defect}",
            reason=Reason.LEDGER_RECORD,
        )
    return record


def _pending(issuer: str, shard: int) -> str:
    return f"{issuer}#{shard}"


def _condition(issuance: Issuance) -> dict[str, Any]:
    if issuance.version == 0:
        return {
            "ConditionExpression": "attribute_not_exists(#record)",
            "ExpressionAttributeNames": {"#record": "record"},
        }
    return {
        "ConditionExpression": "#version = :version",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":version": {"N": str(issuance.version)}},
    }


def _found_instead(error: ClientError) -> Mapping[str, Any] | None:
    """The item that failed the condition (empty: there is none); None when the failure is another one."""
    code = error_code(error)
    response: Mapping[str, Any] = error.response
    if code == "ConditionalCheckFailedException":
        return response.get("Item") or {}
    if code == "TransactionCanceledException":
        reasons = response.get("CancellationReasons") or []
        for reason in reasons:
            if reason.get("Code") == _CONDITION_FAILED:
                return reason.get("Item") or {}
        raise ThrottledError(f"{error.operation_name}: {', '.join(str(reason.get('Code')) for reason in reasons)}")
    return None


def _item(issuance: Issuance) -> dict[str, Any]:
    """The record's item. `pending` is there only while something is left to do: it makes the index sparse."""
    item: dict[str, Any] = {
        "device-id": {"S": str(issuance.device_id)},
        "record": {"S": _ISSUANCE + issuance.issuer},
        "key-fingerprint": {"S": issuance.fingerprint},
        "state": {"S": issuance.state.value},
        "generation": {"N": str(issuance.generation)},
        "version": {"N": str(issuance.version)},
        "begun-at": _date(issuance.begun_at),
        "attempts": {"N": str(issuance.attempts)},
        "replaces-key": {"BOOL": issuance.replaces_key},
        "thing-ensured": {"BOOL": issuance.thing_ensured},
        "withdrawn": {"BOOL": issuance.withdrawn},
    }
    if issuance.due is not None:
        item["pending"] = {"S": _pending(issuance.issuer, crc32(issuance.device_id.encode()) % _SHARDS)}
        item["lease-expires"] = _date(issuance.due)
    for name, moment in (
        ("admission", issuance.admission),
        ("requested-at", issuance.requested_at),
        ("not-after", issuance.not_after),
        ("verified-at", issuance.verified_at),
        ("superseded-until", issuance.superseded_until),
    ):
        if moment is not None:
            item[name] = _date(moment)
    for name, text in (
        ("lease-owner", issuance.lease_owner),
        ("reference", issuance.reference),
        ("certificate-id", issuance.certificate_id),
        ("certificate-arn", issuance.certificate_arn),
        ("certificate", issuance.certificate_pem),
        ("certificate-chain", issuance.chain_pem),
        (LedgerAttribute.LAST_REASON.value, issuance.last_reason),
    ):
        if text is not None:
            item[name] = {"S": str(text)}
    item |= _other_certificates(issuance)
    if issuance.state is IssuanceState.ABANDONED and not issuance.superseded and not issuance.has_leftovers:
        item["expires-at"] = {"N": str(int((issuance.begun_at + ABANDONED_KEPT_FOR).timestamp()))}
    return item


def _issuance(item: Mapping[str, Any]) -> Issuance:
    return Issuance(
        device_id=DeviceId.parse(item["device-id"]["S"]),
        issuer=item["record"]["S"].removeprefix(_ISSUANCE),
        fingerprint=item["key-fingerprint"]["S"],
        state=IssuanceState(item["state"]["S"]),
        generation=int(item["generation"]["N"]),
        version=int(item["version"]["N"]),
        lease_owner=_text(item, "lease-owner"),
        due=_moment(item, "lease-expires"),
        begun_at=from_epoch_milliseconds(int(item["begun-at"]["N"])),
        attempts=int(item["attempts"]["N"]),
        admission=_moment(item, "admission"),
        requested_at=_moment(item, "requested-at"),
        reference=_text(item, "reference"),
        certificate_id=_text(item, "certificate-id"),
        certificate_arn=_text(item, "certificate-arn"),
        certificate_pem=_text(item, "certificate"),
        chain_pem=_text(item, "certificate-chain"),
        not_after=_moment(item, "not-after"),
        verified_at=_moment(item, "verified-at"),
        thing_ensured=bool(item.get("thing-ensured", {}).get("BOOL")),
        replaces_key=bool(item.get("replaces-key", {}).get("BOOL")),
        withdrawn=bool(item.get("withdrawn", {}).get("BOOL")),
        last_reason=_reason(item),
        in_use=_in_use(item["in-use"]["M"]) if "in-use" in item else None,
        superseded=_list(item, "superseded"),
        superseded_until=_moment(item, "superseded-until"),
        obsolete=_list(item, "obsolete"),
        suspects=tuple(_suspect(entry["M"]) for entry in item.get("suspects", {"L": []})["L"]),
    )


def _certificate_item(issuance: Issuance, state: CertificateRecordState) -> dict[str, Any]:
    """The certificate's own record, which outlives the generation: what was issued, for which key, until when."""
    item: dict[str, Any] = {
        "device-id": {"S": str(issuance.device_id)},
        "record": {"S": f"{_CERTIFICATE}{issuance.certificate_id}"},
        "state": {"S": state.value},
        "issuer": {"S": issuance.issuer},
        "generation": {"N": str(issuance.generation)},
        "key-fingerprint": {"S": issuance.fingerprint},
    }
    if issuance.reference is not None:
        item["reference"] = {"S": issuance.reference}
    if issuance.not_after is not None:
        item["not-after"] = _date(issuance.not_after)
    return item


def _other_certificates(issuance: Issuance) -> dict[str, Any]:
    """The attributes of the certificates that this generation has found, or left behind."""
    attributes: dict[str, Any] = {}
    for name, certificates in (("superseded", issuance.superseded), ("obsolete", issuance.obsolete)):
        if certificates:
            attributes[name] = {"L": [{"S": certificate_id} for certificate_id in certificates]}
    if issuance.in_use is not None:
        attributes["in-use"] = {"M": _in_use_item(issuance.in_use)}
    if issuance.suspects:
        attributes["suspects"] = {"L": [_suspect_item(suspect) for suspect in issuance.suspects]}
    return attributes


def _in_use_item(certificate: CertificateInUse) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "certificate-id": {"S": certificate.certificate_id},
        "certificate": {"S": certificate.certificate_pem},
        "not-after": _date(certificate.not_after),
    }
    if certificate.chain_pem is not None:
        entry["certificate-chain"] = {"S": certificate.chain_pem}
    if certificate.verified_at is not None:
        entry["verified-at"] = _date(certificate.verified_at)
    return entry


def _in_use(entry: Mapping[str, Any]) -> CertificateInUse:
    return CertificateInUse(
        certificate_id=entry["certificate-id"]["S"],
        certificate_pem=entry["certificate"]["S"],
        chain_pem=_text(entry, "certificate-chain"),
        not_after=from_epoch_milliseconds(int(entry["not-after"]["N"])),
        verified_at=_moment(entry, "verified-at"),
    )


def _reason(item: Mapping[str, Any]) -> Reason | None:
    """A code that this version does not know counts as none, so that the record stays readable."""
    text = _text(item, LedgerAttribute.LAST_REASON)
    return Reason(text) if text in set(Reason) else None


def _suspect_item(suspect: Suspect) -> dict[str, Any]:
    entry = {"key-fingerprint": {"S": suspect.fingerprint}, "requested-at": _date(suspect.requested_at)}
    return {"M": entry if suspect.reference is None else {**entry, "reference": {"S": suspect.reference}}}


def _suspect(entry: Mapping[str, Any]) -> Suspect:
    requested_at = from_epoch_milliseconds(int(entry["requested-at"]["N"]))
    return Suspect(
        fingerprint=entry["key-fingerprint"]["S"], requested_at=requested_at, reference=_text(entry, "reference")
    )


def _date(moment: datetime) -> dict[str, str]:
    return {"N": str(epoch_milliseconds(moment))}


def _moment(item: Mapping[str, Any], name: str) -> datetime | None:
    return from_epoch_milliseconds(int(item[name]["N"])) if name in item else None


def _text(item: Mapping[str, Any], name: str) -> str | None:
    return str(item[name]["S"]) if name in item else None


def _list(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(entry["S"] for entry in item.get(name, {"L": []})["L"])
