"""Certificate signing requests: from the header's text to a verified request, in two distinct types."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Final, Self

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.request import der
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree.request.parsing import refusing_parser_errors
from secretfree.request.pkcs10 import CsrElement, CsrRefused, Pkcs10, SubjectAttribute, accepted_key, read_request
from secretfree.request.requested import refuse_requests_for_power
from secretfree.request.signature_algorithm import SIGNATURE_ALGORITHMS_FORM, accepted_algorithm, encoding_fault

# API Gateway takes 10,240 bytes of headers in all. A CSR's PEM has at most 4,096 characters (IoT Core,
# CreateCertificateFromCsr). With line ends and again in base64, these are 5,700.
MAX_HEADER_CHARACTERS: Final = 8_192
MAX_DER_BYTES: Final = 2_944
MAX_COMMON_NAME_CHARACTERS: Final = 64  # X.520, ub-common-name


def parse_header_value(value: str) -> bytes:
    """The DER inside a `device-csr` value: base64 (RFC 4648, padded, canonical) of PEM (RFC 7468) or of DER.

    The result may not be a CSR. Raises SecretFreeError (`malformed-request`).
    """
    text = value.strip(" \t")  # optional white space is not part of a field's value (RFC 9110, section 5.5)
    if len(text) > MAX_HEADER_CHARACTERS:
        raise CsrRefused(CsrElement.HEADER, f"more than {MAX_HEADER_CHARACTERS} characters", reason=Reason.OVERSIZED)
    return request_der(_strict_base64(text, CsrElement.HEADER))


def parse_body(data: bytes) -> bytes:
    """The DER inside a request's body: base64 (RFC 4648, white space anywhere, as RFC 8951 asks of EST), PEM or DER.

    The result may not be a CSR. Raises SecretFreeError (`malformed-request`).
    """
    if len(data) > MAX_HEADER_CHARACTERS:
        raise CsrRefused(CsrElement.BODY, f"more than {MAX_HEADER_CHARACTERS} bytes", reason=Reason.OVERSIZED)
    if not data.isascii() or data.lstrip(_PEM_WHITE_SPACE).startswith(b"-----"):
        return request_der(data)
    return request_der(_strict_base64(data.translate(None, delete=_PEM_WHITE_SPACE), CsrElement.BODY))


def request_der(data: bytes) -> bytes:
    """The DER in `data`, which is DER or one PEM block with only white space around it.

    The block has LF, CRLF, CR or no line ends, wrapped or not. Raises SecretFreeError (`malformed-request`).
    """
    if data.lstrip(_PEM_WHITE_SPACE).startswith(b"-----"):
        return _der_of_pem(data)
    # A request's DER is never pure ASCII. Text that begins with the digit 0, DER's tag, is.
    if _BEGIN in data and (data[:1] != bytes([der.SEQUENCE]) or data.isascii()):
        raise CsrRefused(
            CsrElement.PEM, "text or a byte order mark before the PEM block", reason=Reason.TEXT_BEFORE_PEM
        )
    return data


@dataclass(frozen=True, slots=True)
class UnverifiedCsr:
    """A request that was parsed. Nothing about it is proven yet.

    `der` is its canonical form: the outer `signatureAlgorithm` is rewritten as the standards write it (see
    `signature_algorithm.canonical_identifier`). That field is outside the signed bytes, so the signature covers the
    same bytes as before. For all other bytes, this raises only SecretFreeError (`malformed-request`).
    """

    der: bytes = field(repr=False)
    parts: Pkcs10 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_size(self.der)
        parts = read_request(self.der)
        _require_size(parts.der)
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "der", parts.der)

    @classmethod
    def from_header_value(cls, value: str) -> Self:
        """From the text of the `device-csr` header."""
        return cls(parse_header_value(value))

    @classmethod
    def from_body(cls, data: bytes) -> Self:
        """From the body of a request of the type `application/pkcs10` or `application/x-pem-file`."""
        return cls(parse_body(data))

    @classmethod
    def from_der(cls, data: bytes) -> Self:
        """From DER."""
        return cls(data)


_VERIFIER: Final = object()


@dataclass(frozen=True)
class VerifiedCsr:
    """A request that follows every rule and is signed by its own key. Only `verify` makes one.

    `der` is the canonical form (see UnverifiedCsr): what the CA receives. `digest` is the lower-case hex SHA-256 of it.
    `device_id` is None if the common name is not a device id, which only MatchPolicy.PUBLIC_KEY accepts.
    """

    der: bytes = field(repr=False)
    common_name: str
    device_id: DeviceId | None
    public_key: DevicePublicKey
    verifier: InitVar[object]
    digest: str = field(init=False)

    def __post_init__(self, verifier: object) -> None:
        if verifier is not _VERIFIER:
            raise TypeError("only secretfree.request.csr.verify makes a VerifiedCsr")
        object.__setattr__(self, "digest", hashlib.sha256(self.der).hexdigest())

    def pem(self) -> str:
        """PEM, wrapped at 64 columns, with LF line ends: the form that AWS takes."""
        body = base64.b64encode(self.der).decode("ascii")
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""])


def claimed_device_id(unverified: UnverifiedCsr, profile: DeviceProfile) -> DeviceId | None:
    """The device id in the common name of an unverified request; None if the common name is no device id.

    Raises SecretFreeError (`malformed-request`) for a subject that the profile does not accept.
    """
    return profile.device_id(_common_name(unverified.parts.subject, profile))


def verify(unverified: UnverifiedCsr, profile: DeviceProfile) -> VerifiedCsr:
    """Check a request by the rules of `profile`, and check its proof of possession.

    Raises SecretFreeError: `malformed-request` for a wrong form or a requested right, `not-authorized` for a
    well-formed signature that the request's own key did not make.
    """
    parts = unverified.parts
    common_name = _common_name(parts.subject, profile)
    refuse_requests_for_power(parts)
    public_key = accepted_key(parts)
    _verify_signature(parts, public_key, profile)
    return VerifiedCsr(
        der=unverified.der,
        common_name=common_name,
        device_id=profile.device_id(common_name),
        public_key=public_key,
        verifier=_VERIFIER,
    )


@dataclass(frozen=True, slots=True)
class CsrFault:
    """Why a request is refused: the element at fault, the reason as logged, and the detail."""

    element: CsrElement
    reason: Reason
    code: ErrorCode
    detail: str


def check(data: bytes, profile: DeviceProfile) -> CsrFault | None:
    """The first fault that the runtime finds in a request under `profile`, or None.

    `data` is PEM or DER, as it is before its base64 becomes the header's value. This does not check
    whether the device is enrolled, or whether its common name is the id that a match policy requires.
    """
    try:
        verify(UnverifiedCsr(request_der(data)), profile)
    except CsrRefused as refused:
        return CsrFault(refused.element, refused.reason, refused.code, refused.detail)
    except SecretFreeError as refused:
        return CsrFault(CsrElement.REQUEST, refused.reason, refused.code, refused.detail)
    return None


# --- the header's text ---

_PEM_WHITE_SPACE: Final = b" \t\r\n"
_BEGIN: Final = b"-----BEGIN "
# RFC 7468, section 7: "NEW CERTIFICATE REQUEST" may be accepted as an alias.
_PEM: Final = re.compile(
    rb"[ \t\r\n]*-----BEGIN (NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/= \t\r\n]*)"
    rb"-----END (?(1)NEW )CERTIFICATE REQUEST-----[ \t\r\n]*"
)


def _strict_base64(text: str | bytes, element: CsrElement) -> bytes:
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise CsrRefused(element, "not base64", reason=Reason.NOT_BASE64) from None
    # Strict mode accepts any value of the bits that padding leaves unused. Only one text per value is accepted here.
    if binascii.b2a_base64(decoded, newline=False) != encoded:
        raise CsrRefused(element, "not canonical base64", reason=Reason.NOT_BASE64)
    return decoded


def _der_of_pem(pem: bytes) -> bytes:
    matched = _PEM.fullmatch(pem)
    if matched is None:
        if _PEM.match(pem) is not None:
            raise CsrRefused(CsrElement.PEM, "bytes after the PEM block", reason=Reason.TRAILING_BYTES)
        raise CsrRefused(CsrElement.PEM, "not exactly one block 'CERTIFICATE REQUEST'", reason=Reason.NOT_A_CSR)
    return _strict_base64(matched.group(2).translate(None, delete=_PEM_WHITE_SPACE), CsrElement.PEM)


def _require_size(data: bytes) -> None:
    if len(data) > MAX_DER_BYTES:
        raise CsrRefused(CsrElement.REQUEST, f"more than {MAX_DER_BYTES} bytes", reason=Reason.OVERSIZED)


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


def _common_name(subject: tuple[SubjectAttribute, ...], profile: DeviceProfile) -> str:
    accepted = _SUBJECT_ATTRIBUTES
    if profile.accepts_personal_subject_attributes:
        accepted |= _PERSONAL_SUBJECT_ATTRIBUTES
    if any(attribute.oid not in accepted for attribute in subject):
        raise _subject("an attribute that the device profile does not accept", Reason.SUBJECT)
    names = [attribute for attribute in subject if attribute.oid == _COMMON_NAME]
    if len(names) != 1:
        raise _subject(f"{len(names)} common names; accepted: one", Reason.SUBJECT)
    text = _text(names[0])
    if len(text) > MAX_COMMON_NAME_CHARACTERS:
        raise _subject(
            f"a common name of {len(text)} characters: at most {MAX_COMMON_NAME_CHARACTERS}", Reason.DEVICE_ID
        )
    if not text.isprintable() or (not text and not profile.truncates_common_names):
        raise _subject("a common name that is empty or not printable", Reason.DEVICE_ID)
    return text


def _text(attribute: SubjectAttribute) -> str:
    encoding = _TEXT_ENCODINGS.get(attribute.tag)
    if encoding is None:
        raise _subject(
            "a common name of another string type than UTF8String, PrintableString, IA5String", Reason.STRING_TYPE
        )
    try:
        return attribute.value.decode(encoding)
    except UnicodeDecodeError:
        raise _subject("a common name that is invalid for its string type", Reason.DEVICE_ID) from None


def _subject(detail: str, reason: Reason) -> CsrRefused:
    return CsrRefused(CsrElement.SUBJECT, detail, reason=reason)


# --- proof of possession ---


def _verify_signature(parts: Pkcs10, public_key: DevicePublicKey, profile: DeviceProfile) -> None:
    sha1 = profile.accepts_sha1_proof_of_possession
    algorithm = accepted_algorithm(parts.signature_algorithm, public_key, sha1=sha1)
    if algorithm is None:
        raise CsrRefused(
            CsrElement.SIGNATURE_ALGORITHM,
            f"accepted: {SIGNATURE_ALGORITHMS_FORM}{', or SHA-1' if sha1 else ''}",
            reason=Reason.SIGNATURE_ALGORITHM,
        )
    fault = encoding_fault(parts.signature, public_key)
    if fault is not None:
        raise CsrRefused(CsrElement.SIGNATURE, fault, reason=Reason.SIGNATURE_ENCODING)
    with refusing_parser_errors(_bad_signature):
        algorithm.verify(public_key, parts.signature, parts.signed_bytes)


def _bad_signature(_error: BaseException) -> SecretFreeError:
    return CsrRefused(
        CsrElement.SIGNATURE,
        "the request's own key did not make it over these bytes",
        reason=Reason.BAD_SIGNATURE,
        code=ErrorCode.NOT_AUTHORIZED,
    )
