"""Whether IoT Core still has a recorded certificate active: looked up at most once a day for a device."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol

from secretfree.errors import Reason, SecretFreeError, not_authorized
from secretfree.issuance.model import revoked_certificate
from secretfree.issuance.other_certificates import Trust
from secretfree.issuance.ports import (
    CertificateRecordState,
    CertificateStatus,
    RegisteredCertificate,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
)
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState

_VERIFIED_FOR: Final = timedelta(days=1)


class IssuanceWriter(Protocol):
    """The ledger, as far as a verification is stored in it.

    Raises ThrottledError, UnreachableError or StaleLedgerError.
    """

    def write(self, issuance: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """Store `issuance`: see `secretfree.issuance.ports.Ledger`."""
        ...


def verified(
    seen: Issuance,
    fingerprint: str,
    *,
    now: datetime,
    ledger: IssuanceWriter,
    describe: Callable[[str], RegisteredCertificate | None],
    trusts: Trust,
) -> Issuance:
    """Look up the certificate in use of `seen`, if the last look-up is a day old, and return the resulting record.

    If the look-up fails, the ledger decides: IoT Core itself refuses a revoked or inactive certificate.

    A device never gets a deleted, revoked or inactive certificate again. If another one is being issued, the record
    drops the old one. Otherwise this raises SecretFreeError (`not-authorized`), and `secretfree reissue` opens a new
    generation. A record under another worker's lease stays unchanged, because a write would end that lease.
    """
    certificate = seen.certificate_in_use(fingerprint, now, trusts)
    if certificate is None or seen.is_leased(now):
        return seen
    if certificate.verified_at is not None and now < certificate.verified_at + _VERIFIED_FOR:
        return seen
    try:
        registered = describe(certificate.certificate_id)
    except (ThrottledError, UnreachableError, SecretFreeError):
        return seen
    if registered is not None and registered.status is CertificateStatus.ACTIVE:
        return _stored(seen.verified(now), ledger)
    if seen.state is not IssuanceState.ACTIVE:
        return _stored(seen.without_certificate_in_use(), ledger)
    raise out_of_use(seen, registered, now=now, ledger=ledger)


def out_of_use(
    seen: Issuance, registered: RegisteredCertificate | None, *, now: datetime, ledger: IssuanceWriter
) -> SecretFreeError:
    """Record that the certificate of `seen` is out of use, and return the device's refusal (`not-authorized`).

    If the write fails, the next request finds the same.
    """
    with suppress(ThrottledError, UnreachableError, StaleLedgerError):
        ledger.write(seen.revoked(now), certificate=CertificateRecordState.REVOKED)
    if registered is None:
        return not_authorized("IoT Core no longer has the certificate", reason=Reason.CERTIFICATE_MISSING)
    return revoked_certificate()


def _stored(record: Issuance, ledger: IssuanceWriter) -> Issuance:
    """`record`, stored if possible. If not, the next request looks the certificate up again."""
    with suppress(ThrottledError, UnreachableError, StaleLedgerError):
        return ledger.write(record)
    return record
