"""The rights that a CSR requests. A request for more rights is refused, everything else is ignored: nothing is granted.

The certificate's content comes from policy: Private CA uses the subject from the API and the rest from its template,
IoT Core's CA sets the extensions itself. These rules are a second defence, against a CA that copies from the CSR.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from secretfree.errors import Reason
from secretfree.request import der
from secretfree.request.pkcs10 import CsrElement, CsrRefused, Pkcs10, RequestedAttribute, reading

_EXTENSION_REQUESTS: Final = frozenset(
    {
        bytes.fromhex("2a864886f70d01090e"),  # extensionRequest (RFC 2985, 5.4.2)
        bytes.fromhex("2b06010401823702010e"),  # Microsoft's older OID of it, which its tools write
    }
)


def refuse_requests_for_power(request: Pkcs10) -> None:
    """Refuse a CSR that requests to be a CA, to sign as one, or to have another name.

    Other attributes and extensions are ignored. Raises SecretFreeError (`malformed-request`, `requested-extension`).
    """
    asking = [attribute for attribute in request.attributes if attribute.oid in _EXTENSION_REQUESTS]
    if len(asking) > 1:
        raise _refused("more than one request for extensions")  # readers differ on which of them counts
    for attribute in asking:
        _refuse_powerful(attribute)


def _refuse_powerful(attribute: RequestedAttribute) -> None:
    seen: set[bytes] = set()
    with reading(CsrElement.EXTENSIONS, Reason.REQUESTED_EXTENSION):
        for oid, value in _extensions(attribute):
            if oid in seen:
                raise _refused("a repeated extension")
            seen.add(oid)
            rule = _RULES.get(oid)
            fault = None if rule is None else rule(value)
            if fault is not None:
                raise _refused(fault)


def _extensions(attribute: RequestedAttribute) -> Iterator[tuple[bytes, bytes]]:
    """Each extension's OID and its value, the content of the OCTET STRING (RFC 5280, 4.1)."""
    if len(attribute.values) != 1 or attribute.values[0].tag != der.SEQUENCE:
        raise der.DerError("not one SEQUENCE of extensions")
    for extension in attribute.values[0].children_of(der.SEQUENCE):
        parts = der.elements(extension.content)
        if tuple(part.tag for part in parts) not in _EXTENSION_FORMS:
            raise der.DerError("an extension that cannot be read")
        yield parts[0].content, parts[-1].content


_EXTENSION_FORMS: Final = (
    (der.OBJECT_IDENTIFIER, der.OCTET_STRING),
    (der.OBJECT_IDENTIFIER, der.BOOLEAN, der.OCTET_STRING),
)


# --- rules: each returns the requested right or None, and raises DerError for what it cannot parse ---


def _basic_constraints(value: bytes) -> str | None:
    """RFC 5280, 4.2.1.9. An explicit `cA FALSE` is not DER, but common and harmless."""
    parts = der.elements(_only(value, der.SEQUENCE).content)
    if not parts or (parts[0].tag == der.BOOLEAN and parts[0].content == b"\x00" and len(parts) == 1):
        return None
    return "basicConstraints: to be a CA"


def _key_usage(value: bytes) -> str | None:
    """RFC 5280, 4.2.1.3: bits 5 and 6, keyCertSign and cRLSign."""
    return "keyUsage: keyCertSign or cRLSign" if _first_byte_of_bits(value) & 0x06 else None


def _netscape_certificate_type(value: bytes) -> str | None:
    """Bits 5 to 7: CA of SSL, S/MIME and object signing."""
    return "netscapeCertType: to be a CA" if _first_byte_of_bits(value) & 0x07 else None


_POWERFUL_USAGES: Final = frozenset(
    {
        bytes.fromhex("551d2500"),  # anyExtendedKeyUsage
        bytes.fromhex("2b06010505070309"),  # OCSPSigning: to sign OCSP responses for the CA
        bytes.fromhex("2b060104018237140201"),  # Microsoft's enrolment agent: to request certificates for others
    }
)


def _extended_key_usage(value: bytes) -> str | None:
    usages = {usage.content for usage in _only(value, der.SEQUENCE).children_of(der.OBJECT_IDENTIFIER)}
    if usages & _POWERFUL_USAGES:
        return "extendedKeyUsage: any, OCSP signing or enrolment agent"
    return None


def _always(what: str) -> Callable[[bytes], str]:
    return lambda _value: what


_RULES: Final[Mapping[bytes, Callable[[bytes], str | None]]] = {
    bytes.fromhex("551d13"): _basic_constraints,
    bytes.fromhex("551d0f"): _key_usage,
    bytes.fromhex("551d25"): _extended_key_usage,
    bytes.fromhex("6086480186f8420101"): _netscape_certificate_type,
    # AWS does not document whether Private CA drops a SAN that the API omits.
    bytes.fromhex("551d11"): _always("subjectAltName: another name"),
    bytes.fromhex("551d12"): _always("issuerAltName: another name"),
    bytes.fromhex("6086480186f842010c"): _always("netscapeSSLServerName: another name"),
    bytes.fromhex("551d1e"): _always("nameConstraints: an extension of CAs"),
    bytes.fromhex("551d21"): _always("policyMappings: an extension of CAs"),
    bytes.fromhex("551d24"): _always("policyConstraints: an extension of CAs"),
    bytes.fromhex("551d36"): _always("inhibitAnyPolicy: an extension of CAs"),
}


def _first_byte_of_bits(value: bytes) -> int:
    content = _only(value, der.BIT_STRING).content
    if not content or content[0] > 7:
        raise der.DerError("a BIT STRING that cannot be read")
    return content[1] if len(content) > 1 else 0


def _only(value: bytes, tag: int) -> der.Element:
    parts = der.elements(value)
    if len(parts) != 1 or parts[0].tag != tag:
        raise der.DerError("an extension that cannot be read")
    return parts[0]


def _refused(detail: str) -> CsrRefused:
    return CsrRefused(CsrElement.EXTENSIONS, detail, reason=Reason.REQUESTED_EXTENSION)
