"""The unproven claims of a request, for the log of a refusal. The field names begin with `claimed`."""

from hashlib import sha256
from typing import TypedDict

from secretfree.errors import SecretFreeError
from secretfree.request.csr import UnverifiedCsr, claimed_device_id
from secretfree.request.device_profile import DeviceProfile


class Claims(TypedDict, total=False):
    """Log fields. The key is the request's own; nothing proves possession of its private key."""

    claimed_device_id: str
    claimed_key_fingerprint: str


def claims_of(csr: UnverifiedCsr, profile: DeviceProfile) -> Claims:
    """The device id, if the common name is one, and the fingerprint of the key."""
    claims: Claims = {"claimed_key_fingerprint": sha256(csr.parts.spki).hexdigest()}
    try:
        device_id = claimed_device_id(csr, profile)
    except SecretFreeError:
        return claims
    return claims if device_id is None else {**claims, "claimed_device_id": device_id}
