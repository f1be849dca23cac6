"""The page: HTML without scripts and external resources, for screen and paper, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from secretfree_cli.durations import age
from secretfree_cli.report.facts import ENDS, Facts


def render(facts: Facts) -> str:
    """Return the whole document."""
    sections = (_funnel(facts), _batches(facts), _ends(facts), _denials(facts), _authorities(facts), _stuck(facts))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>Provisioning of {escape(facts.title)}</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<header><h1>Provisioning of {escape(facts.title)}</h1>",
            f"<p>As of {facts.made_at:%Y-%m-%d %H:%M} UTC.</p></header><main>",
            *(line for section in sections for line in section),
            *_gaps(facts),
            "</main></body></html>",
            "",
        ]
    )


def _funnel(facts: Facts) -> Iterator[str]:
    steps = [
        ("enrolled", facts.enrolled),
        ("allowed (not blocked)", facts.enrolled - facts.blocked),
        ("asked for a certificate", facts.asked),
        ("have a good certificate", facts.provisioned),
    ]
    yield from _bars("From enrolment to certificate", ("Step", "Devices"), steps)


def _batches(facts: Facts) -> Iterator[str]:
    rows = [
        (name, count.enrolled, count.blocked, count.provisioned, _share(count.provisioned, count.enrolled))
        for name, count in sorted(facts.batches.items())
    ]
    columns = ("Batch", "Enrolled", "Blocked", "Provisioned", "Share")
    yield from _table("Enrolled and provisioned, by batch", columns, rows, empty="No device is enrolled.")


def _ends(facts: Facts) -> Iterator[str]:
    yield from _bars("When certificates end", ("Ends", "Certificates"), [(name, facts.ends[name]) for name, _ in ENDS])


def _denials(facts: Facts) -> Iterator[str]:
    title = "Refused requests, by day and reason"
    if not facts.denials:
        yield from _table(title, (), (), empty=f"None in the last {len(facts.days)} days.")
        return
    shown = facts.denials[: len(_COLOURS)]
    highest = max(sum(one.by_day[day] for one in shown) for day in facts.days) or 1
    yield f"<section><h2>{title}</h2>"
    yield (
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT + 26}" role="img" aria-labelledby="denials-title">'
        f'<title id="denials-title">{title}; at most {highest} a day. The table below has the figures.</title>'
    )
    step = _CHART_WIDTH / len(facts.days)
    for column, day in enumerate(facts.days):
        top = float(_CHART_HEIGHT)
        for series, colour in zip(shown, range(len(_COLOURS)), strict=False):
            height = series.by_day[day] / highest * (_CHART_HEIGHT - 10)
            top -= height
            if height:
                yield (
                    f'<rect class="c{colour}" x="{column * step + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" '
                    f'height="{height:.1f}"><title>{day:%Y-%m-%d} {escape(series.reason)}: '
                    f"{series.by_day[day]}</title></rect>"
                )
    first, last = facts.days[0], facts.days[-1]
    yield f'<text x="0" y="{_CHART_HEIGHT + 20}">{first:%Y-%m-%d}</text>'
    yield f'<text x="{_CHART_WIDTH}" y="{_CHART_HEIGHT + 20}" text-anchor="end">{last:%Y-%m-%d}</text></svg>'
    rows = [
        f'<tr><th scope="row"><span class="key c{number}" aria-hidden="true"></span>{escape(series.reason)}</th>'
        f'<td class="number">{series.total}</td></tr>'
        for number, series in enumerate(facts.denials)
    ]
    yield _opened(("Reason", f"Requests in {len(facts.days)} days"), "Refused requests by reason")
    yield "".join(rows) + "</tbody></table></div></section>"


def _authorities(facts: Facts) -> Iterator[str]:
    rows = [
        (
            line.arn,
            line.status,
            "-" if line.not_after is None else f"{line.not_after:%Y-%m-%d}",
            "-" if line.not_after is None else age(line.not_after - facts.made_at),
        )
        for line in facts.authorities
    ]
    yield from _table("Certificate authorities", ("CA", "Status", "Ends", "In"), rows, empty="No Private CA is used.")


def _stuck(facts: Facts) -> Iterator[str]:
    rows = [
        (one.device_id, one.issuer, one.state, one.attempts, age(facts.made_at - one.since))
        for one in sorted(facts.stuck, key=lambda one: one.since)
    ]
    title = f"Devices without an end: {facts.stuck_in_all}"
    columns = ("Device", "Issuer", "State", "Attempts", "For")
    yield from _table(title, columns, rows, empty="No issuance is unfinished.")
    if rows:
        yield "<p>Why: <code>secretfree diagnose DEVICE</code>.</p>"
    if facts.stuck_in_all > len(rows):
        yield f"<p>The {len(rows)} that wait longest are shown.</p>"


def _gaps(facts: Facts) -> Iterator[str]:
    if facts.gaps:
        yield "<section><h2>Not read</h2><ul>"
        yield from (f"<li>{escape(gap.what)}: {escape(gap.why)}</li>" for gap in facts.gaps)
        yield "</ul></section>"


def _bars(title: str, columns: tuple[str, str], rows: Sequence[tuple[str, int]]) -> Iterator[str]:
    """A table whose last column shows each figure as a bar; screen readers read the figure."""
    highest = max((value for _, value in rows), default=0) or 1
    yield f"<section><h2>{escape(title)}</h2>"
    yield _opened((*columns, ""), title)
    for name, value in rows:
        width = f"{value / highest * 100:.1f}%"
        yield (
            f'<tr><th scope="row">{escape(name)}</th><td class="number">{value}</td>'
            f'<td class="bar" aria-hidden="true"><span style="width:{width}"></span></td></tr>'
        )
    yield "</tbody></table></div></section>"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> Iterator[str]:
    yield f"<section><h2>{escape(title)}</h2>"
    if not rows:
        yield f"<p>{escape(empty)}</p></section>"
        return
    yield _opened(columns, title)
    for name, *cells in rows:
        shown = "".join(
            f'<td class="number">{cell}</td>' if isinstance(cell, int) else f"<td>{escape(str(cell))}</td>"
            for cell in cells
        )
        yield f'<tr><th scope="row">{escape(str(name))}</th>{shown}</tr>'
    yield "</tbody></table></div></section>"


def _opened(columns: Sequence[str], caption: str) -> str:
    heads = "".join(
        f'<th scope="col">{escape(column)}</th>' if column else '<td aria-hidden="true"></td>' for column in columns
    )
    # A wide table scrolls in its own box, which is reachable by keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f'<caption class="unseen">{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>'
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


_CHART_WIDTH: Final = 640
_CHART_HEIGHT: Final = 160
_COLOURS: Final = ("#b3261e", "#0b6bcb", "#a15c00", "#0a7d4b", "#7a3db8", "#5c6670")
_DARK_COLOURS: Final = ("#ff8a80", "#7cb8ff", "#ffc166", "#6fdca7", "#cfa5ff", "#b4bec8")
_STYLE: Final = (
    """
:root{--back:#fff;--text:#1b1f23;--soft:#5a636c;--line:#d5dae0;--bar:#0b6bcb}
"""
    + "".join(f".c{number}{{--c:{colour}}}" for number, colour in enumerate(_COLOURS))
    + """
@media (prefers-color-scheme:dark){:root{--back:#14171a;--text:#e8ebee;--soft:#a5afb9;--line:#3a424a;--bar:#7cb8ff}
"""
    + "".join(f".c{number}{{--c:{colour}}}" for number, colour in enumerate(_DARK_COLOURS))
    + """}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--back);color:var(--text);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
header p,caption{color:var(--soft);margin:0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top;
font-weight:400;white-space:nowrap}
tbody th{white-space:normal;overflow-wrap:anywhere;min-width:8rem}
thead th{color:var(--soft);font-size:.875rem}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;width:1%;padding-left:.6rem}
.bar{width:45%}.bar span{display:block;height:1.1rem;background:var(--bar)}
.key{display:inline-block;width:.8rem;height:.8rem;margin-right:.5rem;background:var(--c,var(--soft))}
svg{width:100%;height:auto;border-bottom:1px solid var(--line)}rect{fill:var(--c)}
text{fill:var(--soft);font-size:12px}
@media (max-width:30rem){th,td{padding-right:.3rem}.number{padding-left:.3rem}tbody th{min-width:5rem}
thead th{font-size:.75rem}text{font-size:20px}}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media print{:root{--back:#fff;--text:#000;--soft:#333;--line:#999;--bar:#555}body{max-width:none;padding:0}
section{break-inside:avoid}.scroll{overflow:visible}.bar span,.key,rect{print-color-adjust:exact}}
"""
)
