"""How the command line speaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.text import Text
from secretfree_cli import output
from secretfree_cli.importing.progress import Lines
from secretfree_cli.output import (
    CliError,
    ExitCode,
    emit_fields,
    emit_json,
    emit_json_line,
    emit_table,
    json_option,
    note,
    styled,
)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Row:
    path: Path
    colour: Colour
    moment: datetime


ROW = Row(Path("a/b"), Colour.RED, datetime(2026, 1, 2, tzinfo=UTC))


def test_json_keeps_the_order_and_writes_our_types(capsys):
    emit_json({"z": 1, "a": ROW})
    written = capsys.readouterr().out
    assert json.loads(written) == {"z": 1, "a": {"path": "a/b", "colour": "red", "moment": "2026-01-02T00:00:00Z"}}
    assert written.index('"z"') < written.index('"a"')


def test_json_lines_are_one_line_each(capsys):
    emit_json_line({"a": [1, 2]})
    assert capsys.readouterr().out == '{"a":[1,2]}\n'


def test_a_type_that_json_has_not_is_a_defect():
    with pytest.raises(TypeError):
        emit_json({"a": object()})


def test_notes_never_mix_with_results(capsys):
    note("working")
    emit_fields({"a": 1, "long-name": "x", "absent": None})
    captured = capsys.readouterr()
    assert captured.err == "working\n"
    assert captured.out == "a          1\nlong-name  x\n"


def test_a_cell_is_text_and_never_markup(capsys):
    emit_table(["id"], [["[red]device[/red]"]])
    assert "[red]device[/red]" in capsys.readouterr().out


ESCAPES = "a\x1b]0;title\x07b\x9b2Jc\rd"
ESCAPED = r"a\x1b]0;title\x07b\x9b2Jc\rd"


def test_what_is_shown_cannot_write_to_the_terminal(capsys):
    emit_fields({"name": ESCAPES})
    emit_table(["name"], [[ESCAPES], [r"\[bold]x"]])
    note(ESCAPES)
    CliError(ESCAPES, hint=ESCAPES).show()
    captured = capsys.readouterr()
    assert captured.out.count(ESCAPED) == 2
    assert r"\[bold]x" in captured.out
    assert captured.err.count(ESCAPED) == 3
    assert not {"\x07", "\x9b", "\r"} & {*captured.out, *captured.err}


def test_a_table_in_a_pipe_has_a_line_a_row_and_columns_as_wide_as_what_is_shown(capsys):
    emit_table(["ID", "NAME", "STATE"], [["a" * 300, "\u5de5\u5382", "good"], ["b", None, "\u00fc"]])
    assert capsys.readouterr().out.splitlines() == [
        f"ID{' ' * 298}  NAME  STATE",
        f"{'a' * 300}  \u5de5\u5382  good",
        f"b{' ' * 299}        \u00fc",
    ]


def test_a_table_without_rows_shows_its_columns(capsys):
    emit_table(["ID", "STATE"], [])
    assert capsys.readouterr().out == "ID  STATE\n"


def test_a_terminal_folds_a_long_cell_and_gets_no_control_character(monkeypatch, capsys):
    monkeypatch.setattr(output, "stdout", lambda: Console(force_terminal=True, width=40, highlight=False))
    emit_table(["ID", "NAME"], [["a" * 60, ESCAPES]])
    lines = [Text.from_ansi(line).plain for line in capsys.readouterr().out.splitlines()]
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40
    assert not {"\x1b", "\x07", "\x9b", "\r"} & {*"".join(lines)}


def test_an_error_shows_its_hint_and_ends_with_its_code():
    @click.command()
    def fail() -> None:
        raise CliError("it broke", hint="do this", exit_code=ExitCode.REFUSED)

    result = CliRunner().invoke(fail)
    assert result.exit_code == 5
    assert "it broke" in result.stderr
    assert "do this" in result.stderr
    assert result.stdout == ""


def test_the_json_option_arrives_as_a_keyword():
    @click.command()
    @json_option
    def show(*, as_json: bool) -> None:
        click.echo(as_json)

    assert CliRunner().invoke(show, ["--json"]).output == "True\n"


ODD = "a\x1b[31m\x9b2J\u202eb\u2066c\u2028d\x00"


@pytest.mark.parametrize(
    "write", [note, lambda text: emit_fields({text: text}), lambda text: emit_table(["x"], [[text]])]
)
def test_no_control_c1_or_bidirectional_character_reaches_a_terminal(write, capsys):
    write(ODD)
    shown = "".join(capsys.readouterr())
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_json_keeps_such_characters_as_escapes(capsys):
    emit_json({"id": ODD})
    shown = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert json.loads(shown) == {"id": ODD}


def test_a_value_cannot_forge_a_line(capsys):
    emit_fields({"id": "a\nstatus  allowed"})
    emit_table(["id"], [["a\nb"]])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["id  a\\nstatus  allowed", "id", "a\\nb"]


def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("error:", fg="red") == "error:"
    monkeypatch.delenv("NO_COLOR")
    assert styled("error:", fg="red") != "error:"


def test_progress_in_a_log_is_plain_lines_at_intervals(capsys):
    now = iter([0.0, 1.0, 11.0, 12.0, 22.0])
    lines = Lines(lambda: next(now))
    lines.phase("importing", 200)
    for done in (10, 50, 60, 200):
        lines.reached(done)
    assert capsys.readouterr().err == "importing: 25 %\nimporting: 100 %\n"
