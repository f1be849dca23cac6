"""The ports of following, in addition to those of issuing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from secretfree.following.announcement import Announcement
from secretfree.issuance.model import IssuancePorts
from secretfree.issuance.ports import DeviceCertificate
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId
from secretfree.retirement.retiring import RetirementPorts
from secretfree.revocation.ports import Connections


class Announcements(Protocol):
    """This Region's replica of the announcements."""

    def of_device(self, device_id: DeviceId) -> Sequence[Announcement]:
        """All Regions' announcements, at every issuer, read consistently. Raises ThrottledError or UnreachableError."""
        ...

    def chain_text(self, digest: str) -> str | None:
        """The text of a chain that an announcement names; None if it is not replicated yet."""
        ...


class IssuanceReader(Protocol):
    """This Region's ledger."""

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """The device's record at one issuer, read consistently."""
        ...


class Registration(Protocol):
    """IoT Core's certificates of this Region."""

    def install(self, certificate: DeviceCertificate, reference: str) -> str:
        """Register the certificate with IoT Core as active and return its ARN; safe to repeat.

        `reference`: the CA's reference of the certificate. Raises CertificateRevokedError if it is revoked or inactive
        here, and ThrottledError or UnreachableError.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FollowingPorts:
    """All ports of following. `issuing`: the ports of the issuer; neither ledger announces anything."""

    announcements: Announcements
    records: IssuanceReader
    registration: Registration
    connections: Connections
    issuing: IssuancePorts
    retirement: RetirementPorts
