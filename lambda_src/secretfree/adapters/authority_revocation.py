"""Revokes certificates at the Private CAs of the product line."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient

_CERTIFICATE: Final = "/certificate/"
_DONE: Final = frozenset({"RequestAlreadyProcessedException", "ResourceNotFoundException"})


class RevokingAuthorities:
    """Port `Authorities`. `arns`: the CAs that accept revocations; a short-lived CA accepts none.

    `client_for` makes the client for a CA's ARN, in the CA's Region.
    """

    def __init__(self, client_for: Callable[[str], "ACMPCAClient"], arns: Collection[str]) -> None:
        self._client_for = client_for
        self._arns = frozenset(arns)

    def revoke(self, reference: str) -> bool:
        """RevokeCertificate. The reference is the certificate's ARN, which ends in the serial number, in decimal."""
        authority, _, serial = reference.partition(_CERTIFICATE)
        if authority not in self._arns:
            return False
        with aws_call():
            try:
                self._client_for(authority).revoke_certificate(
                    CertificateAuthorityArn=authority,
                    CertificateSerial=serial_in_hex(serial),
                    RevocationReason="PRIVILEGE_WITHDRAWN",
                )
            except ClientError as error:
                if error_code(error) not in _DONE:
                    raise
        return True


def serial_in_hex(decimal: str) -> str:
    """A serial number in RevokeCertificate's form: hexadecimal, two digits for each byte."""
    digits = f"{int(decimal):x}"
    return digits.zfill(len(digits) + len(digits) % 2)
