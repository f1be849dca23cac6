"""Deactivates all certificates of a CA that the ledger has, at a bounded rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from botocore.exceptions import ClientError

from secretfree_cli.authorities.ledger_scan import signed_by
from secretfree_cli.authorities.status import NOT_REGISTERED, registration_id
from secretfree_cli.diagnose.collectors.reading import is_absent
from secretfree_cli.pacing import Pace
from secretfree_cli.target import Target

_DELETED: Final = frozenset({"InvalidStateException", "ResourceNotFoundException"})


class Found(StrEnum):
    """The outcome for a certificate."""

    DEACTIVATED = "deactivated"
    INACTIVE = "already-inactive"
    REVOKED = "revoked-before"
    GONE = "gone"


@dataclass(kw_only=True)
class Distrusted:
    """The counts of one run. `revoked_devices`: devices whose certificates were already revoked individually."""

    counts: dict[Found, int] = field(default_factory=lambda: dict.fromkeys(Found, 0))
    revoked_devices: list[str] = field(default_factory=list)


def close_registration(target: Target, authority_arn: str) -> str | None:
    """Set the CA to INACTIVE, so that IoT Core registers none of its certificates; return the former status, or `no`.

    None for a deleted CA: its id at IoT Core can no longer be found.
    """
    iot = target.client("iot")
    try:
        certificate_id = registration_id(target, authority_arn)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _DELETED:
            return None
        raise
    try:
        described = iot.describe_ca_certificate(certificateId=certificate_id)["certificateDescription"]
    except ClientError as error:
        if is_absent(error):
            return NOT_REGISTERED
        raise
    if described["status"] == "ACTIVE":
        iot.update_ca_certificate(certificateId=certificate_id, newStatus="INACTIVE")
    return str(described["status"])


def deactivate(
    target: Target, authority_arn: str, *, pace: Pace, dry_run: bool, reached: Callable[[int], None]
) -> Distrusted:
    """Set the CA's certificates of this stack's devices to INACTIVE. A second run continues where the first ended.

    INACTIVE instead of REVOKED, so that the runtime replaces the certificate at its device's next request. A revoked
    certificate, as of a stolen device, stays revoked, and its device gets no other.
    """
    iot, done = target.client("iot"), Distrusted()
    for number, certificate in enumerate(signed_by(target, authority_arn), start=1):
        pace.wait()
        status = _status(iot, certificate.certificate_id)
        found = {"ACTIVE": Found.DEACTIVATED, "INACTIVE": Found.INACTIVE, None: Found.GONE}.get(status, Found.REVOKED)
        if found is Found.DEACTIVATED and not dry_run:
            iot.update_certificate(certificateId=certificate.certificate_id, newStatus="INACTIVE")
        if found is Found.REVOKED:
            done.revoked_devices.append(certificate.device_id)
        done.counts[found] += 1
        reached(number)
    return done


def _status(iot: Any, certificate_id: str) -> str | None:
    try:
        return str(iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["status"])
    except ClientError as error:
        if is_absent(error):
            return None
        raise
