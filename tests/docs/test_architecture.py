"""The architecture page shows the states that the code has."""

from secretfree.issuance.states import SUCCESSORS, IssuanceState
from support.documents import ROOT, blocks

_PAGE = ROOT / "docs" / "architecture.md"


def state_diagram() -> str:
    """The Mermaid diagram of an issuance's states, from the transitions that the code allows."""
    arrows = [
        f"    {state.value} --> {successor.value}"
        for state in IssuanceState
        for successor in IssuanceState
        if successor in SUCCESSORS[state]
    ]
    final = [f"    {state.value} --> [*]" for state in IssuanceState if not SUCCESSORS[state]]
    return "\n".join(["stateDiagram-v2", "    [*] --> requesting", *arrows, *final])


def test_the_diagram_of_a_certificates_life_is_that_of_the_code() -> None:
    assert state_diagram() in list(blocks(_PAGE, "mermaid"))


def test_every_state_is_explained() -> None:
    text = _PAGE.read_text()

    assert [state.value for state in IssuanceState if f"| `{state.value}` |" not in text] == []
