"""Counts the shapes of a manifest's ids, in each run of rows and in total, and warns about doubtful ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from secretfree.registry.doubtful_id import DETAILS, EXAMPLES, Doubt, doubt_of, looks_damaged, usual_length

_LONGEST_SHOWN: Final = 64


class _Shape(NamedTuple):
    """The shape of an id. Ids of one shape are doubtful for the same reason, or none of them is."""

    length: int
    decimal: bool
    damaged: bool
    admitted: bool


@dataclass(slots=True)
class _Group:
    """The ids of one shape: their number, and the first of them with their rows."""

    count: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


class IdShapes:
    """Counts ids by shape. Its size is bounded by the longest id, whatever the number of rows.

    It does not find ids that differ only in case: that would require all ids of the manifest in one place.
    """

    def __init__(self) -> None:
        self._groups: dict[_Shape, _Group] = {}

    def add(self, row: int, device_id: str, *, admitted: bool) -> None:
        """Count the id of a row. The id of a refused row counts only if a spreadsheet seems to have damaged it."""
        damaged = looks_damaged(device_id)
        if admitted or damaged:
            shape = _Shape(len(device_id), device_id.isdecimal(), damaged, admitted)
            self._add(shape, 1, [(row, device_id)])

    def merge(self, document: Iterable[Mapping[str, Any]]) -> None:
        """Add the `document` of another instance."""
        for group in document:
            shape = _Shape(group["length"], group["decimal"], group["damaged"], group["admitted"])
            self._add(shape, group["count"], [(example["row"], example["deviceId"]) for example in group["examples"]])

    def document(self) -> list[dict[str, Any]]:
        """Return it as JSON, for `merge`. One example of each shape is enough: other runs have more."""
        return [
            {**shape._asdict(), "count": group.count, "examples": _documents(group.examples[:1])}
            for shape, group in self._groups.items()
        ]

    def warnings(self) -> list[dict[str, Any]]:
        """Return one document for each kind of doubtful id: the kind, the number of rows, and the first of them."""
        lengths: dict[int, int] = {}
        for shape, group in self._groups.items():
            if shape.admitted:
                lengths[shape.length] = lengths.get(shape.length, 0) + group.count
        usual = usual_length(lengths)
        found: dict[Doubt, _Group] = {}
        for doubt, group in self._doubtful(usual):
            into = found.setdefault(doubt, _Group())
            into.count += group.count
            into.examples += group.examples
        return [
            {
                "warning": doubt.value,
                "count": found[doubt].count,
                "examples": _documents(sorted(found[doubt].examples)[:EXAMPLES]),
                "detail": DETAILS[doubt],
            }
            for doubt in Doubt
            if doubt in found
        ]

    def _doubtful(self, usual: int) -> Iterator[tuple[Doubt, _Group]]:
        for shape, group in self._groups.items():
            doubt = doubt_of(group.examples[0][1], usual if shape.admitted else None)
            if doubt is not None:
                yield doubt, group

    def _add(self, shape: _Shape, count: int, examples: Sequence[tuple[int, str]]) -> None:
        group = self._groups.setdefault(shape, _Group())
        group.count += count
        group.examples = sorted([*group.examples, *examples])[:EXAMPLES]


def _documents(examples: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{"row": row, "deviceId": device_id[:_LONGEST_SHOWN]} for row, device_id in examples]
