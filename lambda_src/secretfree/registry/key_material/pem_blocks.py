"""The one PEM reader (RFC 7468): one or several blocks, with any line ends and text around them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.text import normalised

BEGIN: Final = b"-----BEGIN "
END: Final = b"-----END "
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----(.*?)-----END \1-----", re.DOTALL)
_BOUNDARY: Final = re.compile(rb"(-----BEGIN [A-Z0-9 ]{1,64}-----|-----END [A-Z0-9 ]{1,64}-----)")
_ESCAPED_LINE_END: Final = re.compile(rb"(?:\\r)?\\n|\\r")
_WHITE_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class PemBlock:
    """A block's label and what its base64 encodes."""

    label: str
    der: bytes


def pem_blocks(data: bytes) -> list[PemBlock]:
    """Return the PEM blocks of a text in memory, and ignore the text around them.

    A literal `\\n`, as in JSON or source code, counts as a line end. Raises RowRefused for a block whose body is not
    base64, or that has no end.
    """
    text = _ESCAPED_LINE_END.sub(b"\n", normalised(data))
    blocks: list[PemBlock] = []
    end = 0
    for found in _BLOCK.finditer(text):
        blocks.append(_block(found[1].decode("ascii"), found[2]))
        end = found.end()
    if BEGIN in text[end:] or text.count(BEGIN) != len(blocks):
        raise RowRefused(Refusal.MALFORMED_ROW, "a PEM block without an end, or with another block inside")
    return blocks


def boundaries_apart(lines: Iterator[tuple[int, bytes, bool]]) -> Iterator[tuple[int, bytes]]:
    """Yield a bundle's lines with each BEGIN and END on its own line, even if files were joined without a line end.

    Lines that begin with neither are unchanged: a comment may contain a boundary.
    """
    for number, line, _ in lines:
        if line.lstrip().startswith((BEGIN, END)) and len(_BOUNDARY.findall(line)) + bool(_rest(line)) > 1:
            yield from ((number, piece) for piece in _BOUNDARY.split(line) if piece.strip())
        else:
            yield number, line


def _rest(line: bytes) -> bytes:
    return _BOUNDARY.sub(b"", line).strip()


def _block(label: str, body: bytes) -> PemBlock:
    if label.endswith("PRIVATE KEY"):
        return PemBlock(label, b"")  # The content is not used, and an old block may have headers before its base64.
    try:
        return PemBlock(label, binascii.a2b_base64(body.translate(None, _WHITE_SPACE), strict_mode=True))
    except ValueError as error:
        raise RowRefused(Refusal.MALFORMED_ROW, "a PEM block whose body is not base64") from error
