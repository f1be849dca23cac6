"""The page about costs has the figures that its commands print."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from click.testing import CliRunner
from secretfree_cli.main import main
from support.documents import ROOT

PAGE = ROOT / "docs" / "explanation" / "costs-and-quotas.md"
_ROW = re.compile(r"^\|[^|]+\| `secretfree (plan [^`]+)` \| ([0-9.,]+) \|$", re.MULTILINE)
ROWS = _ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_rows() -> None:
    assert len(ROWS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("command", "dollars"), ROWS)
def test_a_row_has_the_cost_that_its_command_prints(command: str, dollars: str) -> None:
    result = CliRunner().invoke(main, [*shlex.split(command), "--json"], catch_exceptions=False)
    assert f"{json.loads(result.stdout)['cost']['dollars']:,.2f}" == dollars
