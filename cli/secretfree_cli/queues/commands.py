"""The command `secretfree queue`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from secretfree_cli.command_line import command
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import read_stack
from secretfree_cli.durations import age
from secretfree_cli.output import CliError, ExitCode, emit_json, emit_table, json_option, note
from secretfree_cli.queues.reading import IssuanceQueue, Reader
from secretfree_cli.target import Target, target_options


@command("queue")
@click.option(
    "--most",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    metavar="N",
    help="Read at most N dead letters of each queue.",
)
@json_option
@target_options
def queue(*, target: Target, most: int, as_json: bool) -> None:
    """Show what waits in queue mode, and the dead letters with their devices and reasons.

    Changes nothing: the messages stay where they are. The counts are SQS's, which are approximate. Exit code 4: the
    stack has no queue.
    """
    now, reading = datetime.now(UTC), Reading()
    stack = read_stack(target, reading)
    reader = Reader(target=target, reading=reading, groups=stack.log_groups, now=now, most=most)
    found = list(reader.queues(list(stack.queues)))
    for gap in reading.gaps:
        note(f"not read: {gap.what} ({gap.why})")
    if not found:
        raise CliError(
            "the target has no issuance queue",
            hint="only a stack with IssuanceMode.queued() has one; name it with --stack",
            exit_code=ExitCode.NOT_FOUND,
        )
    if as_json:
        emit_json({"queues": [_document(one) for one in found]})
        return
    emit_table(("QUEUE", "WAITING", "IN WORK", "OLDEST", "DEAD LETTERS"), map(_row, found))
    _show_letters(found, now)


def _row(one: IssuanceQueue) -> Sequence[object]:
    oldest = "-" if one.oldest_age is None else age(one.oldest_age)
    return one.name, one.waiting, one.in_work, oldest, one.dead_letters


def _show_letters(queues: Sequence[IssuanceQueue], now: datetime) -> None:
    letters = [letter for one in queues for letter in one.letters]
    if letters:
        emit_table(
            ("DEVICE", "QUEUED AGO", "REASON", "DETAIL"),
            (
                (letter.device_id or "-", age(now - letter.sent_at), letter.reason or "-", letter.detail)
                for letter in letters
            ),
        )
    unread = sum(one.dead_letters for one in queues) - len(letters)
    if unread > 0:
        note(f"{unread} more dead letters were not read")


def _document(one: IssuanceQueue) -> Mapping[str, object]:
    return {
        "name": one.name,
        "waiting": one.waiting,
        "inWork": one.in_work,
        "oldestAgeSeconds": None if one.oldest_age is None else int(one.oldest_age.total_seconds()),
        "deadLetters": one.dead_letters,
        "letters": [
            {
                "deviceId": letter.device_id,
                "queuedAt": letter.sent_at,
                "reason": letter.reason,
                "detail": letter.detail,
            }
            for letter in one.letters
        ],
    }
