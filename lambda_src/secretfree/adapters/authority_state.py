"""How long the Private CA can still sign certificates of the configured validity."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from secretfree.adapters.aws_errors import aws_call

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient


def days_left(client: "ACMPCAClient", authority_arn: str, *, validity: timedelta, now: datetime) -> int | None:
    """DescribeCertificateAuthority: whole days until a certificate of `validity` would outlive the CA, at least 0.

    None while the CA has no certificate of its own. Raises ThrottledError, UnreachableError or SecretFreeError.
    """
    with aws_call():
        described = client.describe_certificate_authority(CertificateAuthorityArn=authority_arn)
    not_after = described["CertificateAuthority"].get("NotAfter")
    return None if not_after is None else max(0, (not_after - validity - now).days)
