"""The table of measured costs: the page has each row that the command measures."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def command():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "table.py")))


def rows_of(command, page: str) -> list[str]:
    """The first cells of the table in the page's block."""
    block = page.partition(command.BEGIN)[2].partition(command.END)[0]
    lines = [line for line in block.splitlines() if line.startswith("| ")]
    assert lines[0] == f"| {' | '.join(command.HEADER)} |"
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]]


def test_the_page_has_each_figure_of_the_command_in_its_order(command):
    assert rows_of(command, command.PAGE.read_text(encoding="utf-8")) == list(command.BEFORE_AND_MARK)


def test_a_part_replaces_its_own_rows_alone(command):
    page = command.PAGE.read_text(encoding="utf-8")
    changed = command.written(page, {command.SWEEP: command.Found("floor", "99", met=False)}, "A note.")
    differing = set(changed.splitlines()) - set(page.splitlines())
    assert rows_of(command, changed) == rows_of(command, page)
    assert {line for line in differing if line.startswith("|")} == {
        f"| {command.SWEEP} | 80 | floor | 99 | 24 | **no** |"
    }


def test_a_page_without_rows_gets_those_that_were_not_measured_too(command):
    page = command.written(f"Before.\n\n{command.BEGIN}\n{command.END}\n", {}, "A note.")
    assert rows_of(command, page) == list(command.BEFORE_AND_MARK)
    assert command.NOT_RUN in page


def test_each_part_can_be_asked_for_alone(command, capsys):
    with pytest.raises(SystemExit):
        command.main(["no-such-part"])
    assert capsys.readouterr().err.endswith(f"accepted: {', '.join(command.PARTS)}\n")
