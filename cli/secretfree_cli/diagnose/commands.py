"""The command `secretfree diagnose`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from secretfree_cli.command_line import command
from secretfree_cli.diagnose.collectors import collect
from secretfree_cli.diagnose.evidence import Evidence
from secretfree_cli.diagnose.finding import Finding, Rank
from secretfree_cli.diagnose.rules import findings
from secretfree_cli.diagnose.timeline import timeline
from secretfree_cli.durations import age, span
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.output import ExitCode, emit, emit_fields, emit_json, emit_table, json_option, note, printable
from secretfree_cli.target import Target, target_options

_TIMELINE_SHOWN = 15


@command("diagnose")
@click.argument("device_id", required=False)
@click.option("--request-id", metavar="ID", help="The `requestId` of an answer to the device.")
@click.option(
    "--since", callback=span, metavar="SPAN", default="24h", show_default=True, help="How far back to read the logs."
)
@json_option
@target_options
def diagnose(*, target: Target, device_id: str | None, request_id: str | None, since: timedelta, as_json: bool) -> None:
    """Find out why a device has no certificate, or cannot connect with it.

    Reads registry, ledger, IoT Core, CA, logs and tables, and changes nothing. The first line is the cause.
    Exit code 0: the state of the device was found, good or bad. Exit code 4: nothing was found.
    """
    if (device_id is None) == (request_id is None):
        raise click.UsageError("pass either DEVICE_ID or --request-id ID")
    device_id = None if device_id is None else device_id_of(target, device_id)
    evidence = collect(target, device_id=device_id, request_id=request_id, now=datetime.now(UTC), window=since)
    found = findings(evidence)
    if as_json:
        emit_json(document(evidence, found))
    else:
        _show(evidence, found)
    sys.exit(ExitCode.OK if _is_found(found) else ExitCode.NOT_FOUND)


def document(evidence: Evidence, found: Sequence[Finding]) -> dict[str, object]:
    """Return the diagnosis for `--json`."""
    return {
        "deviceId": evidence.device_id,
        "requestId": evidence.request_id,
        "found": _is_found(found),
        "healthy": _is_found(found) and not found[0].stops_the_device,
        "findings": [
            {
                "cause": finding.cause.value,
                "stage": finding.stage.value,
                "stopsTheDevice": finding.stops_the_device,
                "summary": finding.summary,
                "since": finding.since,
                "action": finding.action,
                "concerns": finding.concern.value,
            }
            for finding in found
        ],
        "timeline": [{"at": entry.at, "what": entry.what} for entry in timeline(evidence)],
        "notRead": [{"what": gap.what, "why": gap.why} for gap in evidence.gaps],
    }


def _is_found(found: Sequence[Finding]) -> bool:
    """Whether a finding is about this device or request, and not only about the cloud."""
    return bool(found) and found[0].rank is not Rank.REMARK


def _show(evidence: Evidence, found: Sequence[Finding]) -> None:
    if not _is_found(found):
        asked = f"request {evidence.request_id}" if evidence.request_id else f"device {evidence.device_id}"
        emit(printable(f"not-found: Nothing was found about {asked} in the last {age(evidence.window)}."))
        note("For a longer time: --since 7d. For another Region or stack: --region, --stack.")
    for number, finding in enumerate(found):
        if number or not _is_found(found):
            emit("")
        emit(printable(f"{finding.cause.value}: {finding.summary}"))
        emit_fields(
            {
                "  stage": finding.stage.label,
                "  since": _since(evidence, finding),
                "  do": finding.action,
                "  concerns": finding.concern.value,
            }
        )
    _show_timeline(evidence)
    for gap in evidence.gaps:
        note(f"not read: {gap.what} ({gap.why})")


def _since(evidence: Evidence, finding: Finding) -> str | None:
    if finding.since is None:
        return None
    return f"{finding.since:%Y-%m-%dT%H:%M:%SZ} ({age(evidence.now - finding.since)} ago)"


def _show_timeline(evidence: Evidence) -> None:
    entries = timeline(evidence)
    if not entries:
        return
    emit("")
    shown = entries[-_TIMELINE_SHOWN:]
    emit_table(("WHEN (UTC)", "WHAT"), ((f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.what) for entry in shown))
    if len(entries) > len(shown):
        note(f"{len(entries) - len(shown)} older entries: --json has all")
