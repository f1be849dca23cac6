"""The structure of a PKCS #10 request (RFC 2986): its parts, its canonical form, and the element at fault."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography import x509

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.request import der
from secretfree.request.keys import DevicePublicKey, KeyRejected
from secretfree.request.parsing import refusing_parser_errors
from secretfree.request.signature_algorithm import canonical_identifier


class CsrElement(StrEnum):
    """A part of a request that a refusal can name. Inside the request, the names are those of RFC 2986."""

    HEADER = "header"
    BODY = "body"
    PEM = "PEM"
    REQUEST = "request"
    VERSION = "version"
    SUBJECT = "subject"
    KEY = "subjectPKInfo"
    ATTRIBUTES = "attributes"
    EXTENSIONS = "extensionRequest"
    SIGNATURE_ALGORITHM = "signatureAlgorithm"
    SIGNATURE = "signature"


class CsrRefused(SecretFreeError):  # noqa: N818 - a refusal, not a fault
    """A refusal that names the element at fault.

    `detail` begins with the element and repeats nothing from the request.
    """

    def __init__(
        self,
        element: CsrElement,
        detail: str,
        *,
        reason: Reason,
        code: ErrorCode = ErrorCode.MALFORMED_REQUEST,
    ) -> None:
        super().__init__(code, f"{element}: {detail}", reason=reason)
        self.element = element


@contextmanager
def reading(element: CsrElement, structure: Reason = Reason.CSR_STRUCTURE) -> Iterator[None]:
    """Turn DER errors of the block into refusals of `element`.

    Elements other than expected have the reason `structure`.
    """
    try:
        yield
    except der.NotDerError as error:
        raise CsrRefused(element, str(error), reason=Reason.NOT_DER) from None
    except der.DerError as error:
        raise CsrRefused(element, str(error), reason=structure) from None


@dataclass(frozen=True, slots=True)
class SubjectAttribute:
    """One attribute of a subject, undecoded: the OID's content bytes, the value's tag and content bytes."""

    oid: bytes
    tag: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestedAttribute:
    """One attribute of a request: the OID's content bytes and its values."""

    oid: bytes
    values: tuple[der.Element, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pkcs10:
    """The parts of a request, as in its DER.

    `der` is the canonical form: the request with its outer `signatureAlgorithm` as the standards write it (see
    `signature_algorithm`). That field is outside `signed_bytes`, so the signature covers the same bytes as before.
    """

    der: bytes = field(repr=False)
    signed_bytes: bytes = field(repr=False)
    subject: tuple[SubjectAttribute, ...] = field(repr=False)
    spki: bytes = field(repr=False)
    attributes: tuple[RequestedAttribute, ...] = field(repr=False)
    signature_algorithm: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_request(data: bytes) -> Pkcs10:
    """Parse a request's DER.

    Two parsers read it: this one checks the exact structure, the library's reads the canonical form. Both must read the
    same request. Raises only SecretFreeError (`malformed-request`).
    """
    with refusing_parser_errors(_unreadable):
        return _read(data)


def accepted_key(request: Pkcs10) -> DevicePublicKey:
    """The request's key, if it is of an accepted kind; raises SecretFreeError (`malformed-request`)."""
    try:
        return DevicePublicKey.from_spki_der(request.spki)
    except KeyRejected as rejected:
        raise CsrRefused(CsrElement.KEY, rejected.detail, reason=rejected.reason) from None


def _read(data: bytes) -> Pkcs10:
    with reading(CsrElement.REQUEST, Reason.NOT_A_CSR):
        outer = der.first_element(data)
        if outer.tag != der.SEQUENCE:
            raise der.DerError("not a PKCS #10 request, which is a SEQUENCE")
        if len(outer.raw) != len(data):
            raise CsrRefused(CsrElement.REQUEST, "bytes after the CSR", reason=Reason.TRAILING_BYTES)
        parts = der.elements(outer.content)
        if [part.tag for part in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
            raise der.DerError(
                "not the three parts of a PKCS #10 request: certificationRequestInfo, signatureAlgorithm, signature"
            )
    info, algorithm, signature = parts
    subject, spki, attributes = _read_info(info)
    with reading(CsrElement.SIGNATURE_ALGORITHM, Reason.SIGNATURE_ALGORITHM):
        identifier = canonical_identifier(algorithm)
    if signature.content[:1] != b"\x00":
        raise CsrRefused(
            CsrElement.SIGNATURE, "a BIT STRING that does not end at a byte", reason=Reason.SIGNATURE_ENCODING
        )
    request = Pkcs10(
        der=der.encode(der.SEQUENCE, info.raw + identifier + signature.raw),
        signed_bytes=info.raw,
        subject=subject,
        spki=spki.raw,
        attributes=attributes,
        signature_algorithm=identifier,
        signature=signature.content[1:],
    )
    _require_agreement(request)
    return request


_InfoParts = tuple[tuple[SubjectAttribute, ...], der.Element, tuple[RequestedAttribute, ...]]


def _read_info(info: der.Element) -> _InfoParts:
    with reading(CsrElement.REQUEST):
        parts = der.elements(info.content)
    expected: Sequence[tuple[CsrElement, int]] = (
        (CsrElement.VERSION, der.INTEGER),
        (CsrElement.SUBJECT, der.SEQUENCE),
        (CsrElement.KEY, der.SEQUENCE),
        (CsrElement.ATTRIBUTES, der.CONTEXT_0),
    )
    for position, (element, tag) in enumerate(expected):
        if position == len(parts):
            hint = "; an empty [0] (A0 00) is accepted" if element is CsrElement.ATTRIBUTES else ""
            raise CsrRefused(element, f"missing{hint}", reason=Reason.CSR_STRUCTURE)
        if parts[position].tag != tag:
            raise CsrRefused(element, "missing, or another element in its place", reason=Reason.CSR_STRUCTURE)
    if len(parts) > len(expected):
        raise CsrRefused(CsrElement.REQUEST, "an element after the attributes", reason=Reason.CSR_STRUCTURE)
    version, name, spki, attributes = parts
    if version.content != b"\x00":
        raise CsrRefused(CsrElement.VERSION, "other than v1, the INTEGER 0 (02 01 00)", reason=Reason.CSR_VERSION)
    with reading(CsrElement.SUBJECT):
        subject = tuple(_subject_attributes(name))
    with reading(CsrElement.ATTRIBUTES):
        return subject, spki, tuple(_requested_attributes(attributes))


def _subject_attributes(name: der.Element) -> Iterator[SubjectAttribute]:
    for relative_name in name.children_of(der.SET):
        for pair in relative_name.children_of(der.SEQUENCE):
            parts = der.elements(pair.content)
            if len(parts) != 2 or parts[0].tag != der.OBJECT_IDENTIFIER:
                raise der.DerError("an attribute that is not a pair of type and value")
            yield _checked_string(SubjectAttribute(parts[0].content, parts[1].tag, parts[1].content))


_PRINTABLE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


def _checked_string(attribute: SubjectAttribute) -> SubjectAttribute:
    """Refuse text with characters that its string type does not permit (X.680, 41.4), because CAs may refuse it.

    IoT Core's CA copies the subject, and the resulting certificate could not be parsed again.
    """
    if attribute.tag == der.PRINTABLE_STRING and not _PRINTABLE.issuperset(attribute.value):
        raise CsrRefused(
            CsrElement.SUBJECT,
            "a PrintableString with characters that it does not permit ('_', '@', '*', '&' and others); "
            "accepted: a UTF8String",
            reason=Reason.STRING_TYPE,
        )
    if attribute.tag == der.BMP_STRING and len(attribute.value) % 2:
        raise CsrRefused(CsrElement.SUBJECT, "a BMPString of an odd length", reason=Reason.STRING_TYPE)
    return attribute


def _requested_attributes(attributes: der.Element) -> Iterator[RequestedAttribute]:
    previous = b""
    for attribute in attributes.children_of(der.SEQUENCE):
        if attribute.raw < previous:
            raise der.NotDerError("a SET OF that is not in DER's order")
        previous = attribute.raw
        oid, values = attribute.children(der.OBJECT_IDENTIFIER, der.SET)
        yield RequestedAttribute(oid.content, tuple(der.elements(values.content)))


def _require_agreement(request: Pkcs10) -> None:
    try:
        with refusing_parser_errors(_unreadable):
            parsed = x509.load_der_x509_csr(request.der)
    except SecretFreeError:
        accepted_key(request)  # Raises a more specific refusal if the key is the cause.
        raise
    if (parsed.tbs_certrequest_bytes, parsed.signature) != (request.signed_bytes, request.signature):
        raise CsrRefused(CsrElement.REQUEST, "two parsers read different requests", reason=Reason.NOT_A_CSR)


def _unreadable(_error: BaseException) -> SecretFreeError:
    return CsrRefused(CsrElement.REQUEST, "not a readable PKCS #10 request", reason=Reason.NOT_A_CSR)
