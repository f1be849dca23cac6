"""The rule of revocation: revoke the certificates that the registry no longer permits, and end the device's connection.

The order of the calls, each safe to repeat:

    1  registry: the device     read consistently: its present state decides, not the state in the stream
    2  ledger: its records      read consistently, at every issuer
    3  ledger: withdrawn        by version, so that a worker that is issuing can no longer write
    4  IoT Core: REVOKED        every certificate of those records
    5  IoT Core: connection     ended; the device cannot connect again
    6  Private CA: revoked      if the CA accepts revocations

A process that dies after step 3 leaves a record that is due: the stream delivers the change again, and the sweeper
repeats step 4. A worker whose calls were under way at step 3 may register or activate its certificate after step 4.
That worker revokes the certificate itself when its last write fails; if it dies before that, the sweeper does so after
the worker's lease has expired (`secretfree.issuance.pipeline`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secretfree.clock import Clock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import CertificateRecordState, StaleLedgerError, UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.registry.entry import RegistryEntry
from secretfree.revocation.change import RegistryChange, permits
from secretfree.revocation.ports import RevocationPorts

# A worker writes at most four times, so one of these tries succeeds between its writes.
_MOST_TRIES: Final = 6


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """The result. `certificates`: the ids of the revoked ones; `connection_ended`: there was a connection."""

    certificates: tuple[str, ...] = ()
    connection_ended: bool = False


def revoke_withdrawn(change: RegistryChange, *, ports: RevocationPorts, match: MatchPolicy, clock: Clock) -> Revoked:
    """Revoke the certificates that `change` or the registry's present entry withdraws.

    Raises ThrottledError, UnreachableError and SecretFreeError: the change must be delivered again. So must it for an
    unreadable record, after the others are processed.
    """
    entry = ports.registry.by_device_id(change.device_id)
    found = ports.ledger.of_device(change.device_id)
    work = _Work(change=change, entry=entry, ports=ports, match=match, clock=clock)
    ended = tuple(
        certificate_id
        for record in found.issuances
        if isinstance(record, Issuance)
        for certificate_id in work.withdraw(record)
    )
    for certificate_id in ended:
        ports.certificates.revoke(certificate_id)
    connection_ended = bool(ended) and ports.connections.end(change.device_id)
    references = {**found.references, **_current_references(found.issuances)}
    for certificate_id in ended:
        if certificate_id in references:
            ports.authorities.revoke(references[certificate_id])
    _require_readable(found.issuances)
    return Revoked(certificates=ended, connection_ended=connection_ended)


@dataclass(frozen=True, kw_only=True)
class _Work:
    change: RegistryChange
    entry: RegistryEntry | None
    ports: RevocationPorts
    match: MatchPolicy
    clock: Clock

    def withdraw(self, record: Issuance) -> Sequence[str]:
        """Withdraw a record that the registry no longer permits; return the certificates to revoke."""
        current: Issuance | None = record
        for _try in range(_MOST_TRIES):
            if current is None:  # Deleted by its time to live: none of its certificates is active.
                return ()
            if self._keeps(current):
                return sorted({*current.superseded, *current.obsolete}) if current.replaces_key else ()
            certificates = sorted(current.known_certificates)
            withdrawn = current.withdrawn_at(self.clock.now())
            if withdrawn == current:
                return certificates
            state = CertificateRecordState.REVOKED if withdrawn.state is IssuanceState.REVOKED else None
            try:
                self.ports.ledger.write(withdrawn, certificate=state)
            except StaleLedgerError as stale:
                current = stale.current
            else:
                return certificates
        raise SecretFreeError(
            ErrorCode.UNAVAILABLE,
            f"the record {record.issuer} changed at each of {_MOST_TRIES} tries",
            reason=Reason.LEASE_HELD,
        )

    def _keeps(self, record: Issuance) -> bool:
        """Whether the record's own certificate stays valid."""
        if not permits(self.entry, record.fingerprint, self.match):
            return False
        return not self.change.withdrew(record.fingerprint, record.begun_at, self.match)


def _current_references(issuances: Sequence[Issuance | UnreadableRecord]) -> dict[str, str]:
    """The references of certificates without a record of their own, as before the first activation."""
    return {
        record.certificate_id: record.reference
        for record in issuances
        if isinstance(record, Issuance) and record.certificate_id is not None and record.reference is not None
    }


def _require_readable(issuances: Sequence[Issuance | UnreadableRecord]) -> None:
    for record in issuances:
        if isinstance(record, UnreadableRecord):
            raise SecretFreeError(
                ErrorCode.INTERNAL,
                f"the ledger's record of issuer {record.issuer} cannot be read: {record.defect}",
                reason=Reason.LEDGER_RECORD,
            )
