"""The content of a bar or QR code on a device, and the known public key for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from secretfree.errors import SecretFreeError
from secretfree.registry.admission import EnrollmentRecord, Refusal, RowRefused, accept_public_key
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

from secretfree_cli.factory import gs1
from secretfree_cli.factory.uart import DeviceReading

CODE_FORM: Final = (
    'a device id; a device id, a space, comma or semicolon, and the key\'s fingerprint; or {"device-id": "..."} '
    'with "key-fingerprint" or "public-key" or both; or a GS1 label with a serial number'
)
MAX_CODE: Final = 4_296
"""Maximum number of characters: those of the largest QR code (ISO/IEC 18004, version 40-L, alphanumeric)."""

# A scanner may be set to type the AIM symbology identifier first (ISO/IEC 15424): `]Q1` for QR, `]C0` for Code 128.
_SYMBOLOGY: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_UDID: Final = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_ID_AND_FINGERPRINT: Final = re.compile(r"(?P<id>.*?)[ \t]*[ \t,;][ \t]*(?P<fingerprint>[0-9a-fA-F]{64})", re.ASCII)
_FIELDS: Final = frozenset({"device-id", "public-key", "key-fingerprint"})


@dataclass(frozen=True)
class DeviceCode:
    """Content of a code: a device id, and sometimes its key."""

    device_id: DeviceId
    fingerprint: str | None = None
    public_key: DevicePublicKey | None = None


class KnownKeys(Protocol):
    """The keys that are known before a device is scanned."""

    def of_device(self, device_id: DeviceId) -> DevicePublicKey | None:
        """The key of the device with this id."""
        ...

    def of_fingerprint(self, fingerprint: str) -> DevicePublicKey | None:
        """The key itself, by the lower-case hex SHA-256 of its SPKI DER."""
        ...


class ManifestKeys:
    """The keys of a supplier's manifest, for example of a reel. Only the scanned devices are enrolled.

    They are kept in memory, some 500 bytes per key.
    """

    def __init__(self, records: Iterable[EnrollmentRecord]) -> None:
        self._by_device: dict[str, DevicePublicKey] = {}
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
        """The key of any row, with any id."""
        return self._by_fingerprint.get(fingerprint)


def read_code(
    text: str,
    *,
    profile: DeviceProfile = DeviceProfile.STANDARD,
    application_identifier: str = gs1.SERIAL_NUMBER,
) -> DeviceCode:
    """Read the text of a scanner or a picture, in a form of `CODE_FORM`.

    From a GS1 label, only the value of `application_identifier` is used, never the whole element string. Under
    TI_CC32XX a UDID may have spaces or colons, and letters of either case.

    Raises: RowRefused
    """
    if len(text) > MAX_CODE:
        raise RowRefused(Refusal.MALFORMED_ROW, f"a code of {len(text)} characters; at most {MAX_CODE} are accepted")
    content = text.strip(" \t\r\n\0")
    symbology = matched.group() if (matched := _SYMBOLOGY.match(content)) else ""
    content = content[len(symbology) :]
    if symbology in gs1.SYMBOLOGIES or _is_unmarked_gs1(content, symbology, profile):
        return DeviceCode(_device_id(_gs1_value(gs1_elements(content), application_identifier), profile))
    if content.lower().startswith(("http://", "https://")) and (linked := gs1.digital_link(content)):
        return DeviceCode(_device_id(_gs1_value(linked, application_identifier), profile))
    if not content:
        raise RowRefused(Refusal.MISSING_DEVICE_ID, f"an empty code; accepted: {CODE_FORM}")
    if content.startswith("{"):
        return _read_json_code(content, profile)
    if matched := _ID_AND_FINGERPRINT.fullmatch(content):
        return DeviceCode(_device_id(matched["id"], profile), matched["fingerprint"].lower())
    return DeviceCode(_device_id(content, profile))


def gs1_elements(content: str) -> Sequence[tuple[str, str]]:
    """Return the elements of a GS1 code; raises RowRefused."""
    try:
        return gs1.elements(content)
    except gs1.Gs1Error as error:
        raise RowRefused(Refusal.MALFORMED_ROW, f"a GS1 code that cannot be read: {error}") from error


def pair(code: DeviceCode, known: KnownKeys | None, *, key_required: bool, code_keys: bool = True) -> DeviceReading:
    """Return the scanned device with its key: the code's own, or a known one, by the fingerprint or the device id.

    Without `key_required` (match policy UDID), a device without a known key has only its id. Without `code_keys`, the
    code's own key must be known too. Raises: RowRefused, also for different keys
    """
    if not code_keys and code.public_key is not None and not _has_key(known, code.public_key):
        raise RowRefused(Refusal.MISSING_PUBLIC_KEY, "the code's public key is in no manifest of this session")
    keys = [key for key in _candidates(code, known) if key is not None]
    if len({key.fingerprint for key in keys}) > 1 or (keys and code.fingerprint not in (None, keys[0].fingerprint)):
        raise RowRefused(Refusal.IDENTITY_MISMATCH, "the code and the manifest name different keys for this device")
    if not keys and code.fingerprint is not None:
        raise RowRefused(Refusal.MISSING_PUBLIC_KEY, f"no key with the fingerprint {code.fingerprint} is known")
    if not keys and key_required:
        raise RowRefused(
            Refusal.MISSING_PUBLIC_KEY, "no key is known for this device; pass a manifest that has it with --keys"
        )
    return DeviceReading(code.device_id, keys[0] if keys else None)


def _is_unmarked_gs1(content: str, symbology: str, profile: DeviceProfile) -> bool:
    """Whether a scanner without symbology identifiers read a GS1 label. A UDID of hex digits is not such a label."""
    if symbology or (profile is DeviceProfile.TI_CC32XX and _UDID.fullmatch(content)):
        return False
    return gs1.looks_like_gs1(content)


def _gs1_value(found: Sequence[tuple[str, str]], application_identifier: str) -> str:
    values = [value for identifier, value in found if identifier == application_identifier]
    if len(values) != 1:
        present = ", ".join(identifier for identifier, _ in found) or "none"
        raise RowRefused(
            Refusal.MISSING_DEVICE_ID,
            f"a GS1 code needs the application identifier {application_identifier} once; it has: {present}",
        )
    return values[0]


def _candidates(code: DeviceCode, known: KnownKeys | None) -> Iterable[DevicePublicKey | None]:
    yield code.public_key
    if known is not None:
        yield known.of_device(code.device_id)
        if code.fingerprint is not None:
            yield known.of_fingerprint(code.fingerprint)


def _has_key(known: KnownKeys | None, key: DevicePublicKey) -> bool:
    return known is not None and known.of_fingerprint(key.fingerprint) is not None


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
