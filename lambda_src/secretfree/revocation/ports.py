"""The ports of revocation. Every method may be repeated, and raises ThrottledError or UnreachableError."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from secretfree.issuance.ports import CertificateRecordState, UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.registry.entry import RegistryReader
from secretfree.request.device_id import DeviceId


@dataclass(frozen=True, kw_only=True)
class DeviceRecords:
    """The ledger's records of a device.

    `references`: the issuing CA's references by certificate id, as far as they are recorded.
    """

    issuances: Sequence[Issuance | UnreadableRecord]
    references: Mapping[str, str]


class DeviceLedger(Protocol):
    """The ledger, by device."""

    def of_device(self, device_id: DeviceId) -> DeviceRecords:
        """All records of the device, at every issuer, read consistently."""
        ...

    def write(self, issuance: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """As `secretfree.issuance.ports.Ledger.write`."""
        ...


class Certificates(Protocol):
    """IoT Core's certificates."""

    def revoke(self, certificate_id: str) -> bool:
        """Set a certificate to REVOKED; False if IoT Core does not have it."""
        ...


class Connections(Protocol):
    """The devices' MQTT connections."""

    def end(self, client_id: str) -> bool:
        """End the connection of a client; False if it has none."""
        ...


class Authorities(Protocol):
    """The CAs that signed."""

    def revoke(self, reference: str) -> bool:
        """Revoke a certificate at its CA; False if the CA accepts no revocations, or is not this product line's."""
        ...


@dataclass(frozen=True, kw_only=True)
class RevocationPorts:
    """All ports of revocation."""

    registry: RegistryReader
    ledger: DeviceLedger
    certificates: Certificates
    connections: Connections
    authorities: Authorities
