"""The command `secretfree logs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click
from secretfree.errors import Reason

from secretfree_cli.command_line import LinesCommand
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import read_stack
from secretfree_cli.durations import age, span
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.logs.events import LogEvent, Search, find, of_device, of_event, of_reason, of_request
from secretfree_cli.output import CliError, ExitCode, emit, emit_json_line, json_option, note, printable
from secretfree_cli.target import Target, target_options

_REASONS: Final = sorted(reason.value for reason in Reason)
_LEADING: Final[Sequence[str]] = ("event", "issuer", "reason", "deviceId", "claimedDeviceId", "requestId", "detail")
_LEFT_OUT: Final = frozenset({"timestamp", "level", "product", "extendedRequestId"})


@click.command("logs", cls=LinesCommand)
@click.argument("device_id", required=False)
@click.option("--request-id", metavar="ID", help="Lines about one request: the `requestId` of the device's answer.")
@click.option(
    "--reason",
    type=click.Choice(sorted(reason.value for reason in Reason)),
    metavar="REASON",
    help="Lines with this reason.",
)
@click.option("--event", metavar="EVENT", help="Lines of this event: denied, refused, failed, issued, swept, ...")
@click.option("--since", callback=span, metavar="SPAN", default="24h", show_default=True, help="How far back.")
@click.option(
    "--lines", "-n", type=click.IntRange(1), default=100, show_default=True, help="At most the newest N lines."
)
@json_option
@target_options
def logs(
    *,
    target: Target,
    device_id: str | None,
    request_id: str | None,
    reason: str | None,
    event: str | None,
    since: timedelta,
    lines: int,
    as_json: bool,
) -> None:
    """Show what the functions logged about a device, a request, a reason or an event, the oldest first.

    Works on AWS and in the local cloud. Metrics and Lambda's own lines are left out. --json writes JSON Lines. Exit
    code 4: there is no such line.
    """
    searches = _searches(target, device_id, request_id, reason, event)
    reading = Reading()
    groups = read_stack(target, reading).log_groups
    if not groups:
        why = "; ".join(f"{gap.what}: {gap.why}" for gap in reading.gaps) or "the target is a table alone"
        raise CliError(f"no log groups are known ({why})", hint="name the stack with --stack")
    found = find(target.client("logs"), groups, _all_of(searches), since=datetime.now(UTC) - since, most=lines)
    if as_json:
        for line in found:
            emit_json_line({"at": line.at, "group": line.group, **line.fields})
    else:
        for line in found:
            emit(printable(_shown(line)))
    if not found:
        note(f"no line in the last {age(since)}; use --since 7d for a longer time")
    sys.exit(ExitCode.OK if found else ExitCode.NOT_FOUND)


def _searches(
    target: Target, device_id: str | None, request_id: str | None, reason: str | None, event: str | None
) -> Sequence[Search]:
    searches = []
    if device_id is not None:
        searches.append(of_device(device_id_of(target, device_id)))
    if request_id is not None:
        searches.append(of_request(request_id))
    if reason is not None:
        searches.append(of_reason(reason))
    if event is not None:
        searches.append(of_event(event))
    if not searches:
        raise click.UsageError("pass DEVICE_ID, --request-id, --reason or --event")
    return searches


def _all_of(searches: Sequence[Search]) -> Search:
    terms = [term for search in searches for term in search.terms]
    return Search(terms, lambda line: all(search.takes(line) for search in searches))


def _shown(line: LogEvent) -> str:
    """Return one line: when, what, and each field by its name."""
    fields = dict(line.fields)
    event = fields.pop("event", None) or f"API {fields.get('status', '')}"
    names = [name for name in _LEADING if name in fields]
    names += [name for name in sorted(fields) if name not in _LEADING and name not in _LEFT_OUT]
    return " ".join([f"{line.at:%Y-%m-%d %H:%M:%S}", event, *(f"{name}={fields[name]}" for name in names)])
