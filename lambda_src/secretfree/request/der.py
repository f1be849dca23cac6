"""As much of DER (X.690) as the CSR rules must see with their own eyes: tags, minimal lengths, exact ends."""

from dataclasses import dataclass
from typing import Final

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT_0: Final = 0xA0

_LONG_FORM: Final = 0x80
_HIGH_TAG_NUMBER: Final = 0x1F


class NotDerError(ValueError):
    """Bytes that are not DER, or not of the expected structure."""


@dataclass(frozen=True, slots=True)
class Element:
    """One tag-length-value: `raw` is all of it, `content` its value."""

    tag: int
    raw: bytes
    content: bytes

    def children(self, *tags: int) -> list["Element"]:
        """The elements inside, which must have exactly these tags."""
        found = elements(self.content)
        if tuple(child.tag for child in found) != tags:
            raise NotDerError("other elements than expected")
        return found

    def children_of(self, tag: int) -> list["Element"]:
        """The elements inside, any number of them, which must all have this tag."""
        found = elements(self.content)
        if any(child.tag != tag for child in found):
            raise NotDerError("an element of another tag than expected")
        return found


def first_element(data: bytes) -> Element:
    """The element at the start of `data`; what follows it is the caller's affair. Raises NotDerError."""
    return _element_at(data, 0)


def elements(data: bytes) -> list[Element]:
    """All elements of `data`, which they must fill exactly. Raises NotDerError."""
    found: list[Element] = []
    offset = 0
    while offset < len(data):
        element = _element_at(data, offset)
        found.append(element)
        offset += len(element.raw)
    return found


def _element_at(data: bytes, offset: int) -> Element:
    if len(data) < offset + 2:
        raise NotDerError("an element without tag or length")
    tag, first = data[offset], data[offset + 1]
    if tag & _HIGH_TAG_NUMBER == _HIGH_TAG_NUMBER:
        raise NotDerError("a tag of more than one byte")
    start, length = offset + 2, first
    if first >= _LONG_FORM:
        start += first & ~_LONG_FORM
        length_bytes = data[offset + 2 : start]
        length = int.from_bytes(length_bytes)
        if length < _LONG_FORM or length_bytes[0] == 0:
            raise NotDerError("a length that is indefinite or not minimal")
    if len(data) < start + length:
        raise NotDerError("an element longer than what holds it")
    return Element(tag, data[offset : start + length], data[start : start + length])
