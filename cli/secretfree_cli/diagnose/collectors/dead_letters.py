"""The dead letters of the stack, and the devices in the messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import Stack
from secretfree_cli.diagnose.evidence import DeadLetters, GivenUp
from secretfree_cli.target import Target

# The construct's id is a part of the queue's logical id.
_QUEUES: Final = {
    "BlockingDeadLetters": GivenUp.BLOCK,
    "RetirementDeadLetters": GivenUp.RETIREMENT,
    "FollowingDeadLetters": GivenUp.FOLLOWING,
}
_MOST_ROUNDS: Final = 10


def read(target: Target, stack: Stack, reading: Reading) -> Sequence[DeadLetters]:
    """Count the messages of each queue and read up to 100 of them. None is removed or hidden."""
    found = []
    for logical_id, url in sorted(stack.resources.get("AWS::SQS::Queue", {}).items()):
        kind = next((kind for name, kind in _QUEUES.items() if name in logical_id), None)
        if kind is not None:
            letters = reading.attempt("the dead letters", lambda: _read(target.client("sqs"), kind, url))  # noqa: B023
            found += [] if letters is None else [letters]
    return found


def _read(client: Any, kind: GivenUp, url: str) -> DeadLetters:
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    count = int(attributes["Attributes"]["ApproximateNumberOfMessages"])
    bodies: dict[str, str] = {}
    for _round in range(_MOST_ROUNDS if count else 0):
        # With a visibility timeout of zero, messages stay visible and may be received again.
        got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
        fresh = {message["MessageId"]: message["Body"] for message in got if message["MessageId"] not in bodies}
        bodies |= fresh
        if not fresh:
            break
    named = [_device_of(body) for body in bodies.values()]
    return DeadLetters(
        kind=kind, url=url, count=max(count, len(bodies)), devices=frozenset(one for one in named if one is not None)
    )


def _device_of(body: str) -> str | None:
    """The device of a message. A message of a stream names only the stream's records."""
    try:
        message = json.loads(body)
    except ValueError:
        return None
    named = message.get("device") or message.get("clientId") if isinstance(message, dict) else None
    return named if isinstance(named, str) else None
