"""The sample's dashboard as a picture, drawn from its definition: `make pictures` writes it into the documents.

Layout, titles, labels, the axes' limits and annotations come from the definition. The lines are invented, because there
is no data without traffic.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from support.documents import ROOT

PICTURE = ROOT / "docs" / "guides" / "dashboard.svg"
SNAPSHOT = ROOT / "tests" / "cdk" / "snapshots" / "sample.template.json"
_UNIT, _GAP, _ROW = 50, 6, 38
_COLOURS = ("#1f77b4", "#d95f02", "#1b7f3b", "#c2185b", "#6a3d9a", "#8c6d1f", "#0b7285", "#5f6b7a")


def definition() -> Mapping[str, Any]:
    """The dashboard's body in the sample's template. Values of deploy time become `...`."""
    resources = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["Resources"]
    (body,) = [one["Properties"]["DashboardBody"] for one in resources.values() if "Dashboard" in one["Type"]]
    _, parts = body["Fn::Join"]
    document: Mapping[str, Any] = json.loads("".join(part if isinstance(part, str) else "..." for part in parts))
    return document


def drawn(body: Mapping[str, Any]) -> str:
    """The picture of a dashboard, as SVG."""
    widgets = body["widgets"]
    width = 24 * _UNIT
    height = max(one["y"] + one["height"] for one in widgets) * _ROW
    parts = [part for widget in widgets for part in _widget(widget)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t"',
            'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#1a1f26">',
            '<title id="t">The dashboard of a product line, with invented lines</title>',
            f'<rect width="{width}" height="{height}" fill="#eef1f4"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _widget(widget: Mapping[str, Any]) -> Iterator[str]:
    x, y = widget["x"] * _UNIT + _GAP / 2, widget["y"] * _ROW + _GAP / 2
    width, height = widget["width"] * _UNIT - _GAP, widget["height"] * _ROW - _GAP
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#fff" stroke="#c8d0d8"/>'
    properties = widget["properties"]
    if widget["type"] == "text":
        for number, line in enumerate(properties["markdown"].splitlines()):
            size = 18 if line.startswith("#") else 13
            yield _text(x + 12, y + 26 + number * 24, line.lstrip("# ").replace("`", ""), size=size)
        return
    yield _text(x + 12, y + 20, properties["title"], size=13, bold=True)
    labels = [_label(metric) for metric in properties["metrics"]]
    if properties["view"] == "singleValue":
        yield from _numbers(labels, x + 12, y + 50, width - 24)
    else:
        notes = properties.get("annotations", {}).get("horizontal", ())
        yield from _graph(properties["title"], labels, notes, (x + 12, y + 32, width - 24, height - 40))


def _graph(
    title: str, labels: Sequence[str], notes: Sequence[Mapping[str, Any]], box: tuple[float, float, float, float]
) -> Iterator[str]:
    x, y, width, height = box
    columns = max(1, int(width // 150))
    plot = height - 18 * math.ceil(len(labels) / columns)
    yield f'<path d="M{x} {y}V{y + plot}H{x + width}" fill="none" stroke="#8894a0"/>'
    for note in notes:
        yield f'<path d="M{x} {y + 14}H{x + width}" stroke="#b00020" stroke-dasharray="5 4"/>'
        yield _text(x + 4, y + 10, note["label"], size=11, colour="#b00020")
    for number, label in enumerate(labels):
        colour = _COLOURS[number % len(_COLOURS)]
        yield f'<path d="{_line(title + label, x, y + 18, width, plot - 20)}" fill="none" stroke="{colour}"/>'
        left, top = x + number % columns * (width / columns), y + plot + 14 + number // columns * 18
        yield f'<rect x="{left}" y="{top - 9}" width="10" height="10" fill="{colour}"/>'
        yield _text(left + 14, top, label, size=11)


def _line(seed: str, x: float, y: float, width: float, height: float) -> str:
    """An invented line, the same for the same label."""
    chance = random.Random(seed)
    level, points = chance.random(), []
    for step in range(25):
        level = min(1, max(0, level + chance.uniform(-0.2, 0.2)))
        points.append(f"{x + width * step / 24:.1f} {y + height * (1 - level):.1f}")
    return "M" + "L".join(points)


def _numbers(labels: Sequence[str], x: float, y: float, width: float) -> Iterator[str]:
    for number, label in enumerate(labels):
        left, top = x + number % 2 * width / 2, y + number // 2 * 52
        yield _text(left, top, str(random.Random(label).randrange(1, 9999)), size=22, bold=True)
        yield _text(left, top + 18, label, size=11)


def _label(metric: Sequence[Any]) -> str:
    options = metric[-1] if isinstance(metric[-1], dict) else {}
    return str(options.get("label") or metric[1])


def _text(x: float, y: float, text: str, *, size: int, bold: bool = False, colour: str = "#1a1f26") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(definition()), encoding="utf-8")
