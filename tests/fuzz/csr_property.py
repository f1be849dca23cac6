"""What must hold for any bytes that arrive as `device-csr`: a refusal of ours, or a request that keeps every rule."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, parse_header_value, verify
from secretfree.request.der import first_element
from secretfree.request.device_profile import DeviceProfile

DEVICE_ID = re.compile(r"[a-zA-Z0-9:_-]{1,64}", re.ASCII)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
REFUSALS = frozenset({ErrorCode.MALFORMED_REQUEST, ErrorCode.NOT_AUTHORIZED})


def check(data: bytes) -> Mapping[DeviceProfile, VerifiedCsr]:
    """Hold the parser and the verifier to their promises on one input; return what each profile verified.

    The first byte chooses how the rest becomes a header: as its text, as what base64 in it encodes, or as the plan of
    a well-formed, signed request (see `planned_request`), which gets past the parser where mutated bytes seldom do.
    """
    return check_header_value(header_value(data)) if data else {}


def header_value(data: bytes) -> str:
    """Return the header that an input stands for."""
    return (_text, _encoded, _planned)[data[0] % 3](data[1:])


def check_header_value(value: str) -> Mapping[DeviceProfile, VerifiedCsr]:
    """As `check`, for the text of the header."""
    found: dict[DeviceProfile, VerifiedCsr] = {}
    for profile in DeviceProfile:
        try:
            found[profile] = verify(UnverifiedCsr.from_header_value(value), profile)
        except SecretFreeError as refusal:
            _check_refused(refusal, value)
    for profile, csr in found.items():
        _check_verified(csr, value, profile)
    if DeviceProfile.STANDARD in found:
        assert DeviceProfile.TI_CC32XX in found, "the lenient profile refuses what the strict one takes"
    return found


def _check_refused(refusal: SecretFreeError, value: str) -> None:
    assert refusal.code in REFUSALS, refusal.code
    sent = value.strip()
    # Short values are words of our own: "a" is in every refusal.
    assert len(sent) < 32 or sent not in refusal.detail, "a refusal repeats the request"


def _check_verified(csr: VerifiedCsr, value: str, profile: DeviceProfile) -> None:
    _check_canonical(csr.der, parse_header_value(value))
    assert csr.digest == hashlib.sha256(csr.der).hexdigest()
    assert csr.device_id is None or DEVICE_ID.fullmatch(csr.device_id)
    assert len(csr.common_name) <= 64
    assert csr.common_name.isprintable()
    independent = x509.load_der_x509_csr(csr.der)
    assert independent.public_bytes(Encoding.DER) == csr.der
    key = independent.public_key()
    assert key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == csr.public_key.spki
    if isinstance(key, rsa.RSAPublicKey):
        assert 2048 <= key.key_size <= 4096
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name in CURVES
    _check_possession(independent, key, profile)
    _check_asks_for_nothing(independent)
    again = "".join(csr.pem().splitlines()).replace("REQUEST-----M", "REQUEST-----\rM")
    for spelling in (csr.pem().encode(), again.encode(), csr.der):
        assert parse_header_value(base64.b64encode(spelling).decode()) == csr.der


def _check_canonical(der: bytes, sent: bytes) -> None:
    """The canonical form differs from what was sent by the NULL of the outer signatureAlgorithm alone."""
    assert UnverifiedCsr.from_der(der).der == der
    if der != sent:
        shorter, longer = sorted((first_element(one).content for one in (der, sent)), key=len)
        signed = x509.load_der_x509_csr(der).tbs_certrequest_bytes
        assert shorter.startswith(signed)
        null = longer.index(b"\x05\x00", len(signed))
        algorithm = len(signed) + 1  # the length of the AlgorithmIdentifier, two bytes more
        assert longer[algorithm] == shorter[algorithm] + 2
        assert longer[algorithm + 1 : null] + longer[null + 2 :] == shorter[algorithm + 1 :]


def _check_possession(request: x509.CertificateSigningRequest, key: object, profile: DeviceProfile) -> None:
    digest = request.signature_hash_algorithm
    if not isinstance(digest, hashes.SHA1):
        assert request.is_signature_valid
        return
    assert profile is DeviceProfile.TI_CC32XX
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(request.signature, request.tbs_certrequest_bytes, padding.PKCS1v15(), digest)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(request.signature, request.tbs_certrequest_bytes, ec.ECDSA(digest))


def _check_asks_for_nothing(request: x509.CertificateSigningRequest) -> None:
    try:
        requested = list(request.extensions)
    except (ValueError, x509.DuplicateExtension):
        return  # an ignored extension that the library cannot read
    for extension in requested:
        asked = extension.value
        assert not isinstance(asked, (x509.SubjectAlternativeName, x509.NameConstraints)), asked
        assert not (isinstance(asked, x509.BasicConstraints) and asked.ca)
        assert not (isinstance(asked, x509.KeyUsage) and (asked.key_cert_sign or asked.crl_sign))


def _text(rest: bytes) -> str:
    return rest.decode("latin-1")


def _encoded(rest: bytes) -> str:
    return base64.b64encode(rest).decode("ascii")


def _planned(rest: bytes) -> str:
    return _encoded(planned_request(rest))


# --- a request built from a plan ---

# Keys from fixed scalars: nothing secret, no key file, and the same request from the same plan everywhere.
_KEYS = (
    ec.derive_private_key(0x5EC2E7F2EE, ec.SECP256R1()),
    ec.derive_private_key(0x5EC2E7F2EE, ec.SECP384R1()),
    ec.derive_private_key(0x5EC2E7F2EE, ec.SECP521R1()),
    ec.derive_private_key(0x5EC2E7F2EE, ec.SECP256K1()),
)
_SUBJECT_OIDS = (
    *(bytes.fromhex(f"5504{last}") for last in ("03", "05", "06", "07", "08", "0a", "0b", "04", "29")),
    bytes.fromhex("2a864886f70d010901"),
)
_STRINGS = (0x0C, 0x13, 0x16, 0x14, 0x1E)
_ATTRIBUTE_OIDS = tuple(bytes.fromhex(f"2a864886f70d0109{last}") for last in ("0e", "0e", "0e", "02", "07", "03"))
_EXTENSION_OIDS = tuple(
    bytes.fromhex(oid)
    for oid in ("551d13", "551d0f", "551d25", "551d0e", "551d11", "551d20", "6086480186f8420101", "551d1e", "551d24")
)
_SIGNATURES: tuple[tuple[bytes, type[hashes.HashAlgorithm]], ...] = (
    (bytes.fromhex("300a06082a8648ce3d040302"), hashes.SHA256),
    (bytes.fromhex("300a06082a8648ce3d040303"), hashes.SHA384),
    (bytes.fromhex("300a06082a8648ce3d040304"), hashes.SHA512),
    (bytes.fromhex("300906072a8648ce3d0401"), hashes.SHA1),
    (bytes.fromhex("300c06082a8648ce3d0403020500"), hashes.SHA256),
)


class _Plan:
    """Reads choices off the input; an input that has ended chooses the first everywhere."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        return (self.take(1) or b"\0")[0] % below

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def sized(self, below: int) -> bytes:
        return self.take(self.number(below))


def planned_request(data: bytes) -> bytes:
    """Build the DER of a PKCS #10 request whose parts `data` chooses, signed by its own key unless it says not to."""
    plan = _Plan(data)
    key = _KEYS[plan.number(len(_KEYS))]
    algorithm, digest = _SIGNATURES[plan.number(len(_SIGNATURES))]
    forged = plan.number(16) == 15
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = _tlv(
        0x30,
        _tlv(0x02, b"\0"),
        _tlv(0x30, *_some(plan, 6, _relative_name)),
        spki,
        _tlv(0xA0, *_some(plan, 4, _attribute)),
    )
    signature = key.sign(signed, ec.ECDSA(digest(), deterministic_signing=True))
    if forged:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    return _tlv(0x30, signed, algorithm, _tlv(0x03, b"\0", signature))


def _some(plan: _Plan, below: int, part: Callable[[_Plan], bytes]) -> Iterator[bytes]:
    for _ in range(plan.number(below)):
        yield part(plan)


def _relative_name(plan: _Plan) -> bytes:
    oid = _SUBJECT_OIDS[plan.number(len(_SUBJECT_OIDS))]
    tag = _STRINGS[plan.number(len(_STRINGS))]
    return _tlv(0x31, _tlv(0x30, _tlv(0x06, oid), _tlv(tag, plan.sized(80))))


def _attribute(plan: _Plan) -> bytes:
    oid = _ATTRIBUTE_OIDS[plan.number(len(_ATTRIBUTE_OIDS))]
    if plan.number(8) == 7:
        return _tlv(0x30, _tlv(0x06, oid), _tlv(0x31, plan.sized(40)))
    return _tlv(0x30, _tlv(0x06, oid), _tlv(0x31, _tlv(0x30, *_some(plan, 4, _extension))))


def _extension(plan: _Plan) -> bytes:
    oid = _EXTENSION_OIDS[plan.number(len(_EXTENSION_OIDS))]
    critical = _tlv(0x01, b"\xff") if plan.number(2) else b""
    return _tlv(0x30, _tlv(0x06, oid), critical, _tlv(0x04, plan.sized(48)))


def _tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body
