"""Client of a secret-free provisioning API, for devices that run Linux and Python.

It holds the device's key, requests the certificate, stores it atomically, renews it in time, and connects to AWS IoT
Core. It imports `cryptography` and the standard library; MQTT is in separate modules. No AWS credentials are used.
"""

from secretfree_device.answer import Answer, IssuerPath
from secretfree_device.device import Device
from secretfree_device.identity import Identity
from secretfree_device.keys import DeviceKey, KeyFile, KeyType
from secretfree_device.patience import Patience
from secretfree_device.provisioning import (
    ProvisioningClient,
    ProvisioningError,
    ProvisioningRefusedError,
    ProvisioningUnavailableError,
)
from secretfree_device.store import IdentityStore

__all__ = [
    "Answer",
    "Device",
    "DeviceKey",
    "Identity",
    "IdentityStore",
    "IssuerPath",
    "KeyFile",
    "KeyType",
    "Patience",
    "ProvisioningClient",
    "ProvisioningError",
    "ProvisioningRefusedError",
    "ProvisioningUnavailableError",
]
