"""Re-enrolment with a client certificate: the certificate must be valid and belong to the same device."""

from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError, not_authorized
from secretfree.issuance.ports import (
    CertificateRecordState,
    CertificateStatus,
    RegisteredCertificate,
    ThrottledError,
    UnreachableError,
)
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId
from secretfree.request.parsing import refusing_parser_errors


class IssuedCertificates(Protocol):
    """The ledger's records of single certificates."""

    def state(self, device_id: DeviceId, certificate_id: str) -> CertificateRecordState | None:
        """The state of a certificate that was issued to the device, or None; raises SecretFreeError (`unavailable`)."""
        ...


class RegisteredCertificates(Protocol):
    """IoT Core's certificates."""

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """The certificate as IoT Core has it, or None; raises ThrottledError or UnreachableError."""
        ...


def require_own_certificate(
    device: AuthorizedDevice,
    pem: str | None,
    *,
    issued: IssuedCertificates,
    registered: RegisteredCertificates,
    clock: Clock,
) -> None:
    """Refuse unless `pem` is a certificate of `device` in this ledger that is active and valid now.

    TLS already verified the possession of its key and the signature of a trusted CA. Raises SecretFreeError:
    `not-authorized`, or `unavailable` if the ledger or IoT Core cannot be read.
    """
    if pem is None:
        raise _refused("no client certificate")
    with refusing_parser_errors(lambda _error: _refused("a client certificate that cannot be read")):
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate_id = sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        ends = certificate.not_valid_after_utc
    if ends <= clock.now():
        raise _refused("an expired client certificate")
    state = issued.state(device.device_id, certificate_id)
    if state is None:
        raise _refused("a client certificate that was not issued to this device")
    if state is CertificateRecordState.REVOKED:
        raise _refused("a client certificate that is revoked")
    try:
        found = registered.describe(certificate_id)
    except ThrottledError as error:
        raise SecretFreeError(ErrorCode.UNAVAILABLE, str(error), reason=Reason.THROTTLED) from None
    except UnreachableError as error:
        raise SecretFreeError(ErrorCode.UNAVAILABLE, str(error), reason=Reason.UPSTREAM_UNAVAILABLE) from None
    if found is None or found.status is not CertificateStatus.ACTIVE:
        raise _refused("a client certificate that is not ACTIVE at AWS IoT Core")


def _refused(detail: str) -> SecretFreeError:
    return not_authorized(detail, reason=Reason.CLIENT_CERTIFICATE)
