"""JSON read object by object from a stream of any length: an array, mere objects in a row, or `{"Items": [...]}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from secretfree.enrollment.record import Refusal, RowRefused

from secretfree_cli.formats.manifest import MAX_ENTRY_BYTES, Entry

_BLOCK: Final = 256 * 1024
_WRAPPER: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"Items"\s*:\s*)?\[|\xef\xbb\xbf')
"""What `aws dynamodb scan` prints opens with `{"Items": [`, a plain array with `[`; a byte order mark is skipped."""
_OBJECT: Final = re.compile(rb"\{")
_OBJECT_OR_END: Final = re.compile(rb"[{\]]")
_IN_OBJECT: Final = re.compile(rb'["{}]')
_IN_STRING: Final = re.compile(rb'["\\]')


def json_objects(stream: BinaryIO) -> Iterator[Entry]:
    """Yield each object's bytes as an entry's payload, with the line on which it begins.

    An object too long to be honest, text between objects and an end inside an object make a broken entry each; what
    follows is read on. Whether the bytes are JSON inside is not looked at: see `parse_object`.
    """
    block = stream.read(_BLOCK)
    wrapper = _WRAPPER.match(block)
    position = 0 if wrapper is None else wrapper.end()
    wrapped = block[:position].endswith(b"[")
    next_mark = _OBJECT_OR_END if wrapped else _OBJECT
    line, stray = 1 + block.count(b"\n", 0, position), False
    cut: _ObjectCut | None = None
    while block:
        while position < len(block):
            if cut is None:
                mark = next_mark.search(block, position)
                end = len(block) if mark is None else mark.start()
                if block[position:end].strip(b" \t\r\n,") and not stray:
                    stray = True
                    yield Entry.unreadable(line, "text between objects")
                line += block.count(b"\n", position, end)
                position = end
                if mark is None:
                    break
                if mark.group() == b"]":
                    return
                cut, stray = _ObjectCut(line), False
            position = cut.take(block, position)
            if cut.complete:
                line += cut.newlines
                yield cut.entry()
                cut = None
        block, position = stream.read(_BLOCK), 0
    if cut is not None:
        yield Entry.unreadable(cut.line, "the file ends inside this object")


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object; raises RowRefused, also where a name stands twice: readers differ on which counts."""
    try:
        parsed = json.loads(data, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RowRefused(Refusal.MALFORMED_ROW, f"not JSON: {what}") from error
    if not isinstance(parsed, dict):
        raise RowRefused(Refusal.MALFORMED_ROW, f"a JSON {type(parsed).__name__}, not an object")
    return parsed


def text_field(document: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text or not there; raises RowRefused where it is anything else."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise RowRefused(Refusal.MALFORMED_ROW, f"{name} is no text")
    return value


def _unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class _ObjectCut:
    """One object as it is found, block by block: by braces and strings alone."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.newlines = 0
        self.complete = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._bytes = bytearray()
        self._too_long = False

    def take(self, block: bytes, start: int) -> int:
        """Take what belongs to the object from `start` on, and return where it ends in this block."""
        end = self._find_end(block, start)
        self.newlines += block.count(b"\n", start, end)
        if len(self._bytes) + end - start > MAX_ENTRY_BYTES:
            self._too_long = True
            self._bytes.clear()
        elif not self._too_long:
            self._bytes += block[start:end]
        return end

    def entry(self) -> Entry:
        """Return the object, complete now."""
        if self._too_long:
            return Entry.unreadable(self.line, f"an object of more than {MAX_ENTRY_BYTES} bytes")
        return Entry(self.line, bytes(self._bytes))

    def _find_end(self, block: bytes, position: int) -> int:
        while position < len(block):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            mark = (_IN_STRING if self._in_string else _IN_OBJECT).search(block, position)
            if mark is None:
                return len(block)
            position = mark.end()
            self._turn(mark.group())
            if self.complete:
                return position
        return position

    def _turn(self, mark: bytes) -> None:
        if mark == b"\\":
            self._escaped = True
        elif mark == b'"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if mark == b"{" else -1
            self.complete = self._depth == 0
