"""JSON Web Keys (RFC 7517, 7518): public keys of the accepted kinds."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from secretfree.errors import Reason
from secretfree.registry.admission import Refusal, RowRefused

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_CURVES: Final[Mapping[object, tuple[type[ec.EllipticCurve], int]]] = {
    "P-256": (ec.SECP256R1, 32),
    "P-384": (ec.SECP384R1, 48),
    "P-521": (ec.SECP521R1, 66),
}
"""Maps a name to the curve and the length of a coordinate in bytes (RFC 7518, 6.2.1.2)."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})


def jwk_key(jwk: Mapping[str, object]) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Return the key of a JWK; raises RowRefused for a private key, for another kind, and for a point off its curve."""
    if _PRIVATE & jwk.keys():
        raise RowRefused(
            Refusal.MALFORMED_ROW, "this is a PRIVATE key, which must never leave its device; use the public key"
        )
    if jwk.get("kty") == "RSA":
        return _rsa_key(jwk)
    curve = _CURVES.get(jwk.get("crv")) if isinstance(jwk.get("crv"), str) else None
    if jwk.get("kty") != "EC" or curve is None:
        raise RowRefused(
            Reason.KEY_KIND,
            f"a key of kind {str(jwk.get('kty'))[:20]!a} {str(jwk.get('crv'))[:20]!a}; "
            f"accepted: EC on {', '.join(map(str, _CURVES))}, and RSA",
        )
    kind, size = curve
    x, y = (decode_base64url(_required(jwk, name), name) for name in ("x", "y"))
    if len(x) != size or len(y) != size:
        raise RowRefused(Reason.KEY_KIND, f"coordinates of {len(x)} and {len(y)} bytes; {jwk['crv']} has {size}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(kind(), b"\x04" + x + y)
    except ValueError as error:
        raise RowRefused(Reason.KEY_KIND, f"not a point on {jwk['crv']}") from error


def base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str, what: str) -> bytes:
    """Decode without padding (RFC 7515, 2); raises RowRefused naming `what`."""
    if not _BASE64URL.fullmatch(text):
        raise RowRefused(Refusal.MALFORMED_ROW, f"{what} is not base64url without padding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise RowRefused(Refusal.MALFORMED_ROW, f"{what} is not base64url without padding") from error


def _rsa_key(jwk: Mapping[str, object]) -> rsa.RSAPublicKey:
    modulus, exponent = (int.from_bytes(decode_base64url(_required(jwk, name), name)) for name in ("n", "e"))
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except (ValueError, OverflowError) as error:
        raise RowRefused(Reason.KEY_KIND, "not an RSA key") from error


def _required(jwk: Mapping[str, object], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise RowRefused(Refusal.MALFORMED_ROW, f"{name} is missing, or not text")
    return value
