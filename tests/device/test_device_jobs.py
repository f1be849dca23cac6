"""The simulated device's jobs: it obeys a renewal, rejects the rest, and reports with the new certificate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Self

import pytest
from secretfree_device import ProvisioningError
from secretfree_device.jobs import Job, work_off_next
from secretfree_device.session import Message

TOPICS = "$aws/things/widget-1/jobs"
RENEWAL: dict[str, object] = {"operation": "secretfree-renew", "version": 1}


def execution(document: object, job_id: str = "job-1") -> bytes:
    return json.dumps({"execution": {"jobId": job_id, "versionNumber": 1, "jobDocument": document}}).encode()


class FakeSession:
    """A session whose broker answers `$next/get` with what is queued."""

    def __init__(self, answers: list[Message], log: list[tuple[str, Any]]) -> None:
        self._answers, self._log = answers, log

    def __enter__(self) -> Self:
        self._log.append(("connect", None))
        return self

    def __exit__(self, *_: object) -> None:
        self._log.append(("disconnect", None))

    def subscribe(self, topic: str) -> None:
        self._log.append(("subscribe", topic.removeprefix(TOPICS)))

    def publish(self, topic: str, payload: str) -> None:
        self._log.append((topic.removeprefix(TOPICS), json.loads(payload)))

    def receive(self, timeout: float) -> Message | None:
        return self._answers.pop(0) if self._answers else None


def run(
    *payloads: bytes, renew: Callable[[], str] = lambda: "new", topic: str = f"{TOPICS}/$next/get/accepted"
) -> tuple[tuple[Job, str] | None, list[tuple[str, Any]]]:
    log: list[tuple[str, Any]] = []
    answers = [Message(topic, payload) for payload in payloads]
    done = work_off_next(lambda: FakeSession(answers, log), "widget-1", renew, timeout=0.05)  # type: ignore[arg-type,return-value]
    return done, log


def updates(log: list[tuple[str, Any]]) -> list[str]:
    return [body["status"] for topic, body in log if topic.endswith("/update")]


def test_a_renewal_is_reported_with_the_new_certificate() -> None:
    done, log = run(execution(RENEWAL))
    assert done is not None
    assert done[1] == "SUCCEEDED"
    assert updates(log) == ["IN_PROGRESS", "SUCCEEDED"]
    assert log[-2:] == [
        ("/job-1/update", {"status": "SUCCEEDED", "statusDetails": {"certificateId": "new"}}),
        ("disconnect", None),
    ]
    assert [what for what, _ in log].count("connect") == 2


def test_a_refused_renewal_is_reported_as_failed_with_its_reason() -> None:
    def refuse() -> str:
        raise ProvisioningError("403")

    done, log = run(execution(RENEWAL), renew=refuse)
    assert done is not None
    assert done[1] == "FAILED"
    assert log[-2][1] == {"status": "FAILED", "statusDetails": {"reason": "403"}}


@pytest.mark.parametrize(
    "document",
    [
        {},
        None,
        "secretfree-renew",
        {"operation": "reboot", "version": 1},
        {"operation": "secretfree-renew", "version": 2},
        {**RENEWAL, "url": "https://elsewhere.example"},
    ],
)
def test_any_other_job_is_rejected_and_nothing_is_done(document: object) -> None:
    def fail() -> str:
        raise AssertionError("renewed")

    done, log = run(execution(document), renew=fail)
    assert done is not None
    assert done[1] == "REJECTED"
    assert updates(log) == ["REJECTED"]


@pytest.mark.parametrize("payload", [b"", b"x", b"{}", b"[]", b'{"timestamp": 1}', b'{"execution": {"jobId": 1}}'])
def test_an_answer_without_a_job_is_no_job(payload: bytes) -> None:
    done, log = run(payload)
    assert done is None
    assert updates(log) == []


def test_a_message_on_another_topic_is_no_job() -> None:
    done, _ = run(execution(RENEWAL), topic="widget/widget-1/hello")
    assert done is None


def test_the_first_job_to_come_is_taken() -> None:
    done, _ = run(b'{"timestamp": 1}', execution(RENEWAL, "job-2"))
    assert done is not None
    assert done[0].job_id == "job-2"


def test_a_device_that_gets_no_answer_reports_the_failure() -> None:
    def fail() -> str:
        raise ProvisioningError("no certificate within 60 s")

    done, _ = run(execution(RENEWAL), renew=fail)
    assert done is not None
    assert done[1] == "FAILED"
