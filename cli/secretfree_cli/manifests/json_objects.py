"""Reads JSON object by object from a stream of any length: arrays, `{"Items": [...]}`, or a sequence of objects.

A streaming parser such as ijson is not suitable: it stops at the first error and has no line numbers. Here only the
broken object is lost, each object has its line number, and memory and depth are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from enum import Enum, auto
from typing import BinaryIO, Final

from secretfree.registry.admission import RowRefused
from secretfree.registry.key_material.json_values import parse_object

from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES, Entry

_BLOCK: Final = 256 * 1024
_MARGIN: Final = 4 * 1024
"""Maximum indentation in bytes, above that of any real file."""
_DEPTH: Final = 4
"""Maximum depth of nested arrays, such as collected pages of a scan."""
_PATIENCE: Final = 16
"""After this many broken objects in a row, their bytes are not read again, so that time stays linear in size."""
_BYTE_ORDER_MARK: Final = re.compile(rb"\xef\xbb\xbf")
_SEPARATORS: Final = re.compile(rb"[ \t\r\n,]+")
_ITEMS: Final = re.compile(rb'\{\s*"Items"\s*:\s*\[')
"""The beginning of a page of `aws dynamodb scan`."""
_STRAY_BRACE: Final = re.compile(rb"\{\s*\{")
_MARK: Final = re.compile(rb"[{\[\]]")
_TOKEN: Final = re.compile(
    rb'"[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*)*"|[ \t\r\n:,\[\]0-9+.eE-]+|true|false|null|([{}])'
)
"""The parts of an object (RFC 8259): strings without line ends, the text between them, and braces."""
_OPEN_STRING: Final = re.compile(rb'"[^\x00-\x1f]*\Z')
_NEXT_OBJECT: Final = re.compile(rb"(?:\n([ \t]*)(?:\}[ \t]*,[ \t]*|\[[ \t]*)?|\}[ \t]*,[ \t]*)\{")
"""An object at the beginning of a line, or after another object on a line."""


def json_objects(stream: BinaryIO) -> Iterator[Entry]:
    """Yield each object's bytes as an entry's payload, with its first line.

    Everything else makes a broken entry, so that no row is lost silently: text between objects, an object that is not
    JSON, is cut off by the end of the file or is too long, and an array without its end, which means that the file was
    cut off. After a broken object, reading continues at the next one. An object may still not parse; see
    `parse_object`.
    """
    return _Objects(_Text(stream)).entries()


class _Container(Enum):
    ARRAY = auto()
    ITEMS = auto()


class _Objects:
    """The objects of a text, and their containers."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self._containers: list[_Container] = []
        self._stray = False
        self._failures = 0

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each object and each piece of other text."""
        text = self._text
        text.fill()
        text.skip(_BYTE_ORDER_MARK)
        while text.fill():
            if not text.skip(_SEPARATORS):
                yield from self._next()
        if self._containers:
            yield Entry.unreadable(text.line, "the file ends before its array does: it was cut off")

    def _next(self) -> Iterator[Entry]:
        text, nested = self._text, len(self._containers)
        match text.mark:
            case b"{" if nested < _DEPTH and text.skip(_ITEMS):
                self._containers.append(_Container.ITEMS)
            case b"{" if not text.begins_with(_STRAY_BRACE):
                self._stray = False
                yield self._object()
            case b"[" if nested < _DEPTH:
                text.advance(1)
                self._containers.append(_Container.ARRAY)
            case b"]" if nested:
                text.advance(1)
                if self._containers.pop() is _Container.ITEMS:
                    yield from self._behind_items()
            case _:
                if not self._stray:
                    yield Entry.unreadable(text.line, "text between objects")
                self._stray = True
                text.skip_to(_MARK)

    def _object(self) -> Entry:
        text = self._text
        end, complete = _object_end(text.data, text.position)
        if not complete:
            return self._broken(end, _fault(text, end, "this object"))
        if text.holds_another(end):  # A missing brace joins two objects if this one does not parse.
            try:
                parse_object(text.data[text.position : end])
            except RowRefused as refused:
                return self._broken(end, refused.detail)
        entry = Entry(text.line, text.data[text.position : end])
        text.advance(end - text.position)
        self._failures = 0
        return entry

    def _behind_items(self) -> Iterator[Entry]:
        """Read the text after the items of a page: their count and the consumed capacity."""
        text = self._text
        text.fill()
        end, complete = _object_end(text.data, text.position, depth=1)
        if not complete:
            yield self._broken(end, _fault(text, end, "what follows the items"))
            return
        try:
            parse_object(b'{"Items":[]' + text.data[text.position : end])
        except RowRefused as refused:
            yield self._broken(end, f"behind the items: {refused.detail}")
        else:
            text.advance(end - text.position)

    def _broken(self, reached: int, fault: str) -> Entry:
        """Return the broken entry that begins here, and move to the next object."""
        text = self._text
        entry = Entry.unreadable(text.line, fault)
        column = text.column if self._containers else _MARGIN  # Outside an array, the whole file may be damaged.
        last = text.line_at(reached)
        lines = {text.line, last, last + 1}  # A string that a line end broke continues on the next line.
        self._failures += 1
        if self._failures > _PATIENCE:
            text.advance(reached - text.position)
        if not text.skip_to_object(column, lines):
            self._containers.clear()  # This entry already reports the end of the file.
        elif text.begins_with(_ITEMS):
            self._containers.clear()  # A new page: the end of the previous one was skipped.
        return entry


class _Text:
    """A stream's bytes around a position."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.data = b""
        self.position = 0
        self.line = 1
        self.ended = False

    @property
    def mark(self) -> bytes:
        """The byte here."""
        return self.data[self.position : self.position + 1]

    @property
    def column(self) -> int:
        """The number of bytes of the line before the position."""
        return self.position - (self.data.rfind(b"\n", 0, self.position) + 1)

    def line_at(self, position: int) -> int:
        """Return the line of a later position."""
        return self.line + self.data.count(b"\n", self.position, position)

    def fill(self) -> bool:
        """Read until `data` has the longest accepted object or the whole rest; return whether there is anything."""
        while not self.ended and len(self.data) - self.position <= MAX_ENTRY_BYTES:
            kept = max(self.data.rfind(b"\n", 0, self.position), self.position - _MARGIN, 0)
            block = self._stream.read(_BLOCK)
            self.ended = not block
            self.data = self.data[kept:] + block
            self.position -= kept
        return self.position < len(self.data)

    def advance(self, count: int) -> None:
        """Advance by `count` bytes."""
        self.line = self.line_at(self.position + count)
        self.position += count

    def begins_with(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether `pattern` matches at the position."""
        return pattern.match(self.data, self.position) is not None

    def skip(self, pattern: re.Pattern[bytes]) -> bool:
        """Advance past `pattern` if it matches at the position; return whether it did."""
        found = pattern.match(self.data, self.position)
        if found is not None:
            self.advance(found.end() - self.position)
        return found is not None

    def skip_to(self, pattern: re.Pattern[bytes]) -> None:
        """Advance to `pattern`, by at least one byte, or to the end of `data`."""
        found = pattern.search(self.data, self.position + 1)
        self.advance((len(self.data) if found is None else found.start()) - self.position)

    def holds_another(self, end: int) -> bool:
        """Whether `skip_to_object` would find one before `end`, the supposed end of this object."""
        column = self.column
        end_of_line = self.data.find(b"\n", self.position, end)
        return any(
            (end_of_line < 0 or found.start() < end_of_line) if found[1] is None else len(found[1]) <= column
            for found in _NEXT_OBJECT.finditer(self.data, self.position, end)
        )

    def skip_to_object(self, column: int, lines: Container[int]) -> bool:
        """Advance to the next object: one at the beginning of a line, or after another object on one of `lines`.

        The line must not be indented by more than `column`, because such an object may be part of another. Returns
        whether there was one; if not, the stream is at its end.
        """
        while self.fill():
            for found in _NEXT_OBJECT.finditer(self.data, self.position):
                self.advance(found.start() - self.position)
                if self.line in lines if found[1] is None else len(found[1]) <= column:
                    self.advance(found.end() - 1 - found.start())
                    return True
            margin = 0 if self.ended else _MARGIN
            self.advance(max(len(self.data) - margin - self.position, 0))
        return False


def _object_end(data: bytes, position: int, depth: int = 0) -> tuple[int, bool]:
    """Return the end of the object that begins at `position`, and True; or the position of the fault, and False."""
    limit = position + MAX_ENTRY_BYTES
    while position <= limit and (token := _TOKEN.match(data, position)) is not None:
        position = token.end()
        if token[1] is not None:
            depth += 1 if token[1] == b"{" else -1
            if not depth:
                return position, position <= limit
    return position, False


def _fault(text: _Text, reached: int, what: str) -> str:
    """Return why an object that begins here is invalid at `reached`."""
    data_ends = reached == len(text.data) or _OPEN_STRING.match(text.data, reached) is not None
    if data_ends and text.ended:
        return f"the file ends inside {what}"
    if data_ends or reached - text.position > MAX_ENTRY_BYTES:
        return f"{what} has more than {MAX_ENTRY_BYTES} bytes"
    return f"{what} is not JSON from line {text.line_at(reached)} on: a quote or brace too few or too many"
