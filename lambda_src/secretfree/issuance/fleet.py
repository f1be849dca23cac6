"""The rule of the pre-provisioning hook: AWS IoT Core may provision only certificates that this ledger has issued.

The certificate is in the ledger since it was signed (`secretfree.issuance.pipeline.sign`). So a block after this
reading of the registry finds the record and revokes the certificate.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secretfree.clock import Clock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError, malformed, not_authorized
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.registry.authorization import require_enrolled
from secretfree.registry.entry import RegistryReader
from secretfree.request.device_id import DeviceId
from secretfree.request.parsing import refusing_parser_errors

# Far above the size of a certificate of AWS Private CA.
_MOST_CHARACTERS: Final = 16_384


class FleetLedger(Protocol):
    """The ledger, as far as the hook needs it."""

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """The device's record: see `secretfree.issuance.ports.Ledger`."""
        ...

    def write(self, issuance: Issuance) -> Issuance:
        """Store `issuance`: see `secretfree.issuance.ports.Ledger`."""
        ...


@dataclass(frozen=True, kw_only=True)
class PresentedCertificate:
    """The content of a certificate. `fingerprint`: lower-case hex SHA-256 of its key's SPKI, as in the registry."""

    device_id: DeviceId
    certificate_id: str
    fingerprint: str

    @classmethod
    def from_pem(cls, pem: object) -> Self:
        """Raises SecretFreeError (`malformed-request`) unless it is a certificate whose one name is a device id."""
        if not isinstance(pem, str) or len(pem) > _MOST_CHARACTERS:
            raise malformed("no certificate in PEM", reason=Reason.CLIENT_CERTIFICATE)
        refusal = malformed("a certificate that cannot be read", reason=Reason.CLIENT_CERTIFICATE)
        with refusing_parser_errors(lambda _error: refusal):
            certificate = x509.load_pem_x509_certificate(pem.encode())
            (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return cls(
                device_id=DeviceId.parse(str(name.value)),
                certificate_id=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
                fingerprint=sha256(key).hexdigest(),
            )


def permit(
    presented: PresentedCertificate,
    *,
    issuer: str,
    match: MatchPolicy,
    registry: RegistryReader,
    ledger: FleetLedger,
    clock: Clock,
) -> None:
    """Allow AWS IoT Core to provision `presented`; the sweeper later checks the outcome.

    Raises SecretFreeError: `not-authorized` for a device that the registry does not allow with this key, and for any
    other certificate than the last one of `issuer`; `unavailable` if a table does not answer. Raises StaleLedgerError,
    ThrottledError and UnreachableError of the ledger. Every error means that nothing is permitted.
    """
    require_enrolled(presented.device_id, presented.fingerprint, match=match, registry=registry, clock=clock)
    record = ledger.read(presented.device_id, issuer)
    now = clock.now()
    if (
        record is None
        or record.state is not IssuanceState.ISSUED
        or record.certificate_id != presented.certificate_id
        or record.fingerprint != presented.fingerprint
    ):
        raise not_authorized("the ledger has no such certificate to provision", reason=Reason.FOREIGN_CERTIFICATE)
    if record.is_leased(now):
        raise SecretFreeError(ErrorCode.UNAVAILABLE, "a worker has the lease", reason=Reason.LEASE_HELD)
    ledger.write(record.released(now))
