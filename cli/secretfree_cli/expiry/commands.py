"""The command `secretfree expiring`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click

from secretfree_cli.command_line import command
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.durations import age, span
from secretfree_cli.expiry.ending import Ending, authorities, certificates
from secretfree_cli.output import CliError, ExitCode, emit_json, emit_table, json_option, note
from secretfree_cli.target import Target, target_options


@command("expiring")
@click.option("--within", callback=span, metavar="SPAN", default="30d", show_default=True, help="Ends in this time.")
@json_option
@target_options
def expiring(*, target: Target, within: timedelta, as_json: bool) -> None:
    """List certificates and CAs that end soon or have ended, in the order of their ends. Reads the whole ledger.

    A device that has renewed is not listed. Exit code 4: nothing ends in that time.
    """
    if target.ledger_table is None:
        raise CliError("the target has no ledger", hint="name the stack with --stack", exit_code=ExitCode.USAGE)
    now, reading = datetime.now(UTC), Reading()
    found = [
        *authorities(target, reading, now=now, within=within),
        *certificates(target, now=now, within=within),
    ]
    found.sort(key=lambda ending: ending.not_after)
    if as_json:
        emit_json({"within": within.total_seconds(), "ending": [_document(ending, now) for ending in found]})
    elif found:
        emit_table(
            ("ENDS (UTC)", "IN", "WHAT", "ISSUER", "CERTIFICATE"),
            (
                (
                    f"{ending.not_after:%Y-%m-%d %H:%M}",
                    "ended" if ending.is_over(now) else age(ending.not_after - now),
                    ending.name,
                    ending.issuer or ending.kind,
                    ending.certificate_id,
                )
                for ending in found
            ),
        )
    for gap in reading.gaps:
        note(f"not read: {gap.what} ({gap.why})")
    if not found:
        note(f"nothing ends within {age(within)}")
    sys.exit(ExitCode.OK if found else ExitCode.NOT_FOUND)


def _document(ending: Ending, now: datetime) -> dict[str, object]:
    return {
        "kind": ending.kind,
        "name": ending.name,
        "issuer": ending.issuer,
        "certificateId": ending.certificate_id,
        "notAfter": ending.not_after,
        "ended": ending.is_over(now),
    }
