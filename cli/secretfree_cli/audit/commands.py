"""The command `secretfree audit`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click

from secretfree_cli.audit.events import Trail, TrailEvent, read_trail
from secretfree_cli.command_line import LinesCommand
from secretfree_cli.durations import span
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.output import CliError, ExitCode, emit, emit_json_line, inline, json_option, note
from secretfree_cli.target import Target, target_options


@click.command("audit", cls=LinesCommand)
@click.argument("device_id")
@click.option("--since", callback=span, metavar="SPAN", help="How far back, such as 90d.  [default: everything]")
@click.option("--bucket", metavar="NAME", help="The audit trail's bucket.  [default: the stack's output AuditBucket]")
@json_option
@target_options
def audit(*, target: Target, device_id: str, since: timedelta | None, bucket: str | None, as_json: bool) -> None:
    """Show the history of a device from the audit trail, the oldest event first.

    Reads each version of each object that can hold the device's events, so that nothing can be hidden. An event is in
    the bucket about 15 minutes after the change. --json writes JSON Lines. Exit code 4: there is no event. Exit code 5:
    an object has a line that is not an event.
    """
    name = bucket or target.audit_bucket
    if name is None:
        raise CliError(
            "the target has no audit trail",
            hint="add an AuditTrail to the stack and output its bucket as AuditBucket, or pass --bucket",
            exit_code=ExitCode.NOT_FOUND,
        )
    asked = device_id_of(target, device_id)
    start = None if since is None else datetime.now(UTC) - since
    trail = read_trail(target.client("s3"), name, asked, since=start)
    for event in trail.events:
        if as_json:
            emit_json_line({"at": event.at, "event": event.event, **event.fields, "object": event.object_key})
        else:
            emit(_shown(event))
    _notes(trail, name)
    if trail.damaged:
        sys.exit(ExitCode.REFUSED)
    sys.exit(ExitCode.OK if trail.events else ExitCode.NOT_FOUND)


def _shown(event: TrailEvent) -> str:
    fields = (f"{name}={value}" for name, value in event.fields.items() if name != "deviceId")
    return inline(" ".join([f"{event.moment:%Y-%m-%d %H:%M:%S}", event.event, *fields]))


def _notes(trail: Trail, bucket: str) -> None:
    note(f"{len(trail.events)} events in {trail.objects} objects of bucket {bucket}")
    if trail.hidden:
        note(f"{trail.hidden} of them are hidden from a plain listing by a delete marker or a newer version")
    for key in trail.damaged:
        note(f"not an event: {key}")
