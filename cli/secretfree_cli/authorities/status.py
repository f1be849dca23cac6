"""The state of each CA: at Private CA, at IoT Core, and by the devices that remain on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from secretfree_cli.authorities.configured import IssuerAuthorities
from secretfree_cli.authorities.ledger_scan import UNKNOWN, Remaining
from secretfree_cli.diagnose.collectors.reading import Reading, is_absent, moment
from secretfree_cli.target import Target

NOT_REGISTERED: Final = "no"


class Role(StrEnum):
    """The role of a CA in the stack."""

    CURRENT = "current"
    """It signs."""
    PREVIOUS = "previous"
    """It no longer signs. Its certificates stay valid until they are renewed."""
    DISTRUSTED = "distrusted"
    """The stack no longer names it. Its certificates are replaced at their devices' next requests."""


@dataclass(frozen=True, kw_only=True)
class AuthorityStatus:
    """One CA of one issuer. A field that could not be read is None.

    `devices`: the number of devices with a certificate of it in use. `signs_until`: the last moment at which it can
    sign for the configured validity. `registered`: its status at IoT Core, or `no`.
    """

    arn: str
    issuer: str
    role: Role
    devices: int
    status: str | None
    not_after: datetime | None
    signs_until: datetime | None
    registered: str | None


def statuses(
    target: Target, reading: Reading, issuers: Sequence[IssuerAuthorities], remaining: Remaining
) -> Iterator[AuthorityStatus]:
    """Yield the CAs of each issuer: the current one, the previous ones, then any other that devices remain on."""
    for one in issuers:
        named = [one.current, *one.previous]
        others = sorted(arn for issuer, arn in remaining.devices if issuer == one.issuer and arn not in named)
        for arn in (*named, *others):
            role = Role.CURRENT if arn == one.current else Role.PREVIOUS if arn in named else Role.DISTRUSTED
            devices = remaining.devices[one.issuer, arn]
            yield _status(target, reading, arn=arn, issuer=one, role=role, devices=devices)


def registration_id(target: Target, authority_arn: str) -> str:
    """Return the id of a CA at IoT Core: the SHA-256 of its certificate's DER in lower-case hex."""
    answer = target.client("acm-pca").get_certificate_authority_certificate(CertificateAuthorityArn=authority_arn)
    return x509.load_pem_x509_certificate(answer["Certificate"].encode()).fingerprint(hashes.SHA256()).hex()


def _status(
    target: Target, reading: Reading, *, arn: str, issuer: IssuerAuthorities, role: Role, devices: int
) -> AuthorityStatus:
    described = None
    registered = None
    if arn != UNKNOWN:
        client = target.client("acm-pca")
        described = reading.attempt(
            f"the CA {arn}",
            lambda: client.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"],
        )
        registered = reading.attempt(f"the registration of {arn}", lambda: _registered(target, arn))
    not_after = None if described is None else moment(described.get("NotAfter"))
    signs_until = None if not_after is None or role is not Role.CURRENT else not_after - issuer.validity
    return AuthorityStatus(
        arn=arn,
        issuer=issuer.issuer,
        role=role,
        devices=devices,
        status=None if described is None else described["Status"],
        not_after=not_after,
        signs_until=signs_until,
        registered=registered,
    )


def _registered(target: Target, arn: str) -> str:
    certificate_id = registration_id(target, arn)
    try:
        answer = target.client("iot").describe_ca_certificate(certificateId=certificate_id)
    except ClientError as error:
        if is_absent(error):
            return NOT_REGISTERED
        raise
    return str(answer["certificateDescription"]["status"])
