"""The report of `secretfree show` on one device: registry, issuances, and IoT Core compared with the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.aws_failures import explain_aws_error
from secretfree_cli.devices.enrolled import describe
from secretfree_cli.devices.iot_view import ACTIVE, IotCertificate, IotThing, IotView
from secretfree_cli.devices.ledger_view import CertificateRecord, IssuanceRecord, LedgerView, moment_of
from secretfree_cli.output import emit_fields, rfc3339
from secretfree_cli.target import Target

_NOT_ENROLLED: Final = "not-enrolled"


@dataclass(frozen=True)
class CertificateReport:
    """One certificate, as the ledger and IoT Core have it. Either may be missing."""

    certificate_id: str
    recorded: CertificateRecord | None
    registered: IotCertificate | None


@dataclass(frozen=True)
class DeviceReport:
    """The registry's, the ledger's and IoT Core's data of a device."""

    device_id: str
    enrolled: EnrolledDevice | None
    issuances: Sequence[IssuanceRecord] = ()
    certificates: Sequence[CertificateReport] = ()
    thing: IotThing | None = None
    iot_core_failure: str | None = None
    """Why IoT Core could not be read."""
    policy_name: str | None = None
    """The policy that each certificate should have."""
    has_ledger: bool = True
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_known(self) -> bool:
        """Whether registry, ledger or IoT Core has the device."""
        return bool(self.enrolled or self.issuances or self.certificates or self.thing)

    @property
    def warnings(self) -> Sequence[str]:
        """The defects, one sentence each."""
        found = list(self._about_issuances())
        for one in self.certificates:
            found += self._about(one)
        if self.iot_core_failure is not None:
            found.append(f"IoT Core could not be read: {self.iot_core_failure}")
        return found

    def document(self) -> dict[str, object]:
        """Return it for `--json`."""
        known: dict[str, object] = (
            {"deviceId": self.device_id, "status": _NOT_ENROLLED} if self.enrolled is None else describe(self.enrolled)
        )
        if self.has_ledger:
            known["issuances"] = [_issuance_document(one, self.now) for one in self.issuances]
        if self.has_ledger or self.certificates:
            known["certificates"] = [self._certificate_document(one) for one in self.certificates]
        if self.iot_core_failure is None:
            known["thing"] = (
                None
                if self.thing is None
                else {"thingType": self.thing.thing_type, "certificateIds": list(self.thing.certificate_ids)}
            )
        known["warnings"] = list(self.warnings)
        return known

    def _certificate_document(self, one: CertificateReport) -> dict[str, object]:
        recorded, registered = one.recorded, one.registered
        document: dict[str, object] = {
            "certificateId": one.certificate_id,
            "state": None if recorded is None else recorded.state,
            "issuer": None if recorded is None else recorded.issuer,
            "notAfter": None if recorded is None else rfc3339(moment_of(recorded.not_after)),
        }
        if self.iot_core_failure is None:
            document["iotCore"] = (
                None
                if registered is None
                else {
                    "status": registered.status,
                    "policies": list(registered.policies),
                    "policyAttached": None if self.policy_name is None else self.policy_name in registered.policies,
                    "thingAttached": self.device_id in registered.things,
                }
            )
        return document

    def _about_issuances(self) -> Iterator[str]:
        for one in self.issuances:
            if one.is_in_work:
                reason = f"; last reason: {one.last_reason}" if one.last_reason else ""
                since = rfc3339(one.begun_at)
                answer = "gets its former certificate" if _has_one(one, self.now) else "gets 202"
                yield f"{one.issuer}: the device {answer} since {since}, after {one.attempts} requests{reason}"

    def _about(self, one: CertificateReport) -> Iterator[str]:
        name, registered, recorded = f"certificate {one.certificate_id}", one.registered, one.recorded
        is_good = recorded is not None and recorded.is_active(int(self.now.timestamp() * 1000))
        if self.iot_core_failure is None and is_good and (registered is None or registered.status != ACTIVE):
            state = "does not have it" if registered is None else f"says {registered.status}"
            yield f"{name}: the ledger says {recorded.state if recorded else ''}, but IoT Core {state}"
        if registered is None or registered.status != ACTIVE:
            return
        if self.has_ledger and recorded is None:
            yield f"{name}: active at IoT Core, but the ledger has no record of it"
        if recorded is not None and not is_good:
            yield f"{name}: active at IoT Core, but the ledger says {recorded.state}, or it has expired"
        if self.policy_name is not None and self.policy_name not in registered.policies:
            yield f"{name}: the policy {self.policy_name} is not attached"
        if self.device_id not in registered.things:
            yield f"{name}: the thing {self.device_id} is not attached"
        if self.enrolled is None:
            yield f"{name}: active, but the device is not enrolled"
        elif self.enrolled.status is DeviceStatus.BLOCKED:
            yield f"{name}: still active. Blocking stops new certificates and revokes none"


def report_on(target: Target, device_id: str, enrolled: EnrolledDevice | None) -> DeviceReport:
    """Read the ledger and IoT Core. If IoT Core cannot be read, the report has the cause instead."""
    ledger = LedgerView(target)
    issuances, recorded = ledger.records(device_id) if ledger.is_known else ((), ())
    by_id: dict[str, CertificateRecord | None] = {one.certificate_id: one for one in recorded}
    failure, thing = None, None
    registered: dict[str, IotCertificate | None] = {}
    try:
        iot = IotView(target)
        thing = iot.thing(device_id)
        by_id = {**dict.fromkeys(thing.certificate_ids if thing else ()), **by_id}
        registered = {certificate_id: iot.certificate(certificate_id) for certificate_id in by_id}
    except (BotoCoreError, ClientError) as error:
        explained = explain_aws_error(error)
        failure = str(error) if explained is None else explained.message
    return DeviceReport(
        device_id=device_id,
        enrolled=enrolled,
        issuances=issuances,
        certificates=[CertificateReport(name, record, registered.get(name)) for name, record in by_id.items()],
        thing=thing,
        iot_core_failure=failure,
        policy_name=target.policy_name,
        has_ledger=ledger.is_known,
    )


def emit_report(report: DeviceReport) -> None:
    """Write the report for people: registry, issuances, certificates, warnings."""
    document = report.document()
    rest = {name: document.pop(name, None) for name in ("issuances", "certificates", "thing", "warnings")}
    emit_fields(document)
    if report.thing is not None:
        emit_fields({"thing": f"{report.device_id} (type {report.thing.thing_type or 'none'})"})
    for one in report.issuances:
        emit_fields({"issuance": _issuance_line(one, report.now)})
    for shown in rest["certificates"] if isinstance(rest["certificates"], list) else ():
        emit_fields({"certificate": _certificate_line(shown)})
    for warning in report.warnings:
        emit_fields({"warning": warning})


def _issuance_document(one: IssuanceRecord, now: datetime) -> dict[str, object]:
    return {
        "issuer": one.issuer,
        "state": one.state,
        "generation": one.generation,
        "since": rfc3339(one.begun_at),
        "attempts": one.attempts,
        "leaseExpires": rfc3339(one.due) if _is_leased(one, now) else None,
        "nextSweep": rfc3339(one.due) if one.lease_owner is None else None,
        "lastReason": one.last_reason,
        "inUseUntil": rfc3339(one.in_use_until),
        "certificateId": one.certificate_id,
        "lastReissue": None if one.reissue is None else dict(one.reissue),
    }


def _has_one(one: IssuanceRecord, now: datetime) -> bool:
    return one.in_use_until is not None and now < one.in_use_until


def _is_leased(one: IssuanceRecord, now: datetime) -> bool:
    return one.lease_owner is not None and one.due is not None and now < one.due


def _issuance_line(one: IssuanceRecord, now: datetime) -> str:
    words = [f"{one.issuer}: {one.state}", f"generation {one.generation}", f"since {rfc3339(one.begun_at)}"]
    if one.is_in_work:
        lease = f"held until {rfc3339(one.due)}" if _is_leased(one, now) else "free"
        words += [f"{one.attempts} requests", f"lease {lease}"]
        if one.in_use_until is not None:
            words.append(f"former certificate in use until {rfc3339(one.in_use_until)}")
    if one.is_in_work or one.last_reason is not None:
        words.append(f"last reason {one.last_reason or 'not recorded'}")
    if one.reissue is not None:
        words.append(f"reissue asked for {one.reissue['at']} by {one.reissue['by']}: {one.reissue['reason']}")
    return ", ".join(words)


def _certificate_line(shown: Mapping[str, Any]) -> str:
    words = [f"{shown['certificateId']} {shown['state'] or 'not in the ledger'}"]
    if shown["notAfter"]:
        words.append(f"until {shown['notAfter']}")
    if "iotCore" in shown:
        there = shown["iotCore"]
        words.append("not at IoT Core" if there is None else f"IoT Core: {there['status']}")
        if there is not None:
            words.append(f"policies {', '.join(there['policies']) or 'none'}")
            words.append("thing attached" if there["thingAttached"] else "thing not attached")
    return ", ".join(words)
