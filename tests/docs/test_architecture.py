"""The architecture page shows the states and the functions that there are."""

from pathlib import Path

import pytest
from secretfree.issuance.states import IssuanceState
from support import diagrams
from support.documents import ROOT

_PAGE = ROOT / "docs" / "architecture.md"


@pytest.mark.parametrize(
    ("picture", "drawn"), [(diagrams.STATES, diagrams.states()), (diagrams.FUNCTIONS, diagrams.functions())]
)
def test_the_pictures_are_those_of_the_code_and_the_template(picture: Path, drawn: str) -> None:
    assert picture.read_text(encoding="utf-8") == drawn, "run `make pictures`"
    assert f"({picture.name})" in _PAGE.read_text(encoding="utf-8")


def test_every_state_is_explained() -> None:
    text = _PAGE.read_text()

    assert [state.value for state in IssuanceState if f"| `{state.value}` |" not in text] == []
