"""The issuance queues of a stack and their dead letters. Read here, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from json import loads
from typing import Any, Final

from secretfree.errors import SecretFreeError
from secretfree.issuance.queueing import QueuedRequest

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.logs.events import LogEvent, find, of_device
from secretfree_cli.target import Target

UNREADABLE: Final = "unreadable-message"
"""Reason of a dead letter that is no request of the queue's front."""
_WAITING: Final = "ApproximateNumberOfMessages"
_IN_WORK: Final = "ApproximateNumberOfMessagesNotVisible"
_REDRIVE: Final = "RedrivePolicy"
_ARN: Final = "QueueArn"
# SQS answers from a part of its servers: an empty answer does not mean an empty queue.
_FRUITLESS_POLLS: Final = 3
_AGE_PERIOD: Final = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A request that failed each time. `device_id` is None for a message that cannot be read."""

    device_id: str | None
    sent_at: datetime
    reason: str | None
    """The reason of the last failure in the logs; None if the logs no longer have it."""
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class IssuanceQueue:
    """The queue of one issuer."""

    name: str
    waiting: int
    in_work: int
    oldest_age: timedelta | None
    """Age of the oldest request, as CloudWatch has it; None without a value."""
    dead_letters: int
    letters: Sequence[DeadLetter]
    """The dead letters that were read; fewer than `dead_letters` if there are many, or the right is missing."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the queues of a stack. `groups`: the functions' log groups. `most`: dead letters read of each queue."""

    target: Target
    reading: Reading
    groups: Sequence[str]
    now: datetime
    most: int

    def queues(self, urls: Sequence[str]) -> Iterator[IssuanceQueue]:
        """Return the issuance queues among these: those that have dead letters of their own."""
        found = {url: one for url in urls if (one := self._attributes(url)) is not None}
        by_arn = {one[_ARN]: url for url, one in found.items()}
        for url, attributes in found.items():
            dead_url = by_arn.get(_dead_letter_arn(attributes))
            if dead_url is not None:
                yield self._queue(url, attributes, dead_url, int(found[dead_url][_WAITING]))

    def _queue(self, url: str, attributes: Mapping[str, str], dead_url: str, dead: int) -> IssuanceQueue:
        name = url.rpartition("/")[2]
        messages = self.reading.attempt("the dead letters", lambda: self._peek(dead_url)) if dead else []
        return IssuanceQueue(
            name=name,
            waiting=int(attributes[_WAITING]),
            in_work=int(attributes[_IN_WORK]),
            oldest_age=self.reading.attempt("the age of the oldest request", lambda: self._oldest_age(name)),
            dead_letters=max(dead, len(messages or ())),
            letters=sorted(map(self._letter, messages or ()), key=lambda letter: letter.sent_at),
        )

    def _attributes(self, url: str) -> Mapping[str, str] | None:
        names = [_WAITING, _IN_WORK, _REDRIVE, _ARN]
        found: Mapping[str, str] | None = self.reading.attempt(
            f"the queue {url.rpartition('/')[2]}",
            lambda: self.target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"],
        )
        return found

    def _peek(self, url: str) -> Sequence[Mapping[str, Any]]:
        """Receive messages without hiding them: with a visibility timeout of 0 each stays where it is.

        SQS counts each look as a receive. Dead letters have no limit of receives.
        """
        client, found, fruitless = self.target.client("sqs"), dict[str, Mapping[str, Any]](), 0
        while fruitless < _FRUITLESS_POLLS and len(found) < self.most:
            before = len(found)
            answer = client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, AttributeNames=["SentTimestamp"]
            )
            found |= {message["MessageId"]: message for message in answer.get("Messages", ())}
            fruitless = fruitless + 1 if len(found) == before else 0
        return list(islice(found.values(), self.most))

    def _letter(self, message: Mapping[str, Any]) -> DeadLetter:
        sent_at = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
        try:
            device_id = str(QueuedRequest.from_message(message["Body"]).device.device_id)
        except SecretFreeError:
            device_id = None
        last = self._last_failure(device_id, since=sent_at) if device_id is not None else None
        return DeadLetter(
            device_id=device_id,
            sent_at=sent_at,
            reason=UNREADABLE if device_id is None else None if last is None else last.fields["reason"],
            detail=None if last is None else last.fields.get("detail"),
        )

    def _last_failure(self, device_id: str, *, since: datetime) -> LogEvent | None:
        lines = self.reading.attempt(
            "the logs",
            lambda: find(self.target.client("logs"), self.groups, of_device(device_id), since=since),
        )
        return next((line for line in reversed(lines or ()) if _says_why(line)), None)

    def _oldest_age(self, name: str) -> timedelta | None:
        points = self.target.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=self.now - _AGE_PERIOD,
            EndTime=self.now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        newest = max(points, key=lambda point: point["Timestamp"], default=None)
        return None if newest is None else timedelta(seconds=newest["Maximum"])


def _says_why(line: LogEvent) -> bool:
    """Whether a line is of a failure. That a request is queued, or in progress, is none."""
    return line.event in {"failed", "refused"} and bool(line.fields.get("reason"))


def _dead_letter_arn(attributes: Mapping[str, str]) -> str:
    return str(loads(attributes.get(_REDRIVE) or "{}").get("deadLetterTargetArn", ""))
