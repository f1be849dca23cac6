"""Device public keys: one type that only accepted keys have (allow-list of kinds, no weak key)."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.request.parsing import refusing_parser_errors
from secretfree.request.weak_keys import weakness

ACCEPTED_KEYS: Final = "RSA of 2048 to 4096 bits with exponent 65537, and EC on P-256, P-384 or P-521"
REGISTRY_KEY_FORM: Final = "base64 of a public key's PEM, the PEM itself, or base64 of the SubjectPublicKeyInfo's DER"

# RSA-4096 has 550 bytes of DER, 800 characters of PEM, 1,070 characters of base64 of that PEM.
_MAX_REGISTRY_TEXT: Final = 4_096
_PEM: Final = re.compile(
    r"[ \t\r\n]*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/= \t\r\n]*)-----END PUBLIC KEY-----[ \t\r\n]*", re.ASCII
)
_WHITE_SPACE: Final = b" \t\r\n"
# A request and its device's registry record have the same key, and the checks of an RSA key take over a millisecond.
_REMEMBERED_KEYS: Final = 16
_PEM_LINE: Final = 64
"""Maximum length of a PEM line in characters (RFC 7468 section 2)."""


class KeyKind(StrEnum):
    """The kinds of key that a device may have."""

    RSA = "RSA"
    EC_P256 = "P-256"
    EC_P384 = "P-384"
    EC_P521 = "P-521"


class KeyRejected(SecretFreeError):  # noqa: N818 - a refusal, not a fault
    """A key that is not accepted: of another kind, weak or unreadable."""

    def __init__(self, detail: str, *, reason: Reason) -> None:
        super().__init__(ErrorCode.MALFORMED_REQUEST, detail, reason=reason)


@dataclass(frozen=True, slots=True)
class DevicePublicKey:
    """An accepted public key. Two keys are equal if their SubjectPublicKeyInfo is equal.

    `spki` is the DER of the SubjectPublicKeyInfo (RFC 5280 section 4.1; named curve, uncompressed point), `fingerprint`
    the lower-case hex SHA-256 of it, `bits` the size of the modulus or the curve.
    """

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = field(repr=False, compare=False)
    spki: bytes = field(init=False, repr=False)
    fingerprint: str = field(init=False)
    kind: KeyKind = field(init=False)
    bits: int = field(init=False)

    def __post_init__(self) -> None:
        kind = _accepted_kind(self.key)
        spki = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        object.__setattr__(self, "spki", spki)
        object.__setattr__(self, "fingerprint", hashlib.sha256(spki).hexdigest())
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "bits", self.key.key_size)

    @classmethod
    def from_key(cls, key: PublicKeyTypes) -> Self:
        """Return a key of the `cryptography` library as an accepted one; raises KeyRejected."""
        if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
            raise KeyRejected(f"key of another kind; accepted: {ACCEPTED_KEYS}", reason=Reason.KEY_KIND)
        return cls(key)

    @staticmethod
    def from_spki_der(der: bytes) -> "DevicePublicKey":
        """From the DER of a SubjectPublicKeyInfo, in its one canonical form; raises KeyRejected."""
        return _from_spki_der(der)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> "DevicePublicKey":
        """From one PEM block `PUBLIC KEY`, with any line ends; raises KeyRejected."""
        text = pem.decode("ascii", "replace") if isinstance(pem, bytes) else pem
        matched = _PEM.fullmatch(text)
        if matched is None:
            raise KeyRejected("not exactly one PEM block 'PUBLIC KEY'", reason=Reason.KEY_KIND)
        return cls.from_spki_der(_base64(matched.group(1)))

    @classmethod
    def from_registry(cls, text: str) -> "DevicePublicKey":
        """From the registry's attribute `pubkey` in any of its accepted forms; raises KeyRejected."""
        if len(text) > _MAX_REGISTRY_TEXT:
            raise KeyRejected(f"longer than {_MAX_REGISTRY_TEXT} characters", reason=Reason.OVERSIZED)
        if "-----BEGIN" in text:
            return cls.from_pem(text)
        decoded = _base64(text)
        return cls.from_pem(decoded) if decoded.lstrip().startswith(b"-----BEGIN") else cls.from_spki_der(decoded)

    @property
    def label(self) -> str:
        """The kind and size for output: `RSA-2048`, `P-256`."""
        return f"RSA-{self.bits}" if self.kind is KeyKind.RSA else self.kind.value

    def pem(self) -> str:
        """PEM, with LF line ends."""
        return _pem(self.spki)

    def registry_text(self) -> str:
        """The form in existing secret-free tables: base64, on one line, of the PEM."""
        return registry_text(self.spki)


def registry_text(spki: bytes) -> str:
    """The registry's form of an accepted key, from its SubjectPublicKeyInfo: see the method of this name."""
    return base64.b64encode(_pem(spki).encode("ascii")).decode("ascii")


_CANONICAL_EC: Final = "EC with only a named curve and an uncompressed point"
_CANONICAL_RSA: Final = "RSA with only NULL as the algorithm's parameter"
_CURVES: Final = {"secp256r1": KeyKind.EC_P256, "secp384r1": KeyKind.EC_P384, "secp521r1": KeyKind.EC_P521}


@lru_cache(maxsize=_REMEMBERED_KEYS)
def _from_spki_der(der: bytes) -> DevicePublicKey:
    with refusing_parser_errors(_unreadable):
        key = load_der_public_key(der)
    accepted = DevicePublicKey.from_key(key)
    if accepted.spki != der:
        form = _CANONICAL_RSA if accepted.kind is KeyKind.RSA else _CANONICAL_EC
        raise KeyRejected(f"the key's DER is not canonical; accepted: {form}", reason=Reason.KEY_KIND)
    return accepted


def _accepted_kind(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> KeyKind:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _accepted_curve(key)
    numbers = key.public_numbers()
    if not 2048 <= numbers.n.bit_length() <= 4096 or numbers.e != 65537:
        raise KeyRejected(
            f"RSA of {numbers.n.bit_length()} bits, exponent {'65537' if numbers.e == 65537 else 'other than 65537'}; "
            f"accepted: {ACCEPTED_KEYS}",
            reason=Reason.KEY_KIND,
        )
    if (flaw := weakness(numbers.n)) is not None:
        raise KeyRejected(flaw, reason=Reason.WEAK_KEY)
    return KeyKind.RSA


def _accepted_curve(key: ec.EllipticCurvePublicKey) -> KeyKind:
    # The library verified that the point is on its curve when it loaded the key.
    kind = _CURVES.get(key.curve.name)
    if kind is None:
        raise KeyRejected(f"EC on {key.curve.name}; accepted: {ACCEPTED_KEYS}", reason=Reason.KEY_KIND)
    return kind


def _pem(spki: bytes) -> str:
    # Encoded here, because the library would parse the key again, and an import writes one for each device.
    encoded = base64.b64encode(spki).decode("ascii")
    lines = "\n".join(encoded[start : start + _PEM_LINE] for start in range(0, len(encoded), _PEM_LINE))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def _base64(text: str) -> bytes:
    """Base64 with white space anywhere."""
    try:
        return binascii.a2b_base64(text.encode("ascii").translate(None, _WHITE_SPACE), strict_mode=True)
    except ValueError:
        raise KeyRejected(f"not base64; accepted: {REGISTRY_KEY_FORM}", reason=Reason.NOT_BASE64) from None


def _unreadable(_error: BaseException) -> KeyRejected:
    return KeyRejected(f"no public key that can be read; accepted: {ACCEPTED_KEYS}", reason=Reason.KEY_KIND)
