"""The command `secretfree report`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from secretfree_cli.output import CliError, emit, note
from secretfree_cli.report.gather import gather
from secretfree_cli.report.page import render
from secretfree_cli.target import Target, target_options


@click.command("report")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("secretfree-report.html"),
    show_default=True,
    help="File of the page.",
)
@click.option("--days", type=click.IntRange(1, 60), default=14, show_default=True, help="Of refused requests.")
@target_options
def report(*, target: Target, output: Path, days: int) -> None:
    """Write the state of the product line as one HTML page: funnel, batches, expiry, refusals, CAs, stuck devices.

    The page needs no network and opens from disk. Both tables are read completely. Only the owner can read the file,
    because it names devices. It is written atomically.
    """
    facts = gather(target, now=datetime.now(UTC), days=days)
    try:
        _write(output, render(facts))
    except OSError as error:
        raise CliError(f"{output} cannot be written: {error.strerror}") from error
    for gap in facts.gaps:
        note(f"not read: {gap.what} ({gap.why})")
    emit(str(output))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
