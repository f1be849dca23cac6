"""The devices that a command's arguments name, and the outcome of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from secretfree_cli.command_line import keep_partial_result
from secretfree_cli.importing.options import device_id_of, outcomes_document, show_outcomes
from secretfree_cli.target import Target

ids_option = click.option(
    "--from",
    "ids_file",
    type=click.File("r", encoding="utf-8-sig"),
    help="Read device ids from this file too, one a line. '-' is stdin.",
)


def all_ids(given: Sequence[str], file: TextIO | None) -> Sequence[str]:
    """Return the ids of the command line and of `--from`; empty lines and lines that begin with # are skipped."""
    try:
        lines = [line.strip() for line in file or ()]
    except UnicodeDecodeError as error:
        raise click.UsageError("--from: not UTF-8 text with one device id a line") from error
    ids = list(dict.fromkeys([*given, *(line for line in lines if line and not line.startswith("#"))]))
    if not ids:
        raise click.UsageError("pass DEVICE_ID or --from FILE with at least one id")
    return ids


def accepted_ids(target: Target, device_ids: Sequence[str]) -> Mapping[str, str]:
    """Return each id as given, and as enrolled. An invalid id is an error before any device changes."""
    return {given: device_id_of(target, given) for given in device_ids}


@contextmanager
def outcomes_shown(*, as_json: bool) -> Iterator[dict[str, str]]:
    """Show the outcome of each device, even after an error."""
    outcomes: dict[str, str] = {}
    try:
        yield outcomes
    except click.ClickException:
        if as_json:
            keep_partial_result(outcomes_document(outcomes))
        elif outcomes:
            show_outcomes(outcomes, as_json=False)
        raise
    except BaseException:
        if outcomes:
            show_outcomes(outcomes, as_json=as_json)
        raise
    show_outcomes(outcomes, as_json=as_json)
