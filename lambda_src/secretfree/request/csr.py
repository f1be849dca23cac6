"""Certificate signing requests: from the header's text to a verified request, in two types that cannot be mixed up."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from secretfree.errors import Reason, SecretFreeError, malformed, not_authorized
from secretfree.request import der
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree.request.parsing import refusing_parser_errors

# API Gateway takes 10,240 bytes of headers in all. The longest CSR worth reading is one whose PEM fits the 4,096
# characters of IoT Core's CreateCertificateFromCsr; with its line ends and once more in base64 that is 5,700.
MAX_HEADER_CHARACTERS: Final = 8_192
MAX_DER_BYTES: Final = 2_944
MAX_COMMON_NAME_CHARACTERS: Final = 64  # X.520, ub-common-name


def parse_header_value(value: str) -> bytes:
    """The DER inside a `device-csr` value: base64 (RFC 4648, padded, canonical) of PEM (RFC 7468) or of DER.

    A PEM is one block, with LF, CRLF, CR or no line ends, wrapped or not. What is decoded is not yet known to be a CSR.
    Raises SecretFreeError (`malformed-request`).
    """
    text = value.strip(" \t")  # optional white space is no part of a field's value (RFC 9110, section 5.5)
    if len(text) > MAX_HEADER_CHARACTERS:
        raise malformed(f"device-csr of more than {MAX_HEADER_CHARACTERS} characters", reason=Reason.OVERSIZED)
    decoded = _strict_base64(text, "device-csr")
    if decoded.lstrip(_PEM_WHITE_SPACE).startswith(b"-----"):
        return _der_of_pem(decoded)
    return decoded


@dataclass(frozen=True, slots=True)
class SubjectAttribute:
    """One attribute of a subject, undecoded: the OID's content bytes, the value's tag and content bytes."""

    oid: bytes
    tag: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pkcs10:
    """The parts of a PKCS #10 request (RFC 2986), as they stand in its DER."""

    signed_bytes: bytes = field(repr=False)
    subject: tuple[SubjectAttribute, ...] = field(repr=False)
    spki: bytes = field(repr=False)
    attribute_oids: tuple[bytes, ...] = field(repr=False)
    signature_algorithm: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    parsed: x509.CertificateSigningRequest = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class UnverifiedCsr:
    """A request that can be read, and of which nothing is to be believed yet.

    Raises SecretFreeError (`malformed-request`) for other bytes, and nothing else. Two parsers read them, ours for the
    exact structure and the library's; both must find the same request.
    """

    der: bytes = field(repr=False)
    parts: Pkcs10 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.der) > MAX_DER_BYTES:
            raise malformed(f"a CSR of more than {MAX_DER_BYTES} bytes", reason=Reason.OVERSIZED)
        with refusing_parser_errors(_not_a_csr):
            object.__setattr__(self, "parts", _read(self.der))

    @classmethod
    def from_header_value(cls, value: str) -> Self:
        """From the text of the `device-csr` header."""
        return cls(parse_header_value(value))

    @classmethod
    def from_der(cls, data: bytes) -> Self:
        """From DER."""
        return cls(data)


_VERIFIER: Final = object()


@dataclass(frozen=True)
class VerifiedCsr:
    """A request that keeps every rule and whose signature its own key made. Only `verify` can make one.

    `digest` is the lower-case hex SHA-256 of `der`. `device_id` is None where the common name is no device id, which
    MatchPolicy.PUBLIC_KEY alone can do without.
    """

    der: bytes = field(repr=False)
    common_name: str
    device_id: DeviceId | None
    public_key: DevicePublicKey
    verifier: InitVar[object]
    digest: str = field(init=False)

    def __post_init__(self, verifier: object) -> None:
        if verifier is not _VERIFIER:
            raise TypeError("a VerifiedCsr is made by secretfree.request.csr.verify alone")
        object.__setattr__(self, "digest", hashlib.sha256(self.der).hexdigest())

    def pem(self) -> str:
        """PEM, wrapped at 64 columns, with LF line ends: the form that AWS takes."""
        body = base64.b64encode(self.der).decode("ascii")
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""])


def verify(unverified: UnverifiedCsr, profile: DeviceProfile) -> VerifiedCsr:
    """Hold a request to the rules of `profile` and check its proof of possession.

    Raises SecretFreeError: `malformed-request` for what the request is or asks for, `not-authorized` for a signature
    that is not by the request's own key.
    """
    parts = unverified.parts
    common_name = _common_name(parts.subject, profile)
    _refuse_requests_for_identity(parts)
    public_key = DevicePublicKey.from_spki_der(parts.spki)
    _verify_signature(parts, public_key, profile)
    return VerifiedCsr(
        der=unverified.der,
        common_name=common_name,
        device_id=profile.device_id(common_name),
        public_key=public_key,
        verifier=_VERIFIER,
    )


# --- the header's text ---

_PEM_WHITE_SPACE: Final = b" \t\r\n"
# RFC 7468, section 7: "NEW CERTIFICATE REQUEST" may be taken as the same.
_PEM: Final = re.compile(
    rb"[ \t\r\n]*-----BEGIN (NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/= \t\r\n]*)"
    rb"-----END (?(1)NEW )CERTIFICATE REQUEST-----[ \t\r\n]*"
)


def _strict_base64(text: str | bytes, what: str) -> bytes:
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise malformed(f"{what} is not base64", reason=Reason.NOT_BASE64) from None
    # Strict mode takes any value of the bits that padding leaves unused; one text per value is all we take.
    if binascii.b2a_base64(decoded, newline=False) != encoded:
        raise malformed(f"{what} is not canonical base64", reason=Reason.NOT_BASE64)
    return decoded


def _der_of_pem(pem: bytes) -> bytes:
    matched = _PEM.fullmatch(pem)
    if matched is None:
        if _PEM.match(pem) is not None:
            raise malformed("bytes after the PEM block", reason=Reason.TRAILING_BYTES)
        raise malformed("not one PEM block 'CERTIFICATE REQUEST'", reason=Reason.NOT_A_CSR)
    return _strict_base64(matched.group(2).translate(None, delete=_PEM_WHITE_SPACE), "the PEM block")


def _not_a_csr(_error: BaseException) -> SecretFreeError:
    return malformed("not a PKCS #10 request in DER", reason=Reason.NOT_A_CSR)


# --- the structure ---


def _read(data: bytes) -> Pkcs10:
    outer = der.first_element(data)
    if outer.tag != der.SEQUENCE:
        raise der.NotDerError("not a sequence")
    if len(outer.raw) != len(data):
        raise malformed("bytes after the CSR", reason=Reason.TRAILING_BYTES)
    request, algorithm, signature = outer.children(der.SEQUENCE, der.SEQUENCE, der.BIT_STRING)
    version, name, spki, attributes = request.children(der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.CONTEXT_0)
    if version.content != b"\x00":
        raise der.NotDerError("a version other than v1")
    if signature.content[:1] != b"\x00":
        raise der.NotDerError("a signature that does not end at a byte")
    subject, attribute_oids = tuple(_subject_attributes(name)), tuple(_attribute_oids(attributes))
    parsed = x509.load_der_x509_csr(data)
    if (parsed.tbs_certrequest_bytes, parsed.signature) != (request.raw, signature.content[1:]):
        raise der.NotDerError("the parsers disagree")
    return Pkcs10(
        signed_bytes=request.raw,
        subject=subject,
        spki=spki.raw,
        attribute_oids=attribute_oids,
        signature_algorithm=algorithm.raw,
        signature=signature.content[1:],
        parsed=parsed,
    )


# --- the subject ---

_COMMON_NAME: Final = bytes.fromhex("550403")
_SUBJECT_ATTRIBUTES: Final = frozenset(
    {
        _COMMON_NAME,
        bytes.fromhex("550405"),  # serialNumber
        bytes.fromhex("550406"),  # countryName
        bytes.fromhex("550407"),  # localityName
        bytes.fromhex("550408"),  # stateOrProvinceName
        bytes.fromhex("55040a"),  # organizationName
        bytes.fromhex("55040b"),  # organizationalUnitName
    }
)
_PERSONAL_SUBJECT_ATTRIBUTES: Final = frozenset(
    {
        bytes.fromhex("550404"),  # surname
        bytes.fromhex("2a864886f70d010901"),  # emailAddress (PKCS #9)
    }
)
_TEXT_ENCODINGS: Final[Mapping[int, str]] = {
    der.UTF8_STRING: "utf-8",
    der.PRINTABLE_STRING: "ascii",
    der.IA5_STRING: "ascii",
}


def _subject_attributes(name: der.Element) -> list[SubjectAttribute]:
    attributes: list[SubjectAttribute] = []
    for relative_name in name.children_of(der.SET):
        for pair in relative_name.children_of(der.SEQUENCE):
            oid, value = der.elements(pair.content)
            if oid.tag != der.OBJECT_IDENTIFIER:
                raise der.NotDerError("a subject attribute without a type")
            attributes.append(SubjectAttribute(oid.content, value.tag, value.content))
    return attributes


def _common_name(subject: Sequence[SubjectAttribute], profile: DeviceProfile) -> str:
    accepted = _SUBJECT_ATTRIBUTES
    if profile.accepts_personal_subject_attributes:
        accepted |= _PERSONAL_SUBJECT_ATTRIBUTES
    if any(attribute.oid not in accepted for attribute in subject):
        raise malformed("a subject attribute that the device profile does not take", reason=Reason.SUBJECT)
    names = [attribute for attribute in subject if attribute.oid == _COMMON_NAME]
    if len(names) != 1:
        raise malformed(f"{len(names)} common names: accepted is one", reason=Reason.SUBJECT)
    text = _text(names[0])
    if len(text) > MAX_COMMON_NAME_CHARACTERS:
        raise malformed(
            f"a common name of {len(text)} characters: accepted are {MAX_COMMON_NAME_CHARACTERS}",
            reason=Reason.DEVICE_ID,
        )
    if not text.isprintable() or (not text and not profile.truncates_common_names):
        raise malformed("a common name that is empty or not printable", reason=Reason.DEVICE_ID)
    return text


def _text(attribute: SubjectAttribute) -> str:
    encoding = _TEXT_ENCODINGS.get(attribute.tag)
    if encoding is None:
        raise malformed(
            "a common name of another string type than UTF8String, PrintableString, IA5String", reason=Reason.SUBJECT
        )
    try:
        return attribute.value.decode(encoding)
    except UnicodeDecodeError:
        raise malformed("a common name that is not text of its string type", reason=Reason.DEVICE_ID) from None


# --- what the request asks for ---

_EXTENSION_REQUEST: Final = bytes.fromhex("2a864886f70d01090e")
_IGNORED_ATTRIBUTES: Final = frozenset(
    {
        bytes.fromhex("2a864886f70d010902"),  # unstructuredName
        bytes.fromhex("2a864886f70d010907"),  # challengePassword: the tools ask for it, nobody here reads it
    }
)


def _attribute_oids(attributes: der.Element) -> list[bytes]:
    oids: list[bytes] = []
    for attribute in attributes.children_of(der.SEQUENCE):
        oid, _values = attribute.children(der.OBJECT_IDENTIFIER, der.SET)
        oids.append(oid.content)
    return oids


def _refuse_requests_for_identity(parts: Pkcs10) -> None:
    """Take only extensions that ask for what every certificate of ours has anyway; they are then ignored.

    Whether Private CA drops a SAN that the passthrough leaves out is not documented, so no request with one gets there.
    """
    oids = parts.attribute_oids
    if any(oid != _EXTENSION_REQUEST and oid not in _IGNORED_ATTRIBUTES for oid in oids):
        raise malformed("a requested attribute that is not accepted", reason=Reason.REQUESTED_ATTRIBUTE)
    # The library reads the first extensionRequest only: a second one would be a blind spot.
    if oids.count(_EXTENSION_REQUEST) > 1:
        raise malformed("more than one extensionRequest", reason=Reason.REQUESTED_EXTENSION)
    with refusing_parser_errors(_unreadable_extension):
        for extension in parts.parsed.extensions:
            if not _asks_for_nothing(extension.value):
                raise malformed(
                    "a requested extension other than CA:FALSE, a leaf's key usage, client authentication and subject "
                    "key identifier",
                    reason=Reason.REQUESTED_EXTENSION,
                )


def _asks_for_nothing(extension: x509.ExtensionType) -> bool:
    match extension:
        case x509.BasicConstraints():
            return not extension.ca
        case x509.KeyUsage():
            return not (extension.key_cert_sign or extension.crl_sign)
        case x509.ExtendedKeyUsage():
            return list(extension) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        case x509.SubjectKeyIdentifier():
            return True
        case _:
            return False


def _unreadable_extension(_error: BaseException) -> SecretFreeError:
    return malformed("a requested extension that cannot be read", reason=Reason.REQUESTED_EXTENSION)


# --- proof of possession ---

_RSA: Final = rsa.RSAPublicKey
_EC: Final = ec.EllipticCurvePublicKey
# By the whole AlgorithmIdentifier, parameters included: NULL for RSA (RFC 8017, A.2.4), none for ECDSA (RFC 5758, 3.2).
# RSASSA-PSS is left out: its parameters open a choice of hashes within, and no device known to us signs a CSR with it.
_SIGNATURE_ALGORITHMS: Final[Mapping[bytes, tuple[type, hashes.HashAlgorithm]]] = {
    bytes.fromhex("300d06092a864886f70d01010b0500"): (_RSA, hashes.SHA256()),
    bytes.fromhex("300d06092a864886f70d01010c0500"): (_RSA, hashes.SHA384()),
    bytes.fromhex("300d06092a864886f70d01010d0500"): (_RSA, hashes.SHA512()),
    bytes.fromhex("300a06082a8648ce3d040302"): (_EC, hashes.SHA256()),
    bytes.fromhex("300a06082a8648ce3d040303"): (_EC, hashes.SHA384()),
    bytes.fromhex("300a06082a8648ce3d040304"): (_EC, hashes.SHA512()),
}
_SHA1_SIGNATURE_ALGORITHMS: Final[Mapping[bytes, tuple[type, hashes.HashAlgorithm]]] = {
    bytes.fromhex("300d06092a864886f70d0101050500"): (_RSA, hashes.SHA1()),  # noqa: S303 - DeviceProfile.TI_CC32XX
    bytes.fromhex("300906072a8648ce3d0401"): (_EC, hashes.SHA1()),  # noqa: S303
}


def _verify_signature(parts: Pkcs10, public_key: DevicePublicKey, profile: DeviceProfile) -> None:
    algorithms = dict(_SIGNATURE_ALGORITHMS)
    if profile.accepts_sha1_proof_of_possession:
        algorithms |= _SHA1_SIGNATURE_ALGORITHMS
    family, digest = algorithms.get(parts.signature_algorithm, (None, None))
    if family is None or digest is None or not isinstance(public_key.key, family):
        raise malformed(
            "a signature algorithm that is not accepted, or not of the key's family", reason=Reason.SIGNATURE_ALGORITHM
        )
    with refusing_parser_errors(_bad_signature):
        if isinstance(public_key.key, rsa.RSAPublicKey):
            public_key.key.verify(parts.signature, parts.signed_bytes, padding.PKCS1v15(), digest)
        else:
            public_key.key.verify(parts.signature, parts.signed_bytes, ec.ECDSA(digest))


def _bad_signature(_error: BaseException) -> SecretFreeError:
    return not_authorized("the signature is not by the request's own key", reason=Reason.BAD_SIGNATURE)
