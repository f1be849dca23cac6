"""The tables of crashes on their page are those that the code gives, and every row of them ends well."""

from collections.abc import Callable

import pytest
from support.crash_table import TABLES, consumer_rows, rows
from support.documents import ROOT

pytestmark = pytest.mark.xdist_group("crash-tables")  # one process makes the rows
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_the_page_shows_the_table(table: Callable[[], str]) -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "run `PYTHONPATH=tests python -m support.crash_table`"


def test_no_fault_of_an_issuance_leaves_an_orphan() -> None:
    assert [row for row in rows() if row.orphans] == []


@pytest.mark.slow
def test_no_fault_and_no_second_delivery_changes_what_a_consumer_leaves() -> None:
    assert [row for row in consumer_rows() if not row.same] == []
