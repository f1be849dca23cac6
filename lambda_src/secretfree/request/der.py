"""The part of DER (X.690) that the CSR rules need: tags, minimal lengths, exact ends."""

from dataclasses import dataclass
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
BMP_STRING: Final = 0x1E
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT_0: Final = 0xA0
NULL: Final = b"\x05\x00"

_LONG_FORM: Final = 0x80
_HIGH_TAG_NUMBER: Final = 0x1F


class DerError(ValueError):
    """Bytes with other elements than expected, or that end inside an element."""


class NotDerError(DerError):
    """BER that is not DER: an indefinite or needlessly long length, a tag of several bytes, an unsorted SET OF."""


@dataclass(frozen=True, slots=True)
class Element:
    """One tag-length-value: `raw` is all of it, `content` its value."""

    tag: int
    raw: bytes
    content: bytes

    def children(self, *tags: int) -> list["Element"]:
        """The elements inside, which must have exactly these tags. Raises DerError."""
        found = elements(self.content)
        if tuple(child.tag for child in found) != tags:
            raise DerError("other elements than expected")
        return found

    def children_of(self, tag: int) -> list["Element"]:
        """The elements inside, which must all have this tag. Raises DerError."""
        found = elements(self.content)
        if any(child.tag != tag for child in found):
            raise DerError("an element of another tag than expected")
        return found


def first_element(data: bytes) -> Element:
    """The element at the start of `data`. More bytes may follow it. Raises DerError."""
    return _element_at(data, 0)


def elements(data: bytes) -> list[Element]:
    """All elements of `data`, without bytes after the last one. Raises DerError."""
    found: list[Element] = []
    offset = 0
    while offset < len(data):
        element = _element_at(data, offset)
        found.append(element)
        offset += len(element.raw)
    return found


def encode(tag: int, content: bytes) -> bytes:
    """The DER of one element with a one-byte tag."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, _LONG_FORM | len(length)]) + length + content


def _element_at(data: bytes, offset: int) -> Element:
    if len(data) < offset + 2:
        raise DerError("an element without tag or length")
    tag, first = data[offset], data[offset + 1]
    if tag & _HIGH_TAG_NUMBER == _HIGH_TAG_NUMBER:
        raise NotDerError("a tag of more than one byte")
    start, length = offset + 2, first
    if first >= _LONG_FORM:
        start += first & ~_LONG_FORM
        if len(data) < start:
            raise DerError("an element without all of its length")
        length_bytes = data[offset + 2 : start]
        length = int.from_bytes(length_bytes)
        if length < _LONG_FORM or length_bytes[0] == 0:
            raise NotDerError("a length that is indefinite or not minimal")
    if len(data) < start + length:
        raise DerError("an element longer than the one around it")
    return Element(tag, data[offset : start + length], data[start : start + length])
