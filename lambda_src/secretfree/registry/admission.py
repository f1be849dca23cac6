"""The one gate into the registry: a row of any manifest becomes an EnrollmentRecord or is refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric import ec

from secretfree.errors import Reason, SecretFreeError
from secretfree.registry.entry import FINGERPRINT_FORM, DeviceStatus, parse_rfc3339, rfc3339
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

MAX_HEX = 1200
"""Maximum number of hex digits; the SPKI DER of an RSA-4096 key has 550 bytes."""
MAX_ATTRIBUTES = 32
MAX_ATTRIBUTE_VALUE = 800
"""Maximum length in characters of an IoT Core thing attribute's value (AWS IoT Core quotas)."""
_ATTRIBUTE_NAME = re.compile(r"[a-zA-Z0-9_.:@-]{1,64}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_POINT_CURVES: Mapping[int, type[ec.EllipticCurve]] = MappingProxyType(
    {65: ec.SECP256R1, 97: ec.SECP384R1, 133: ec.SECP521R1}
)
"""Maps the length in bytes of an uncompressed point (SEC 1, 2.3.3) to its curve."""


class Refusal(StrEnum):
    """Why a row was refused, in addition to the reasons of the runtime's key checks (`secretfree.errors.Reason`)."""

    MALFORMED_ROW = "malformed-row"
    UNKNOWN_FIELD = "unknown-field"
    MISSING_DEVICE_ID = "missing-device-id"
    DEVICE_ID = "device-id"
    MISSING_PUBLIC_KEY = "missing-public-key"
    FINGERPRINT_MISMATCH = "fingerprint-mismatch"
    STATUS = "status"
    ATTRIBUTE = "attribute"
    SIGNATURE = "signature"
    """A manifest entry, CSR or certificate whose signature does not verify."""
    UNTRUSTED_SIGNER = "untrusted-signer"
    CA_CERTIFICATE = "ca-certificate"
    """The certificate of a CA in place of a device's."""
    IDENTITY_MISMATCH = "identity-mismatch"
    """Two parts of one entry name different devices."""
    DUPLICATE_ROW = "duplicate-row"
    """An earlier row has the same device and key. That row is imported."""
    DUPLICATE_DEVICE_ID = "duplicate-device-id"
    """Rows of this import give one device different keys. All of them are refused."""
    DUPLICATE_KEY = "duplicate-key"
    """Rows of this import give one key to different devices. All of them are refused."""
    ENROLLED_WITH_OTHER_KEY = "enrolled-with-other-key"
    ENROLLED_WITH_OTHER_STATUS = "enrolled-with-other-status"
    KEY_OF_OTHER_DEVICE = "key-of-other-device"
    BEING_REVERTED = "being-reverted"
    """Enrolled with this key by a batch that is being reverted: the device is about to be removed."""
    RETIRED = "retired"
    """The device was retired. Only an import with a replacement's reason enrols it again."""
    NOT_BEFORE = "not-before"
    UNREADABLE_RECORD = "unreadable-record"
    """The registry's record of the device cannot be read. It stays unchanged."""
    CHANGED_MEANWHILE = "changed-meanwhile"
    """The device's record was changed by another writer at the same time."""


class RowRefused(Exception):  # noqa: N818 - an expected answer about a row, not a fault of the program
    """A row that may not enter the registry.

    `reason` is for machines, `detail` for the person who corrects the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = str(reason)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Row:
    """The unchecked row of one device. An empty text counts as absent."""

    device_id: str | None
    public_key: str | bytes | DevicePublicKey | None
    status: str | None = None
    fingerprint: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    not_before: str | None = None


@dataclass(frozen=True, slots=True)
class EnrollmentRecord:
    """A device that passed the gate. Only `admit` makes records, so that nothing unchecked can be written.

    Plain values, which processes can exchange and a checkpoint can keep. `spki` is the DER of the key's
    SubjectPublicKeyInfo, `fingerprint` the lower-case hex SHA-256 of it. Both are None only where the match policy is
    UDID, which binds the first key seen. `not_before` is RFC 3339 in UTC: nothing is issued earlier.
    """

    device_id: str
    spki: bytes | None
    fingerprint: str | None
    status: DeviceStatus = DeviceStatus.ALLOWED
    attributes: Mapping[str, str] = field(default_factory=dict)
    not_before: str | None = None

    @property
    def public_key(self) -> DevicePublicKey | None:
        """The key, parsed from `spki`."""
        return None if self.spki is None else DevicePublicKey.from_spki_der(self.spki)


def admit(
    device_id: str | None,
    public_key: str | bytes | DevicePublicKey | None,
    *,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    status: str | None = None,
    fingerprint: str | None = None,
    attributes: Mapping[str, str] | None = None,
    not_before: str | None = None,
    key_optional: bool = False,
) -> EnrollmentRecord:
    """Check one row by the runtime's rules, and return the record to write.

    `device_id` is normalised as `profile` says. `public_key` is SPKI DER as bytes, a key that was already accepted, or
    text: PEM, base64 of PEM, base64 of SPKI DER, or hex of SPKI DER or of an uncompressed point. `fingerprint`, if
    present, must be that of the key. `not_before` is a date and time with an offset (RFC 3339). `key_optional` is for
    match policy UDID.

    Raises: RowRefused
    """
    if not device_id:
        raise RowRefused(Refusal.MISSING_DEVICE_ID, "the row names no device")
    try:
        accepted_id = profile.normalise_device_id(device_id)
    except SecretFreeError as error:
        raise RowRefused(Refusal.DEVICE_ID, error.detail) from error
    key = _key(public_key, fingerprint, optional=key_optional)
    return EnrollmentRecord(
        accepted_id,
        None if key is None else key.spki,
        None if key is None else key.fingerprint,
        _status(status),
        _attributes(attributes),
        _not_before(not_before),
    )


def accept_public_key(material: str | bytes) -> DevicePublicKey:
    """Return the key in `material` (forms: see `admit`) if the runtime accepts keys of its kind.

    Raises: RowRefused with the runtime's own reason.
    """
    try:
        if isinstance(material, bytes):
            return DevicePublicKey.from_spki_der(material)
        text = material.strip()
        if len(text) <= MAX_HEX and _HEX.fullmatch(text):
            return _from_hex(text)
        return DevicePublicKey.from_registry(text)
    except SecretFreeError as error:
        raise RowRefused(error.reason, error.detail) from error


def _key(
    material: str | bytes | DevicePublicKey | None, fingerprint: str | None, *, optional: bool
) -> DevicePublicKey | None:
    if not material:
        if optional:
            return None
        raise RowRefused(Refusal.MISSING_PUBLIC_KEY, "the row has no public key")
    key = material if isinstance(material, DevicePublicKey) else accept_public_key(material)
    if fingerprint and fingerprint != key.fingerprint:
        form = "" if FINGERPRINT_FORM.fullmatch(fingerprint) else "; accepted: 64 lower-case hex digits"
        raise RowRefused(Refusal.FINGERPRINT_MISMATCH, f"key-fingerprint is not the SHA-256 of the row's key{form}")
    return key


def _from_hex(text: str) -> DevicePublicKey:
    data = bytes.fromhex(text)
    if data[0] != 0x04:  # SEC 1: an uncompressed point begins with 04, DER begins with 30
        return DevicePublicKey.from_spki_der(data)
    curve = _POINT_CURVES.get(len(data))
    if curve is None:
        lengths = ", ".join(str(length) for length in _POINT_CURVES)
        raise RowRefused(Reason.KEY_KIND, f"an uncompressed point of {len(data)} bytes; accepted: {lengths}")
    try:
        return DevicePublicKey.from_key(ec.EllipticCurvePublicKey.from_encoded_point(curve(), data))
    except ValueError as error:
        raise RowRefused(Reason.KEY_KIND, f"not a point on {curve.name}") from error


def _status(text: str | None) -> DeviceStatus:
    if not text:
        return DeviceStatus.ALLOWED
    if text not in {DeviceStatus.ALLOWED, DeviceStatus.BLOCKED}:
        raise RowRefused(Refusal.STATUS, f"status {text[:40]!a}; accepted: allowed, blocked")
    return DeviceStatus(text)


def _attributes(given: Mapping[str, str] | None) -> Mapping[str, str]:
    if not given:
        return {}
    if len(given) > MAX_ATTRIBUTES:
        raise RowRefused(Refusal.ATTRIBUTE, f"{len(given)} attributes; at most {MAX_ATTRIBUTES} are accepted")
    for name, value in given.items():
        if not _ATTRIBUTE_NAME.fullmatch(name):
            raise RowRefused(Refusal.ATTRIBUTE, f"attribute name {name[:80]!a}; accepted: {_ATTRIBUTE_NAME.pattern}")
        if not isinstance(value, str) or len(value) > MAX_ATTRIBUTE_VALUE or not value.isprintable():
            raise RowRefused(
                Refusal.ATTRIBUTE, f"attribute {name!a}: printable text of up to {MAX_ATTRIBUTE_VALUE} characters only"
            )
    return dict(given)


def _not_before(text: str | None) -> str | None:
    if not text:
        return None
    moment = parse_rfc3339(text)
    if moment is None:
        raise RowRefused(Refusal.NOT_BEFORE, f"not-before {text[:40]!a}; accepted: RFC 3339, as 2026-01-31T09:30:00Z")
    return rfc3339(moment)
