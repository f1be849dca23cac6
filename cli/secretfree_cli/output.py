"""Output of the command line: prose on stderr, results on stdout, JSON for programs, and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


class ExitCode(IntEnum):
    """Exit codes. click defines 1 and 2. Scripts rely on the others."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    PARTLY_REFUSED = 3
    """Some rows or devices were accepted and some were refused; the report names each."""
    NOT_FOUND = 4
    """The device, stack, table or local cloud does not exist."""
    REFUSED = 5
    """The cloud refused: a policy, a 403, a failed check."""


class CliError(click.ClickException):
    """A failure for the operator: `message` is the cause, `hint` the advice."""

    def __init__(self, message: str, *, hint: str | None = None, exit_code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = int(exit_code)  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        """Print `error:` and the hint to stderr, without line breaks, so that paths and ARNs can be copied."""
        stream = file or sys.stderr
        click.echo(f"{styled('error:', fg='red', bold=True)} {printable(self.message)}", file=stream)
        if self.hint:
            click.echo(f"{styled('hint:', fg='yellow')} {printable(self.hint)}", file=stream)


def stderr() -> Console:
    """Return the console for progress and prose, so that stdout has only results.

    It is created at each call, because a test or a redirect may replace the stream.
    """
    return Console(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> Console:
    """Return the console for results for people, such as tables."""
    return Console(highlight=False, soft_wrap=True)


def styled(text: str, **style: Any) -> str:
    """Return text in colour, or unchanged if NO_COLOR is set (no-color.org). `click.echo` drops colour for a pipe."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def is_interactive() -> bool:
    """Whether stderr is a terminal that can move its cursor, outside a CI job."""
    console = stderr()
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI")


def printable(text: str) -> str:
    """Return `text` with every control, C1 and bidirectional character escaped, but line ends and tabulators kept.

    The name of a file, an attribute of a table or a message of a device must not control the operator's terminal. For
    text on one line, use `inline`.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1] for character in text
    )


def inline(text: str) -> str:
    """Return `text` for one line: as `printable`, with line ends and tabulators escaped too."""
    if text.isprintable():
        return text
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def note(message: str) -> None:
    """Write a line for people to stderr."""
    click.echo(printable(message), err=True)


def emit(value: str) -> None:
    """Write one result to stdout, for pipes: a URL, a PEM, an id."""
    click.echo(value)


def emit_json(document: object) -> None:
    """Write one JSON document to stdout, indented, keys in the given order.

    Dataclasses become objects, enums their values, paths strings, and dates RFC 3339. Other types are a TypeError.
    """
    click.echo(_json(document, indent=2))


def emit_json_array(name: str, rows: Iterable[object], rest: Callable[[], Mapping[str, object]]) -> None:
    """Write the JSON document `{name: rows, **rest()}` to stdout row by row; `rest` is called after the last row."""
    click.echo(f"{{\n  {json.dumps(name)}: [", nl=False)
    for number, row in enumerate(rows):
        text = _json(row, indent=2).replace("\n", "\n    ")
        click.echo(("," if number else "") + "\n    " + text, nl=False)
    click.echo("\n  ]", nl=False)
    for key, value in rest().items():
        click.echo(f",\n  {json.dumps(key)}: {_json(value, indent=2)}", nl=False)
    click.echo("\n}")


def emit_json_line(document: object) -> None:
    """Write one JSON document to stdout on one line: JSON Lines, for streams of rows."""
    click.echo(_json(document, separators=(",", ":")))


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table for people to stdout. Cells are text, never markup.

    A terminal folds long cells. In a pipe a row is one line of any width, so that ids stay whole.
    """
    cells = [["" if cell is None else inline(str(cell)) for cell in row] for row in rows]
    console = stdout()
    if not console.is_terminal:
        _emit_aligned([columns, *cells])
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _emit_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Write rows of equal length, each column as wide as its widest cell; `rich` takes many times as long."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        return "  ".join(padded).rstrip()

    click.echo("\n".join(map(line, rows)))


def emit_fields(fields: Mapping[str, object]) -> None:
    """Write lines of `name value` to stdout with aligned values; a None is left out."""
    shown = {name: value for name, value in fields.items() if value is not None}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{inline(name):<{width}}  {inline(str(value))}")


def camel_case(name: str) -> str:
    """Return `replaced-since` as `replacedSince`: the spelling of names in every document of `--json`."""
    first, *others = name.split("-")
    return first + "".join(word.capitalize() for word in others)


def rfc3339(moment: datetime | None) -> str | None:
    """Return a moment as RFC 3339 in UTC, to the second; None for None."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def json_option(function: Any) -> Any:
    """Add `--json` to a command; it is passed as the keyword `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout, for machines.")(
        function
    )


def _json(document: object, **layout: Any) -> str:
    text = json.dumps(document, ensure_ascii=False, default=_encode, **layout)
    if text.replace("\n", "").isprintable():
        return text
    # json.dumps does not escape C1 and bidirectional characters.
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _encode(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
