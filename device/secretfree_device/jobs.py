"""AWS IoT Jobs on the device: it runs the next job and reports. The only supported job renews the certificate.

A job's document is untrusted data. It can only trigger a renewal, which a device may request at any time. It contains
no address, file or command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from secretfree.contract import RENEWAL_OPERATION, RENEWAL_VERSION

from secretfree_device.provisioning import ProvisioningError
from secretfree_device.session import DeviceSession, Message

_LONGEST_REASON: Final = 1024
"""Maximum length in characters of a value of `statusDetails` (AWS IoT Jobs)."""


@dataclass(frozen=True)
class Job:
    """The next job of the device."""

    job_id: str
    version: int
    document: object

    @classmethod
    def from_message(cls, payload: bytes) -> Job | None:
        """Return the job of a `notify-next`, or of the answer to `$next/get`; None without a valid one."""
        try:
            match json.loads(payload):
                case {"execution": {"jobId": str(job_id), "versionNumber": int(version), "jobDocument": document}}:
                    return cls(job_id, version, document)
        except ValueError:
            return None
        return None

    @property
    def is_renewal(self) -> bool:
        """Whether the job requests a renewal in a supported form."""
        return self.document == {"operation": RENEWAL_OPERATION, "version": RENEWAL_VERSION}


class JobQueue:
    """The device's jobs over its MQTT session."""

    def __init__(self, session: DeviceSession, thing_name: str) -> None:
        self._session = session
        self._topics = f"$aws/things/{thing_name}/jobs"

    def next(self, *, timeout: float) -> Job | None:
        """Return the next job; waits up to `timeout` seconds for one. Raises MqttError, MqttRefusedError."""
        until = time.monotonic() + timeout
        self._session.subscribe(f"{self._topics}/notify-next")
        self._session.subscribe(f"{self._topics}/$next/get/accepted")
        self._session.publish(f"{self._topics}/$next/get", "{}")
        while (left := until - time.monotonic()) > 0:
            message = self._session.receive(timeout=left)
            job = None if message is None else self._job(message)
            if job is not None:
                return job
        return None

    def report(self, job: Job, status: str, **details: str) -> None:
        """Report `IN_PROGRESS`, `SUCCEEDED`, `FAILED` or `REJECTED`. Raises MqttError, MqttRefusedError."""
        body: dict[str, Any] = {"status": status}
        if details:
            body["statusDetails"] = {name: text[:_LONGEST_REASON] for name, text in details.items()}
        self._session.publish(f"{self._topics}/{job.job_id}/update", json.dumps(body))

    def _job(self, message: Message) -> Job | None:
        own = {f"{self._topics}/notify-next", f"{self._topics}/$next/get/accepted"}
        return Job.from_message(message.payload) if message.topic in own else None


def work_off_next(
    open_session: Callable[[], DeviceSession], thing_name: str, renew: Callable[[], str], *, timeout: float
) -> tuple[Job, str] | None:
    """Connect, wait for the next job, run it and report; return the job and its last status, or None without a job.

    `open_session` connects with the device's current certificate. `renew` requests a certificate, stores it and returns
    its id. The device reports success over a connection with the new certificate. If that certificate cannot connect,
    the job times out. If the device stops early, it finds the job again and repeats it, which is safe.
    """
    with open_session() as session:
        queue = JobQueue(session, thing_name)
        job = queue.next(timeout=timeout)
        if job is None:
            return None
        if not job.is_renewal:
            queue.report(job, "REJECTED", reason="this device does not support the job")
            return job, "REJECTED"
        queue.report(job, "IN_PROGRESS")
        try:
            certificate_id = renew()
        except ProvisioningError as error:
            queue.report(job, "FAILED", reason=str(error))
            return job, "FAILED"
    with open_session() as session:
        JobQueue(session, thing_name).report(job, "SUCCEEDED", certificateId=certificate_id)
    return job, "SUCCEEDED"
