"""No cell of an exported CSV is a formula, and each comes back as it was."""

from hypothesis import given
from hypothesis import strategies as st
from secretfree_cli.manifests.formula_guard import guarded, unguarded


@given(st.text(alphabet="'=+-@\t\rab1", max_size=6))
def test_no_cell_begins_as_a_formula_and_each_is_read_back(cell: str) -> None:
    assert not guarded(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(guarded(cell)) == cell
