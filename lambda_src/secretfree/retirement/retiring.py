"""The rule: after a device has connected with a certificate, the older ones of the same record are retired.

Only the holder of the device's key can connect, so the device has the certificate and needs no older one. A device that
lost it requests it again, and gets the same one. The order of the calls, each safe to repeat:

    1  ledger: the device's records   read consistently, at every issuer
    2  ledger: obsolete               by version: from here on, the sweeper completes the work if this process dies.
                                      The other Regions, if any, are notified and do the same
    3  IoT Core: each obsolete one    INACTIVE, detached, deleted
    4  ledger: each closed            its history stays for a while
    5  ledger: cleared                by version; if that fails, the sweeper has done it

A repeated event finds nothing to do. A late event names a certificate that is no longer the latest, and retires only
older ones. An event that arrives before the record says `active` is delivered again.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import StaleLedgerError, StillAttachedError, UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.issuance.sweeping import HISTORY_KEPT_FOR
from secretfree.request.device_id import DeviceId
from secretfree.retirement.connected import Connected

_MOST_TRIES: Final = 4


class RetirementLedger(Protocol):
    """The ledger, by device. Every method raises ThrottledError or UnreachableError."""

    def issuances(self, device_id: DeviceId) -> Sequence[Issuance | UnreadableRecord]:
        """The device's records at every issuer, read consistently."""
        ...

    def write(self, issuance: Issuance, *, connected: bool = False) -> Issuance:
        """See `secretfree.issuance.ports.Ledger.write`.

        `connected` is announced to other Regions in the same transaction.
        """
        ...

    def close_certificate(self, device_id: DeviceId, certificate_id: str, *, forget_after: datetime) -> None:
        """As `secretfree.issuance.ports.Ledger.close_certificate`."""
        ...


class RetiringThings(Protocol):
    """IoT Core's certificates."""

    def retire(self, device_id: DeviceId, certificate_id: str) -> None:
        """As `secretfree.issuance.ports.ThingRegistry.retire`."""
        ...


@dataclass(frozen=True, kw_only=True)
class RetirementPorts:
    """All ports of retirement."""

    ledger: RetirementLedger
    things: RetiringThings


def retire_older(
    connected: Connected, *, ports: RetirementPorts, clock: Clock, history: timedelta = HISTORY_KEPT_FOR
) -> tuple[str, ...] | None:
    """Retire the device's older certificates; return the ids of the deleted ones.

    Returns None if no record of the device has the certificate: it belongs to no device of this product line.

    Raises ThrottledError, UnreachableError and SecretFreeError (`not-ready`): the event must be delivered again. Raises
    SecretFreeError (`conflict`) for a certificate that another product line uses too: it stays unchanged, and the
    sweeper reports it. An unreadable record also stays unchanged, and the sweeper reports it.
    """
    for record in ports.ledger.issuances(connected.device_id):
        if isinstance(record, Issuance) and connected.certificate_id in _line(record):
            return _retire(record, connected, ports=ports, clock=clock, history=history)
    return None


def _line(record: Issuance) -> Sequence[str]:
    own = () if record.certificate_id is None else (record.certificate_id,)
    return (*record.superseded, *own)


def _retire(
    record: Issuance, connected: Connected, *, ports: RetirementPorts, clock: Clock, history: timedelta
) -> tuple[str, ...]:
    marked = _marked(record, connected, ports=ports, clock=clock)
    if marked is None:
        return ()
    gone = []
    for certificate_id in marked.obsolete:
        try:
            ports.things.retire(marked.device_id, certificate_id)
        except StillAttachedError:  # The certificate is inactive. The sweeper deletes it.
            continue
        ports.ledger.close_certificate(marked.device_id, certificate_id, forget_after=clock.now() + history)
        gone.append(certificate_id)
    # A request of the device or the sweeper changed the record. The sweeper finds the certificates deleted and clears
    # it.
    with suppress(StaleLedgerError):
        ports.ledger.write(marked.without_obsolete(gone, clock.now()))
    return tuple(gone)


def _marked(record: Issuance, connected: Connected, *, ports: RetirementPorts, clock: Clock) -> Issuance | None:
    """The record as stored, with the older certificates as obsolete; None: there is nothing to retire."""
    current: Issuance | None = record
    for _try in range(_MOST_TRIES):
        if current is None:  # deleted by its time to live
            return None
        if current.state is IssuanceState.ISSUED and connected.certificate_id == current.certificate_id:
            break
        marked = current.connected_with(connected.certificate_id, clock.now())
        if marked == current:
            return current if _is_left_from_before(current, connected) else None
        try:
            return ports.ledger.write(marked, connected=connected.certificate_id == marked.certificate_id)
        except StaleLedgerError as stale:
            current = stale.current
    raise SecretFreeError(
        ErrorCode.NOT_READY, "the certificate is not recorded as active yet", reason=Reason.LEASE_HELD
    )


def _is_left_from_before(record: Issuance, connected: Connected) -> bool:
    """Whether an earlier, incomplete delivery of this event may have left work."""
    return (
        record.state is IssuanceState.ACTIVE
        and bool(record.obsolete)
        and not record.superseded
        and (connected.certificate_id == record.certificate_id)
    )
