"""Guards cells of an exported CSV that a spreadsheet would run as a formula: an apostrophe makes them text."""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_GUARDED: Final = re.compile(r"'+[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet runs; `unguarded` reverses this."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """Return the original cell of `guarded`."""
    return cell[1:] if _GUARDED.match(cell) else cell
