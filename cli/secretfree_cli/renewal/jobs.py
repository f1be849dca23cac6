"""The calls of AWS IoT Jobs for a rollout of renewals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from secretfree_cli.renewal.rollout import ABORT_LEAST, ABORT_PERCENT, DOCUMENT, IN_PROGRESS_TIMEOUT

_FAILURES = ("FAILED", "REJECTED", "TIMED_OUT")


class IotJobs:
    """Port `Jobs`, on boto3. `thing_arn`: a thing's ARN without its name."""

    def __init__(self, client: Any, *, thing_arn: str, description: str) -> None:
        self._client = client
        self._thing_arn = thing_arn
        self._description = description

    def status(self, job_id: str) -> str | None:
        """DescribeJob."""
        try:
            return str(self._client.describe_job(jobId=job_id)["job"]["status"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return None

    def create(self, job_id: str, device_ids: Sequence[str], *, per_minute: int) -> None:
        """CreateJob with a rate, a timeout for each device, and an abort of the job if too many devices fail."""
        try:
            self._client.create_job(
                jobId=job_id,
                targets=[self._thing_arn + device_id for device_id in device_ids],
                document=DOCUMENT,
                description=self._description,
                targetSelection="SNAPSHOT",
                jobExecutionsRolloutConfig={"maximumPerMinute": per_minute},
                timeoutConfig={"inProgressTimeoutInMinutes": int(IN_PROGRESS_TIMEOUT.total_seconds() // 60)},
                abortConfig={
                    "criteriaList": [
                        {
                            "failureType": failure,
                            "action": "CANCEL",
                            "thresholdPercentage": ABORT_PERCENT,
                            "minNumberOfExecutedThings": ABORT_LEAST,
                        }
                        for failure in _FAILURES
                    ]
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
