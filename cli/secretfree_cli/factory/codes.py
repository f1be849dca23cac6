"""What a bar or QR code on a device may contain, and how it is paired with a public key that is known already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from secretfree.errors import SecretFreeError
from secretfree.registry.admission import EnrollmentRecord, Refusal, RowRefused, accept_public_key
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

from secretfree_cli.factory.uart import Reading

CODE_FORM: Final = (
    'a device id; a device id, a space, comma or semicolon, and the key\'s fingerprint; or {"device-id": "..."} '
    'with "key-fingerprint" or "public-key" or both'
)
MAX_CODE: Final = 4_296
"""Characters: what the largest QR code holds (ISO/IEC 18004, version 40-L, alphanumeric)."""

# A scanner may be set to type the AIM symbology identifier first (ISO/IEC 15424): `]Q1` for QR, `]C0` for Code 128.
_SYMBOLOGY: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_ID_AND_FINGERPRINT: Final = re.compile(r"(?P<id>.*?)[ \t]*[ \t,;][ \t]*(?P<fingerprint>[0-9a-fA-F]{64})", re.ASCII)
_FIELDS: Final = frozenset({"device-id", "public-key", "key-fingerprint"})


@dataclass(frozen=True)
class DeviceCode:
    """What a code says: always a device, and sometimes which key is its own."""

    device_id: DeviceId
    fingerprint: str | None = None
    public_key: DevicePublicKey | None = None


class KnownKeys(Protocol):
    """Where a key may be known from before the device is scanned."""

    def of_device(self, device_id: DeviceId) -> DevicePublicKey | None:
        """The key that goes with the id."""
        ...

    def of_fingerprint(self, fingerprint: str) -> DevicePublicKey | None:
        """The key itself, by the lower-case hex SHA-256 of its SPKI DER."""
        ...


class ManifestKeys:
    """The keys of a supplier's manifest: of a reel, say, of which the scanned devices alone are enrolled.

    Held in memory, some 500 bytes a key.
    """

    def __init__(self, records: Iterable[EnrollmentRecord]) -> None:
        self._by_device: dict[DeviceId, DevicePublicKey] = {}
        self._by_fingerprint: dict[str, DevicePublicKey] = {}
        for record in records:
            if record.public_key is not None:
                self._by_device[record.device_id] = record.public_key
                self._by_fingerprint[record.public_key.fingerprint] = record.public_key

    def __len__(self) -> int:
        return len(self._by_fingerprint)

    def of_device(self, device_id: DeviceId) -> DevicePublicKey | None:
        """The key of the row that names the device."""
        return self._by_device.get(device_id)

    def of_fingerprint(self, fingerprint: str) -> DevicePublicKey | None:
        """The key of any row, whatever id that row gives it."""
        return self._by_fingerprint.get(fingerprint)


def read_code(text: str, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> DeviceCode:
    """Read what a scanner typed or a picture held; accepted is `CODE_FORM`.

    A CC32xx UDID may be spelt with spaces or colons and in either case, where the profile is TI_CC32XX.

    Raises: RowRefused
    """
    if len(text) > MAX_CODE:
        raise RowRefused(Refusal.MALFORMED_ROW, f"a code of {len(text)} characters; at most {MAX_CODE} are accepted")
    content = text.strip(" \t\r\n\0")
    if content.startswith("]"):
        content = _SYMBOLOGY.sub("", content, count=1)
    if not content:
        raise RowRefused(Refusal.MISSING_DEVICE_ID, f"an empty code; accepted: {CODE_FORM}")
    if content.startswith("{"):
        return _read_json_code(content, profile)
    if matched := _ID_AND_FINGERPRINT.fullmatch(content):
        return DeviceCode(_device_id(matched["id"], profile), matched["fingerprint"].lower())
    return DeviceCode(_device_id(content, profile))


def pair(code: DeviceCode, known: KnownKeys | None, *, key_required: bool) -> Reading:
    """Give the scanned device its key: the code's own, else the one known by the code's fingerprint or the device's id.

    Without `key_required` (match policy UDID) a device whose key is not known is enrolled by its id alone.

    Raises: RowRefused, also where two of these name different keys.
    """
    keys = [key for key in _candidates(code, known) if key is not None]
    if len({key.fingerprint for key in keys}) > 1 or (keys and code.fingerprint not in (None, keys[0].fingerprint)):
        raise RowRefused(Refusal.IDENTITY_MISMATCH, "the code and the manifest name different keys for this device")
    if not keys and code.fingerprint is not None:
        raise RowRefused(Refusal.MISSING_PUBLIC_KEY, f"no key with the fingerprint {code.fingerprint} is known")
    if not keys and key_required:
        raise RowRefused(
            Refusal.MISSING_PUBLIC_KEY, "no key is known for this device; give a manifest that has it, with --keys"
        )
    return Reading(code.device_id, keys[0] if keys else None)


def _candidates(code: DeviceCode, known: KnownKeys | None) -> Iterable[DevicePublicKey | None]:
    yield code.public_key
    if known is not None:
        yield known.of_device(code.device_id)
        if code.fingerprint is not None:
            yield known.of_fingerprint(code.fingerprint)


def _read_json_code(content: str, profile: DeviceProfile) -> DeviceCode:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise RowRefused(Refusal.MALFORMED_ROW, f"JSON that cannot be read; accepted: {CODE_FORM}")
    if unknown := sorted(fields.keys() - _FIELDS):
        raise RowRefused(Refusal.UNKNOWN_FIELD, f"the field {unknown[0][:40]!r}; accepted: {CODE_FORM}")
    device_id = _device_id(fields.get("device-id", ""), profile)
    fingerprint = fields.get("key-fingerprint")
    if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
        raise RowRefused(Refusal.FINGERPRINT_MISMATCH, "key-fingerprint is not 64 hex digits")
    key = accept_public_key(fields["public-key"]) if "public-key" in fields else None
    return DeviceCode(device_id, fingerprint.lower() if fingerprint else None, key)


def _device_id(text: str, profile: DeviceProfile) -> DeviceId:
    try:
        return profile.normalise_device_id(text)
    except SecretFreeError as error:
        raise RowRefused(Refusal.DEVICE_ID, error.detail) from error
