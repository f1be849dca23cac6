"""The certificates of Private CAs: what a device needs to verify others of the product line."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from secretfree.adapters import single_try_clients
from secretfree.adapters.aws_errors import aws_call
from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError

# A CA's certificate rarely changes. The calls have a quota, and anyone may request the certificates.
_KEPT_FOR: Final = timedelta(minutes=5)


class AuthorityCertificates:
    """Reads the certificates of CAs, and caches each for some minutes."""

    def __init__(self, clock: Clock, *, retry_after: int) -> None:
        self._clock = clock
        self._retry_after = retry_after
        self._kept: dict[str, tuple[datetime, list[x509.Certificate]]] = {}

    def of(self, arns: Sequence[str]) -> Sequence[x509.Certificate]:
        """Return each CA's certificate and then its chain, without duplicates.

        Raises SecretFreeError: `unavailable` if Private CA does not answer, `internal` if it refuses.
        """
        return list(dict.fromkeys(certificate for arn in arns for certificate in self._of_one(arn)))

    def _of_one(self, arn: str) -> Sequence[x509.Certificate]:
        now = self._clock.now()
        until, kept = self._kept.get(arn, (now, []))
        if now < until:
            return kept
        try:
            with aws_call():
                answer = single_try_clients.acm_pca(arn).get_certificate_authority_certificate(
                    CertificateAuthorityArn=arn
                )
        except ThrottledError as error:
            raise self._unavailable(error, Reason.THROTTLED) from None
        except UnreachableError as error:
            raise self._unavailable(error, Reason.UPSTREAM_UNAVAILABLE) from None
        pem = "\n".join([answer["Certificate"], answer.get("CertificateChain", "")])
        found = x509.load_pem_x509_certificates(pem.encode())
        self._kept[arn] = (now + _KEPT_FOR, found)
        return found

    def _unavailable(self, error: Exception, reason: Reason) -> SecretFreeError:
        return SecretFreeError(ErrorCode.UNAVAILABLE, str(error), reason=reason, retry_after=self._retry_after)
