"""A state machine that parses the output of a device on its UART, from bytes to readings, without a port."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from secretfree.errors import SecretFreeError
from secretfree.registry.admission import RowRefused, accept_public_key
from secretfree.registry.key_material.keys import read_key_material, require_same_device
from secretfree.request.device_id import DeviceId, normalise_udid
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

UDID_LINE_FORM: Final = "'Unique device ID = ' and sixteen hex bytes of two digits each"
JSON_LINE_FORM: Final = (
    '{"device-id": "...", "public-key": "...", "key-fingerprint": "..."} on one line, the last optional'
)
KEY_FORM: Final = (
    "a PEM block 'PUBLIC KEY' or 'CERTIFICATE REQUEST', or hex of an uncompressed point (04 || X || Y) or SPKI DER"
)

DEFAULT_BAUD: Final = 115_200
DEFAULT_KEY_TIMEOUT: Final = 10.0
"""Seconds."""
MAX_LINE: Final = 8_192
"""Maximum length in bytes; a longer line is noise and is dropped up to its end."""
MAX_KEY: Final = 4_096
"""Maximum number of characters of PEM or hex digits; an RSA-4096 key has 1,100 hex digits."""

# A starting board prints garbage, so anything may precede the marker.
_UDID_MARKER: Final = re.compile(r"Unique device ID[ \t]*[=:]?", re.IGNORECASE)
_KEY_LABEL: Final = re.compile(r"public[ _-]?key[ \t]*[=:]", re.IGNORECASE)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_HEX_SEPARATORS: Final = re.compile(r"\b0x|[ \t:,]", re.IGNORECASE)
_BASE64_LINE: Final = re.compile(r"[A-Za-z0-9+/=]+", re.ASCII)
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_PUBLIC_KEY: Final = "PUBLIC KEY"
_PEM_BEGIN: Final = re.compile(r"-----BEGIN (?P<label>PUBLIC KEY|(?:NEW )?CERTIFICATE REQUEST)-----")
# Colours and other control sequences of a logging library (ECMA-48, section 5.4).
_CONTROL_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_DIGITS: Final = re.compile(r"[0-9]+")
_LINE_ENDS: Final = re.compile(rb"[\r\n]")
# Without a label, a shorter run of hex digits is an address or a counter of a log.
_LEAST_UNLABELLED_DIGITS: Final = 32
_POINT_DIGITS: Final = frozenset({2 * 65, 2 * 97, 2 * 133})  # SEC 1, 2.3.3: 04 and two coordinates
_NO_KEY: Final = "no public key followed its id"
_JSON_FIELDS: Final = frozenset({"device-id", "public-key", "key-fingerprint"})


@dataclass(frozen=True)
class DeviceReading:
    """One device. `public_key` is None if only its id was read (from a label)."""

    device_id: DeviceId
    public_key: DevicePublicKey | None


@dataclass(frozen=True)
class Unreadable:
    """A device whose output could not be read; `detail` says what is accepted."""

    device_id: DeviceId | None
    detail: str


@dataclass
class _Pem:
    """An incomplete PEM block."""

    label: str
    body: str = ""

    @property
    def end(self) -> str:
        """The line that ends it."""
        return f"-----END {self.label}-----"


@dataclass
class _Hex:
    """Hex digits of a key that may continue in the next line."""

    digits: str = ""
    lines: int = 0


class UartTranscript:
    """Reads devices one after another from the bytes of one port.

    It reads three forms: `UDID_LINE_FORM` followed by `KEY_FORM` on lines of its own, `JSON_LINE_FORM`, and a
    certificate request on its own, whose common name is the id. The id comes before its key; a key without a preceding
    id is dropped, so that the next device never gets it. Other lines are skipped. Lines may have the prefix of a
    logging library, with colours. Nothing raises, and no buffer grows beyond `MAX_LINE` and `MAX_KEY`.

    A request is signed, and a JSON line may have a fingerprint. The other forms have no checksum: a digit of an id that
    changes on the wire makes another id.
    """

    def __init__(self, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        self._profile = profile
        self._line = bytearray()
        self._line_too_long = False
        self._device: DeviceId | None = None
        self._key: _Pem | _Hex | None = None
        self._prefix: re.Pattern[str] | None = None

    @property
    def waits_for_key(self) -> bool:
        """Whether an id was read, but not its key."""
        return self._device is not None

    def feed(self, data: bytes) -> list[DeviceReading | Unreadable]:
        """Process received bytes and return the completed readings, in order."""
        results: list[DeviceReading | Unreadable] = []
        *complete, rest = _LINE_ENDS.split(data)
        for part in complete:
            self._extend_line(part)
            if not self._line_too_long:
                # Bytes that are not ASCII are noise. Their replacement character is in none of the forms.
                text = _CONTROL_SEQUENCE.sub("", self._line.decode("ascii", "replace"))
                results += self._take_line(text.strip(" \t\0"))
            self._line.clear()
            self._line_too_long = False
        self._extend_line(rest)
        return results

    def abandon(self, why: str) -> list[DeviceReading | Unreadable]:
        """Drop an incomplete device, because the port closed or the device stopped printing, and return its id."""
        self._line.clear()
        self._line_too_long = False
        return self._drop_device(why)

    def _extend_line(self, part: bytes) -> None:
        if len(self._line) + len(part) > MAX_LINE:
            self._line_too_long = True
            self._line.clear()
        if not self._line_too_long:
            self._line += part

    def _take_line(self, line: str) -> list[DeviceReading | Unreadable]:
        if _PRIVATE_KEY.search(line):
            return [Unreadable(self._release(), "it printed a private key, which is no longer secret: make a new one")]
        if '"device-id"' in line or '"public-key"' in line:
            return [*self._drop_device(_NO_KEY), self._read_json(line)]
        if marker := _UDID_MARKER.search(line):
            self._learn_prefix(line[: marker.start()])
            return self._take_udid(line[marker.end() :])
        if begin := _PEM_BEGIN.search(line):
            self._learn_prefix(line[: begin.start()])
            return self._begin_pem(begin["label"], line[begin.end() :])
        line = self._without_prefix(line)
        return self._extend_pem(self._key, line) if isinstance(self._key, _Pem) else self._take_hex(line)

    def _learn_prefix(self, text: str) -> None:
        """Keep the prefix of a logging library; its numbers, such as the time, may differ between lines."""
        self._prefix = re.compile(_DIGITS.sub("[0-9]+", re.escape(text).replace("\\ ", " "))) if text else None

    def _without_prefix(self, line: str) -> str:
        prefix = self._prefix.match(line) if self._prefix is not None else None
        return line[prefix.end() :].strip() if prefix else line

    def _take_udid(self, text: str) -> list[DeviceReading | Unreadable]:
        try:
            device = normalise_udid(text)
        except SecretFreeError:
            dropped = self._drop_device(_NO_KEY)
            return [*dropped, Unreadable(None, f"a device id that cannot be read; accepted: {UDID_LINE_FORM}")]
        if device == self._device and self._key is None:
            return []  # printed twice
        dropped = self._drop_device(_NO_KEY)
        self._device = device
        return dropped

    def _begin_pem(self, label: str, rest: str) -> list[DeviceReading | Unreadable]:
        if self._device is None and label == _PUBLIC_KEY:
            return [
                Unreadable(None, f"a public key with no device id before it; accepted: {UDID_LINE_FORM}, then the key")
            ]
        self._key = _Pem(label)
        return self._extend_pem(self._key, rest)

    def _extend_pem(self, pem: _Pem, line: str) -> list[DeviceReading | Unreadable]:
        body, end, _ = line.partition(pem.end)
        body = body.strip()
        if _BASE64_LINE.fullmatch(body):
            pem.body += body
        if len(pem.body) > MAX_KEY:
            return self._drop_device(f"its public key is longer than {MAX_KEY} characters")
        if not end:
            return []
        text = f"-----BEGIN {pem.label}-----\n{pem.body}\n{pem.end}\n"
        return self._conclude(text) if pem.label == _PUBLIC_KEY else self._conclude_request(text)

    def _take_hex(self, line: str) -> list[DeviceReading | Unreadable]:
        if self._device is None:
            return []
        label = _KEY_LABEL.search(line)
        digits = _HEX_SEPARATORS.sub("", line[label.end() :] if label else line)
        if not _HEX.fullmatch(digits):
            return []
        if label or self._key is None:
            if not label and (len(digits) < _LEAST_UNLABELLED_DIGITS or not digits.startswith(("04", "30"))):
                return []
            self._key = _Hex()
        return self._extend_hex(self._key, digits) if isinstance(self._key, _Hex) else []

    def _extend_hex(self, key: _Hex, digits: str) -> list[DeviceReading | Unreadable]:
        key.digits += digits
        key.lines += 1
        if not key.digits.startswith(("04", "30")):
            return self._drop_device(f"its public key begins with {key.digits[:2]}; accepted: {KEY_FORM}")
        if len(key.digits) > MAX_KEY:
            return self._drop_device(f"its public key is longer than {MAX_KEY} hex digits")
        if key.digits.startswith("30"):
            return self._conclude(key.digits) if len(key.digits) >= _der_digits(key.digits) else []
        if len(key.digits) not in _POINT_DIGITS:
            too_long = len(key.digits) > max(_POINT_DIGITS)
            return self._drop_device("its public key has more digits than any accepted point") if too_long else []
        # The first 65 bytes of a longer point are not a point of P-256: only a wrapped one may need its next line.
        if key.lines > 1 and len(key.digits) < max(_POINT_DIGITS) and not _is_accepted(key.digits):
            return []
        return self._conclude(key.digits)

    def _conclude(self, material: str) -> list[DeviceReading | Unreadable]:
        device = self._release()
        if device is None:
            return []
        try:
            return [DeviceReading(device, accept_public_key(material))]
        except RowRefused as refused:
            return [Unreadable(device, f"public key: {refused.detail}")]

    def _conclude_request(self, text: str) -> list[DeviceReading | Unreadable]:
        device = self._release()
        try:
            material = read_key_material(text.encode("ascii"), self._profile)
            if device is None:
                device = self._device_of_request(material.common_name or "")
            else:
                require_same_device(device, material, self._profile)
        except RowRefused as refused:
            return [Unreadable(device, f"certificate request: {refused.detail}")]
        except SecretFreeError as error:
            return [Unreadable(None, f"a certificate request with no device id before it: {error.detail}")]
        return [DeviceReading(device, material.public_key)]

    def _device_of_request(self, common_name: str) -> DeviceId:
        """Return the device of a common name. A name that may be truncated must be a whole UDID."""
        if self._profile.truncates_common_names:
            return normalise_udid(common_name)
        return self._profile.normalise_device_id(common_name)

    def _read_json(self, line: str) -> DeviceReading | Unreadable:
        try:
            statement = json.loads(line[max(line.find("{"), 0) :], object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError):
            return Unreadable(None, f"a JSON line that cannot be read; accepted: {JSON_LINE_FORM}")
        if not isinstance(statement, dict) or not all(isinstance(value, str) for value in statement.values()):
            return Unreadable(None, f"a JSON line of another form; accepted: {JSON_LINE_FORM}")
        if unknown := sorted(statement.keys() - _JSON_FIELDS):
            return Unreadable(None, f"a JSON line with the field {unknown[0][:40]!r}; accepted: {JSON_LINE_FORM}")
        return _read_statement(statement, self._profile)

    def _drop_device(self, why: str) -> list[DeviceReading | Unreadable]:
        device = self._release()
        return [] if device is None else [Unreadable(device, why)]

    def _release(self) -> DeviceId | None:
        device, self._device, self._key = self._device, None, None
        return device


def _read_statement(statement: dict[str, str], profile: DeviceProfile) -> DeviceReading | Unreadable:
    try:
        device = profile.normalise_device_id(statement.get("device-id", ""))
    except SecretFreeError as error:
        return Unreadable(None, error.detail)
    try:
        key = accept_public_key(statement.get("public-key", ""))
    except RowRefused as refused:
        return Unreadable(device, f"public key: {refused.detail}")
    if statement.get("key-fingerprint", key.fingerprint) != key.fingerprint:
        return Unreadable(device, "key-fingerprint is not the SHA-256 of the public key's DER in lower-case hex")
    return DeviceReading(device, key)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name twice")
    return fields


def _is_accepted(material: str) -> bool:
    try:
        accept_public_key(material)
    except RowRefused:
        return False
    return True


def _der_digits(digits: str) -> int:
    """Number of hex digits of the DER element that begins with `digits` (X.690, 8.1.3), at most `MAX_KEY` + 1."""
    if len(digits) < 4:
        return MAX_KEY + 1
    first = int(digits[2:4], 16)
    if first < 0x80:
        return 2 * (2 + first)
    octets = first & 0x7F
    if not 1 <= octets <= 2 or len(digits) < 4 + 2 * octets:
        return MAX_KEY + 1
    return 2 * (2 + octets + int(digits[4 : 4 + 2 * octets], 16))
