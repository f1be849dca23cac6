"""Converts text of factories' tools to UTF-8 with LF line ends before it is parsed."""

from __future__ import annotations

import codecs
import io
from typing import Final, Protocol

_BLOCK: Final = 256 * 1024
_AT_THE_END: Final = b"\x00\x1a"
"""NUL and Ctrl-Z, which old tools write after a text's last line."""


class Readable(Protocol):
    """The source of a decoder."""

    def read(self, size: int = -1, /) -> bytes: ...


def text_stream(stream: Readable) -> io.BufferedReader:
    """Return the text of `stream` as a stream of UTF-8 bytes.

    A byte order mark is removed, UTF-16 is recoded, CRLF and CR become LF, and NUL and Ctrl-Z at the very end are
    dropped. Bytes that are not UTF-8 stay as they are, and later checks refuse them.
    """
    return io.BufferedReader(_Normalised(stream), _BLOCK)


def normalised(data: bytes) -> bytes:
    """Return `data` converted as by `text_stream`."""
    encoding = encoding_of(data)
    if encoding != "utf-8":
        data = data.decode(encoding, "replace").removeprefix("\ufeff").encode("utf-8", "surrogateescape")
    return _with_line_feeds(data.removeprefix(codecs.BOM_UTF8).rstrip(_AT_THE_END))


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text that begins with `head`: UTF-16LE, UTF-16BE or UTF-8.

    Without a byte order mark, UTF-16 is recognised by the zero bytes of its first two letters.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return encoding
    zeros = [byte == 0 for byte in head[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else "utf-8"


def _with_line_feeds(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class _Normalised(io.RawIOBase):
    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._held = b""
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            self._ready = self._next()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self) -> bytes:
        block = self._stream.read(_BLOCK)
        self._ended = not block
        text = self._held + self._decoded(block)
        # Bytes that may be the end of the text, or half of a CRLF, wait for the next block.
        kept = text if self._ended else text.rstrip(_AT_THE_END + b"\r")
        self._held = text[len(kept) :]
        if self._ended:
            kept = kept.rstrip(_AT_THE_END)
        return _with_line_feeds(kept)

    def _decoded(self, block: bytes) -> bytes:
        if not self._begun and block:
            self._begun = True
            encoding = encoding_of(block)
            if encoding != "utf-8":
                self._decoder = codecs.getincrementaldecoder(encoding)("replace")
            block = block.removeprefix(codecs.BOM_UTF8)
        if self._decoder is None:
            return block
        return self._decoder.decode(block, final=self._ended).removeprefix("\ufeff").encode("utf-8", "surrogateescape")
