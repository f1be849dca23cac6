"""A device: its id, its key, its stored certificate, and its operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from secretfree_device.answer import IssuerPath
from secretfree_device.csr import certification_request
from secretfree_device.identity import Identity
from secretfree_device.keys import DeviceKey
from secretfree_device.provisioning import ProvisioningClient, ProvisioningError
from secretfree_device.session import Broker, DeviceSession
from secretfree_device.store import IdentityStore


@dataclass(frozen=True)
class Device:
    """A device that provisions itself."""

    device_id: str
    """The UDID: common name of the CSR."""
    key: DeviceKey
    store: IdentityStore
    request: Callable[[], bytes] | None = None
    """Makes the CSR; None for a plain one with the id as subject."""

    @property
    def identity(self) -> Identity | None:
        """The stored identity, or None before provisioning, or if it is for another key."""
        identity = self.store.read()
        return identity if identity is not None and identity.is_for(self.key.public_key()) else None

    def signing_request(self) -> bytes:
        """Return a new CSR, in PEM or DER, signed by the device's key."""
        if self.request is not None:
            return self.request()
        return certification_request(self.device_id, self.key.private_key())

    def provision(self, client: ProvisioningClient, issuer: IssuerPath = IssuerPath.PRIVATE_CA) -> Identity:
        """Get a certificate and store it. Raises ProvisioningError; OSError if it cannot be stored.

        After an interruption at any step, the device has its former certificate or the new one, and may post again.
        """
        identity = client.provision(issuer, self.signing_request)
        if not identity.is_for(self.key.public_key()):
            raise ProvisioningError("the certificate received is not for this device's key")
        self.store.keep(identity)
        return identity

    def provision_or_renew(
        self, client: ProvisioningClient, *, now: datetime, issuer: IssuerPath = IssuerPath.PRIVATE_CA
    ) -> Identity:
        """Return the stored identity. Request a new one if there is none, or if its renewal window has begun.

        If the device's clock is before its certificate's start, the clock is wrong, and each call sends a request. Then
        call once a day.

        Raises: as `provision`. After a failed renewal, the current certificate stays valid until its end.
        """
        identity = self.identity
        if identity is None:
            return self.provision(client, issuer)
        opens = identity.renewal_opens
        if opens is not None and identity.valid_from <= now < opens:
            return identity
        return self.provision(client, identity.issuer)

    def connection(self, broker: Broker, *, client_id: str | None = None, timeout: float = 10.0) -> DeviceSession:
        """Return the MQTT session to enter with `with`. The client id is the thing's name, as the policy requires.

        The first successful connect erases the certificate before this one.

        Raises: ValueError before provisioning.
        """
        identity = self.identity
        if identity is None:
            raise ValueError(f"device {self.device_id} has no certificate yet: provision it first")
        return self.key.connection(
            broker,
            client_id=client_id or identity.thing_name,
            certificate=self.store.certificate_file,
            timeout=timeout,
            connected=self.store.confirm,
        )
