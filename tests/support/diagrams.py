"""Two diagrams of the architecture page, generated from code and template: `make pictures` writes them.

The states of an issuance come from the transitions that the code allows. The functions of the sample come from its
template: what starts each of them, and what its role may do.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from secretfree.issuance.states import SUCCESSORS, IssuanceState
from support.dashboard_picture import SNAPSHOT
from support.documents import ROOT

STATES = ROOT / "docs" / "issuance-states.svg"
FUNCTIONS = ROOT / "docs" / "functions.svg"

_PLACES: Mapping[IssuanceState, tuple[int, int]] = {
    IssuanceState.REQUESTING: (0, 0),
    IssuanceState.REQUESTED: (1, 0),
    IssuanceState.ISSUED: (2, 0),
    IssuanceState.ACTIVE: (3, 0),
    IssuanceState.ABANDONED: (1, 1),
    IssuanceState.REVOKED: (3, 1),
}
_BOX, _STEP, _TOP = (120, 40), (190, 120), 60
_WIDTH, _LINE, _LETTERS = 960, 18, 74
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t" '
    'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#1a1f26">\n<title id="t">{title}</title>\n'
    '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L10 5L0 10z" fill="#56606b"/></marker></defs>\n'
    '<rect width="{width}" height="{height}" fill="#fff"/>'
)
# Resources that many functions use, and their names for the reader.
_NAMES = (
    ("Registry", "registry"),
    ("Ledger", "ledger"),
    ("Authority", "Private CA"),
    ("DeadLetters", "dead letters"),
    ("Queue", "queue of connects"),
)


def states() -> str:
    """The states of an issuance, and the steps between them."""
    height = _TOP + _STEP[1] + _BOX[1] + 30
    arrows = [_arrow(one, other) for one in IssuanceState for other in IssuanceState if other in SUCCESSORS[one]]
    boxes = [part for state in IssuanceState for part in _box(state)]
    head = _HEAD.format(width=3 * _STEP[0] + _BOX[0] + 60, height=height, title="The states of an issuance")
    return "\n".join([head, *arrows, *boxes, "</svg>\n"])


def functions() -> str:
    """The functions of the sample: what starts each, and what its role may do."""
    resources = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["Resources"]
    parts: list[str] = []
    top = 46
    for logical_id, one in sorted(resources.items(), key=lambda item: str(item[1].get("Properties", {}))):
        if one["Type"] == "AWS::Lambda::Function":
            drawn, top = _row(resources, logical_id, one["Properties"], top)
            parts += drawn
    titles = [
        _text(x, 28, title, bold=True) for x, title in ((20, "started by"), (200, "function"), (430, "its role may"))
    ]
    head = _HEAD.format(width=_WIDTH, height=top, title="The functions of the sample, and what each may do")
    return "\n".join([head, *titles, *parts, "</svg>\n"])


def _arrow(one: IssuanceState, other: IssuanceState) -> str:
    (x, y), (to_x, to_y) = _middle(one), _middle(other)
    half, high = _BOX[0] / 2, _BOX[1] / 2
    if y == to_y and _PLACES[other][0] - _PLACES[one][0] > 1:
        return _path(f"M{x} {y - high}C{x + 60} {y - 70} {to_x - 60} {to_y - 70} {to_x - 8} {to_y - high - 2}")
    if y == to_y:
        return _path(f"M{x + half} {y}L{to_x - half - 2} {to_y}")
    aside = max(-half, min(half, (x - to_x) / 4))
    return _path(f"M{x} {y + high}L{to_x + aside} {to_y - high - 2}")


def _box(state: IssuanceState) -> Iterator[str]:
    x, y = _middle(state)
    final = not SUCCESSORS[state]
    fill = "#e8f3ea" if state is IssuanceState.ACTIVE else "#f3f4f6"
    yield (
        f'<rect x="{x - _BOX[0] / 2}" y="{y - _BOX[1] / 2}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6" '
        f'fill="{fill}" stroke="#56606b" stroke-width="{2 if final else 1}"/>'
    )
    yield _text(x, y + 4, state.value, anchor="middle")


def _middle(state: IssuanceState) -> tuple[float, float]:
    column, row = _PLACES[state]
    return 30 + column * _STEP[0] + _BOX[0] / 2, _TOP + row * _STEP[1] + _BOX[1] / 2


def _row(
    resources: Mapping[str, Any], logical_id: str, properties: Mapping[str, Any], top: int
) -> tuple[Sequence[str], int]:
    rights = [line for right in _rights(resources, properties) for line in textwrap.wrap(right, _LETTERS)]
    name = properties["Handler"].split(".")[-2].replace("_", " ")
    if issuer := properties["Environment"]["Variables"].get("SECRETFREE_ISSUER"):
        name = f"{name} {issuer}"
    height = max(2, len(rights)) * _LINE + 16
    middle = top + height / 2
    parts = [
        f'<rect x="200" y="{top}" width="190" height="{height - 8}" rx="6" fill="#eaf0fb" stroke="#56606b"/>',
        _text(295, middle, name, anchor="middle", bold=True),
        _text(20, middle, _trigger(resources, logical_id)),
        _path(f"M140 {middle - 4}H196"),
        _path(f"M390 {middle - 4}H424"),
    ]
    first = middle - (len(rights) - 1) * _LINE / 2
    parts += [_text(430, first + number * _LINE, line) for number, line in enumerate(rights)]
    return parts, top + height


def _trigger(resources: Mapping[str, Any], function: str) -> str:
    """What invokes the function, by the resources that name it."""
    for one in resources.values():
        properties = one.get("Properties", {})
        if not re.search(rf'"{function}"', json.dumps(properties)):
            continue
        if one["Type"] == "AWS::Lambda::EventSourceMapping":
            return f"{_name_of(properties['EventSourceArn'])}"
        if one["Type"] == "AWS::Events::Rule":
            return "schedule"
        if one["Type"] == "AWS::ApiGateway::Method":
            return f"POST {resources[properties['ResourceId']['Ref']]['Properties']['PathPart']}"
        if one["Type"] == "AWS::ApiGateway::Authorizer":
            return "every request"
    return "deployment"


def _rights(resources: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    """The actions of the function's role, by what they are on; its own log is left out."""
    role = properties["Role"]["Fn::GetAtt"][0]
    policies = [
        *resources[role]["Properties"].get("Policies", []),
        *(
            one["Properties"]
            for one in resources.values()
            if one["Type"] == "AWS::IAM::Policy" and {"Ref": role} in one["Properties"]["Roles"]
        ),
    ]
    found: dict[str, set[str]] = {}
    for policy in policies:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for action in actions:
                service, _, operation = action.partition(":")
                if service != "logs":
                    found.setdefault(_place(service, statement["Resource"]), set()).add(operation)
    for place, operations in sorted(found.items()):
        yield f"{place}: {', '.join(sorted(operations))}"


def _place(service: str, resource: Any) -> str:
    return "IoT Core" if service == "iot" else _name_of(resource)


def _name_of(resource: Any) -> str:
    text = json.dumps(resource)
    name = next((name for part, name in _NAMES if part in text), "all tables" if text == '"*"' else text)
    return f"{name}'s stream" if "StreamArn" in text else name


def _path(line: str) -> str:
    return f'<path d="{line}" fill="none" stroke="#56606b" marker-end="url(#a)"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


if __name__ == "__main__":
    STATES.write_text(states(), encoding="utf-8")
    FUNCTIONS.write_text(functions(), encoding="utf-8")
