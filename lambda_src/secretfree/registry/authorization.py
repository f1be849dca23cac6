"""The authorization decision: whether the device whose key signed the request is enrolled and allowed."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

from secretfree.clock import Clock, SystemClock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError, malformed, not_authorized
from secretfree.registry.entry import FINGERPRINT_FORM, DeviceStatus, RegistryEntry, RegistryReader
from secretfree.request.csr import VerifiedCsr
from secretfree.request.device_id import DeviceId

_CLOCK: Final = SystemClock()


class BindingReader(Protocol):
    """Reads which key a device used first; only MatchPolicy.UDID needs it."""

    def bound_fingerprint(self, device_id: DeviceId) -> str | None:
        """The fingerprint, read consistently, or None while unbound; raises SecretFreeError (`unavailable`)."""
        ...


@dataclass(frozen=True, slots=True)
class AuthorizedDevice:
    """Which device may get a certificate, for which key, by which request.

    `fingerprint` is the lower-case hex SHA-256 of the SPKI, `csr_digest` that of the CSR's DER.
    """

    device_id: DeviceId
    fingerprint: str
    csr_digest: str

    def to_context(self) -> dict[str, str]:
        """The authorizer's context, which the issuer reads at `event.requestContext.authorizer`."""
        return {"deviceId": self.device_id, "keyFingerprint": self.fingerprint, "csrDigest": self.csr_digest}

    @classmethod
    def from_context(cls, context: Mapping[str, object]) -> Self:
        """The device that the authorizer allowed; raises SecretFreeError (`internal`) for another context."""
        device_id, fingerprint, digest = (
            str(context.get(name)) for name in ("deviceId", "keyFingerprint", "csrDigest")
        )
        forms_hold = (
            DeviceId.is_valid(device_id)
            and FINGERPRINT_FORM.fullmatch(fingerprint)
            and FINGERPRINT_FORM.fullmatch(digest)
        )
        if not forms_hold:
            raise SecretFreeError(
                ErrorCode.INTERNAL, "the request did not come through the authorizer", reason=Reason.CONFIGURATION
            )
        return cls(DeviceId.parse(device_id), fingerprint, digest)


def authorize(
    csr: VerifiedCsr,
    *,
    match: MatchPolicy,
    registry: RegistryReader,
    bindings: BindingReader | None = None,
    clock: Clock = _CLOCK,
) -> AuthorizedDevice:
    """The enrolled device that made `csr`, if the registry allows it now.

    Raises SecretFreeError: `malformed-request` if the policy needs a device id and the common name is not one,
    `not-authorized` for every refusal that depends on the registry, `unavailable` if a table cannot be read.
    """
    fingerprint = csr.public_key.fingerprint
    match match:
        case MatchPolicy.UDID_AND_PUBLIC_KEY:
            entry = _enrolled(_device_id(csr), registry, clock)
            _require_key(entry, fingerprint)
        case MatchPolicy.PUBLIC_KEY:
            entry = _enrolled_with_key(fingerprint, registry, clock)
        case MatchPolicy.UDID:
            entry = _enrolled(_device_id(csr), registry, clock)
            _require_binding(entry.device_id, fingerprint, bindings)
    return AuthorizedDevice(entry.device_id, fingerprint, csr.digest)


def confirm(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    *,
    match: MatchPolicy,
    registry: RegistryReader,
    clock: Clock,
    subject_is_copied: bool = False,
) -> None:
    """Verify again, for the issuer, that `authorized` is enrolled with the key of `csr` and allowed now.

    One read by device id under each policy: only the authorizer checks whether a key is enrolled for two devices.
    `subject_is_copied`: the certificate gets the request's own common name, which then must be the device id. Raises
    SecretFreeError: `not-authorized`, `unavailable` when the registry cannot be read.
    """
    entry = require_enrolled(
        authorized.device_id, csr.public_key.fingerprint, match=match, registry=registry, clock=clock
    )
    if (match is not MatchPolicy.PUBLIC_KEY or subject_is_copied) and csr.device_id != entry.device_id:
        raise not_authorized("the common name is not the device's id", reason=Reason.DEVICE_ID)


def require_enrolled(
    device_id: DeviceId, fingerprint: str, *, match: MatchPolicy, registry: RegistryReader, clock: Clock
) -> RegistryEntry:
    """The device's entry, if it is enrolled with that key and allowed now; errors: see `confirm`."""
    entry = _enrolled(device_id, registry, clock)
    if match is not MatchPolicy.UDID:
        _require_key(entry, fingerprint)
    return entry


def _device_id(csr: VerifiedCsr) -> DeviceId:
    if csr.device_id is None:
        raise malformed("the common name is not a device id", reason=Reason.DEVICE_ID)
    return csr.device_id


def _enrolled(device_id: DeviceId, registry: RegistryReader, clock: Clock) -> RegistryEntry:
    entry = registry.by_device_id(device_id)
    if entry is None:
        raise not_authorized("no such device", reason=Reason.UNKNOWN_DEVICE)
    _require_allowed(entry, clock)
    return entry


def _enrolled_with_key(fingerprint: str, registry: RegistryReader, clock: Clock) -> RegistryEntry:
    """The one device with that key. The index may lag behind the table, so each entry's own key is compared."""
    found = registry.by_fingerprint(fingerprint)
    holders = [entry for entry in found if entry.defect is not None or _same(entry.fingerprint, fingerprint)]
    if not holders:
        raise not_authorized("no device with that key", reason=Reason.UNKNOWN_DEVICE)
    if len(holders) > 1:
        raise not_authorized("more than one device with that key", reason=Reason.AMBIGUOUS_KEY)
    entry = holders[0]
    _require_allowed(entry, clock)
    _require_key(entry, fingerprint)
    return entry


def _require_allowed(entry: RegistryEntry, clock: Clock) -> None:
    if entry.status is DeviceStatus.UNREADABLE:
        detail = "the record's status is neither allowed nor blocked, or its not-before is not RFC 3339"
        raise not_authorized(detail, reason=Reason.REGISTRY_RECORD)
    if entry.status is not DeviceStatus.ALLOWED:
        raise not_authorized(f"the device is {entry.status.value}", reason=Reason.BLOCKED_DEVICE)
    if entry.not_before is not None and clock.now() < entry.not_before:
        raise not_authorized("the device is not allowed before its not-before", reason=Reason.NOT_YET_ALLOWED)


def _require_key(entry: RegistryEntry, fingerprint: str) -> None:
    if entry.defect is not None:
        raise not_authorized(entry.defect, reason=Reason.REGISTRY_RECORD)
    if entry.fingerprint is None:
        raise not_authorized("the record has no key", reason=Reason.REGISTRY_RECORD)
    if not _same(entry.fingerprint, fingerprint):
        raise not_authorized("the device is enrolled with another key", reason=Reason.KEY_MISMATCH)


def _require_binding(device_id: DeviceId, fingerprint: str, bindings: BindingReader | None) -> None:
    """Refuse a key other than the bound one. The issuer binds the first key; until then any key is accepted."""
    if bindings is None:
        raise SecretFreeError(ErrorCode.INTERNAL, "MatchPolicy.UDID without bindings", reason=Reason.CONFIGURATION)
    bound = bindings.bound_fingerprint(device_id)
    if bound is not None and not _same(bound, fingerprint):
        raise not_authorized("the device is bound to another key", reason=Reason.KEY_MISMATCH)


def _same(recorded: str | None, presented: str) -> bool:
    return recorded is not None and hmac.compare_digest(recorded, presented)
