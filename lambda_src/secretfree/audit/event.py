"""An event of the audit trail: the meaning of an item's change, with an allow-list of its fields."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from secretfree.contract import AuditEventName, LedgerAttribute, LedgerRecord, RegistryAttribute
from secretfree.request.device_id import DeviceId

Attributes = Mapping[str, str]
"""An item's attributes of the types text, number and boolean, as text: `true` and `false` for a boolean."""

LONGEST: Final = 256
"""Characters of a value that are kept. Only free text of the operator, such as the reason of a block, can be longer."""


@dataclass(frozen=True, kw_only=True)
class ItemChange:
    """One change of an item of the registry or the ledger. An image that did not exist is None.

    `change_id` is DynamoDB's id of the change. Repeated deliveries of a change have the same id. `expired`: the time to
    live removed the item.
    """

    change_id: str
    at: datetime
    device_id: str
    record: str | None
    """The ledger's sort key; None for an item of the registry."""
    before: Attributes | None
    after: Attributes | None
    expired: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """What happened to a device, as it is stored in the bucket."""

    event: AuditEventName
    at: datetime
    device_id: str
    change_id: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_line(self) -> str:
        """One line of JSON, with its line end: Firehose joins records as they are."""
        document = {
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": self.event.value,
            "deviceId": self.device_id,
            "changeId": self.change_id,
            **self.fields,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"


def shard_of(device_id: str) -> str:
    """The folder of a device's events, one of 256: two hex digits, so that reading one device reads few objects."""
    return sha256(device_id.encode()).hexdigest()[:2]


def event_of(change: ItemChange) -> AuditEvent | None:
    """The event of a change; None for a change without evidence, such as a lease or a step of an issuance."""
    if change.record is None:
        return _of_registry(change)
    for prefix, rule in (
        (LedgerRecord.CERTIFICATE, _of_certificate),
        (LedgerRecord.REISSUE, _of_reissue),
        (LedgerRecord.RENEWAL, _of_renewal),
        (LedgerRecord.ISSUANCE, _of_issuance),
    ):
        if change.record.startswith(prefix):
            return rule(change, change.record.removeprefix(prefix))
    return _of_binding(change) if change.record == _BINDING else None


def _of_registry(change: ItemChange) -> AuditEvent | None:
    before, after = change.before, change.after
    if not DeviceId.is_valid(change.device_id):
        return None  # an item that reserves a key or stands for a batch
    if after is None:
        return _event(change, AuditEventName.REMOVED, before or {}, _REGISTRY_FIELDS)
    if before is None:
        return _event(change, AuditEventName.ENROLLED, after, _REGISTRY_FIELDS)
    if (status := _status(after)) != (former_status := _status(before)):
        name = _OF_STATUS.get(status, AuditEventName.STATUS_CHANGED)
        anew = former_status == _RETIRED  # an id that was retired is enrolled, not unblocked
        return _event(change, AuditEventName.ENROLLED if anew else name, after, _REGISTRY_FIELDS)
    if any(before.get(name) != after.get(name) for name in _KEY):
        former = {"formerKeyFingerprint": before.get(RegistryAttribute.KEY_FINGERPRINT, "")}
        return _event(change, AuditEventName.KEY_REPLACED, after, _REGISTRY_FIELDS, former)
    return _event(change, AuditEventName.RECORD_CHANGED, after, _REGISTRY_FIELDS) if before != after else None


def _of_certificate(change: ItemChange, certificate_id: str) -> AuditEvent | None:
    named = {"certificateId": certificate_id}
    if change.after is None:
        # The time to live removes old records. Any other removal destroys evidence, so it is an event.
        known = change.before or {}
        removed = AuditEventName.LEDGER_RECORD_REMOVED
        return None if change.expired else _event(change, removed, known, _CERTIFICATE_FIELDS, named)
    state = change.after.get("state")
    name = _OF_STATE.get(state or "")
    if name is None or (change.before or {}).get("state") == state:
        return None
    return _event(change, name, change.after, _CERTIFICATE_FIELDS, named)


def _of_reissue(change: ItemChange, issuer: str) -> AuditEvent | None:
    if change.after is None or change.after == change.before:
        return None
    return _event(change, AuditEventName.REISSUE_ALLOWED, change.after, _REISSUE_FIELDS, {"issuer": issuer})


def _of_renewal(change: ItemChange, issuer: str) -> AuditEvent | None:
    if change.after is None or change.after.get("job") == (change.before or {}).get("job"):
        return None
    return _event(change, AuditEventName.RENEWAL_REQUESTED, change.after, _RENEWAL_FIELDS, {"issuer": issuer})


def _of_issuance(change: ItemChange, issuer: str) -> AuditEvent | None:
    before, after, named = change.before or {}, change.after or {}, {"issuer": issuer}
    if change.after is None:
        name = AuditEventName.LEDGER_RECORD_REMOVED
        return None if change.expired else _event(change, name, before, _ISSUANCE_FIELDS, named)
    reason = after.get(LedgerAttribute.LAST_REASON)
    if reason is not None and reason != before.get(LedgerAttribute.LAST_REASON):
        return _event(change, AuditEventName.ISSUANCE_REFUSED, after, _ISSUANCE_FIELDS, named)
    return None


def _of_binding(change: ItemChange) -> AuditEvent | None:
    if change.after is None or change.after == change.before:
        return None
    return _event(change, AuditEventName.KEY_BOUND, change.after, _BINDING_FIELDS)


def _event(
    change: ItemChange,
    name: AuditEventName,
    item: Attributes,
    fields: Mapping[str, str],
    more: Mapping[str, str] | None = None,
) -> AuditEvent:
    kept = {shown: item[attribute] for attribute, shown in fields.items() if item.get(attribute)}
    kept |= {shown: value for shown, value in (more or {}).items() if value}
    return AuditEvent(
        event=name,
        at=change.at,
        device_id=change.device_id,
        change_id=change.change_id,
        fields={shown: value[:LONGEST] for shown, value in kept.items()},
    )


def _status(attributes: Attributes) -> str:
    return attributes.get(RegistryAttribute.STATUS, "allowed")


_BINDING: Final = "binding"
_KEY: Final = (RegistryAttribute.KEY_FINGERPRINT, RegistryAttribute.PUBLIC_KEY)
_RETIRED: Final = "retired"
_OF_STATUS: Final = {
    "blocked": AuditEventName.BLOCKED,
    "allowed": AuditEventName.UNBLOCKED,
    _RETIRED: AuditEventName.RETIRED,
}
_OF_STATE: Final = {
    "active": AuditEventName.ISSUED,
    "superseded": AuditEventName.SUPERSEDED,
    "revoked": AuditEventName.REVOKED,
}
_REGISTRY_FIELDS: Final = {
    RegistryAttribute.KEY_FINGERPRINT: "keyFingerprint",
    RegistryAttribute.STATUS: "status",
    RegistryAttribute.BATCH: "batch",
    "enrolled-at": "enrolledAt",
    "source": "source",
    "not-before": "notBefore",
    "blocked-reason": "blockedReason",
    "blocked-at": "blockedAt",
    "retired-reason": "retiredReason",
    "retired-at": "retiredAt",
}
_CERTIFICATE_FIELDS: Final = {
    "issuer": "issuer",
    "generation": "generation",
    "key-fingerprint": "keyFingerprint",
    "not-after": "notAfterMilliseconds",
}
_REISSUE_FIELDS: Final = {"reason": "reason", "by": "by", "generation": "generation"}
_RENEWAL_FIELDS: Final = {"reason": "reason", "by": "by", "job": "job"}
_ISSUANCE_FIELDS: Final = {
    "state": "state",
    "generation": "generation",
    "key-fingerprint": "keyFingerprint",
    LedgerAttribute.LAST_REASON: "reason",
    "certificate-id": "certificateId",
}
_BINDING_FIELDS: Final = {"key-fingerprint": "keyFingerprint"}
