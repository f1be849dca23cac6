"""Durations in the operator's notation: `30d`, `12h`, `90m`."""

from __future__ import annotations

import re
from datetime import timedelta

import click

_FORM = re.compile(r"(?P<number>[1-9][0-9]{0,5})(?P<unit>[mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Parse a click option's value; for use as the option's `callback`."""
    if value is None:
        return None
    found = _FORM.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r}; accepted: a number and m, h, d or w, such as 90m, 12h, 30d")
    return timedelta(**{_UNITS[found["unit"]]: int(found["number"])})


def age(span: timedelta) -> str:
    """Return a duration in its largest unit, for output: `3 d`, `5 h`, `12 min`, `40 s`."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
