"""An announcement: the certificate that one Region last issued to a device or revoked, for the other Regions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from secretfree.issuance.chains import Chain
from secretfree.issuance.ports import CertificateRecordState, DeviceCertificate
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.request.device_id import DeviceId


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One Region's latest state of a device at one issuer. Only that Region writes it, so no write is lost.

    `generation`, `begun_at` and `fingerprint` are those of the issuance. `reference` is the certificate's at its CA.
    `state` is ACTIVE or REVOKED; `withdrawn`: the registry withdrew the device or its key. `announced_at`: aware, UTC.
    `connected`: the device has connected with it in that Region, so it needs no older certificate.
    `chain`: with ACTIVE.
    """

    device_id: DeviceId
    issuer: str
    region: str
    state: CertificateRecordState
    withdrawn: bool
    fingerprint: str
    generation: int
    certificate_id: str
    certificate_pem: str
    chain: Chain | None
    not_after: datetime
    reference: str
    begun_at: datetime
    announced_at: datetime
    connected: bool = False

    @classmethod
    def of(cls, issuance: Issuance, *, region: str, now: datetime, connected: bool = False) -> Self | None:
        """The announcement of a record that is active or revoked.

        None for a certificate without a reference: AWS IoT Core's own CA issued it, and it is valid in one Region.
        """
        if (
            issuance.state not in {IssuanceState.ACTIVE, IssuanceState.REVOKED}
            or issuance.reference is None
            or issuance.certificate_id is None
            or issuance.certificate_pem is None
            or issuance.not_after is None
        ):
            return None
        is_active = issuance.state is IssuanceState.ACTIVE
        return cls(
            device_id=issuance.device_id,
            issuer=issuance.issuer,
            region=region,
            state=CertificateRecordState.ACTIVE if is_active else CertificateRecordState.REVOKED,
            withdrawn=issuance.withdrawn,
            fingerprint=issuance.fingerprint,
            generation=issuance.generation,
            certificate_id=issuance.certificate_id,
            certificate_pem=issuance.certificate_pem,
            chain=issuance.chain if is_active else None,
            not_after=issuance.not_after,
            reference=issuance.reference,
            begun_at=issuance.begun_at,
            announced_at=now,
            connected=connected and is_active,
        )

    @property
    def certificate(self) -> DeviceCertificate:
        """The certificate, which is not registered in this Region yet."""
        return DeviceCertificate(
            certificate_id=self.certificate_id,
            certificate_pem=self.certificate_pem,
            chain=self.chain,
            not_after=self.not_after,
        )

    @property
    def rank(self) -> tuple[int, datetime, str]:
        """The order of certificates, the same in every Region: the highest is the device's current one."""
        return self.generation, self.not_after, self.certificate_id


def rank_of(issuance: Issuance) -> tuple[int, datetime, str] | None:
    """The rank of a record's own certificate; None if it has none."""
    if issuance.certificate_id is None or issuance.not_after is None:
        return None
    return issuance.generation, issuance.not_after, issuance.certificate_id
