"""The answer of a custom resource to CloudFormation: one PUT to the pre-signed address in the request."""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.error import URLError

# The response object has at most 4,096 bytes (CloudFormation user guide, custom resource response objects).
_LONGEST_REASON: Final = 1024
_TRIES: Final = 5
_TIMEOUT: Final = 10.0
NEVER_CREATED: Final = "never-created"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to CloudFormation; `reason` is set for a failure, and only then."""

    physical_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def failed(cls, event: Mapping[str, Any], reason: str) -> Self:
        """A failure. A resource that was never created gets an id that its deletion recognises."""
        return cls(physical_id=event.get("PhysicalResourceId") or NEVER_CREATED, reason=reason[:_LONGEST_REASON])


def respond(
    event: Mapping[str, Any], answer: Answer, *, log_stream: str, sleep: Callable[[float], None] = time.sleep
) -> None:
    """PUT the answer, with retries. Raises URLError if CloudFormation does not accept it."""
    document = {
        "Status": "SUCCESS" if answer.reason is None else "FAILED",
        "Reason": answer.reason or f"see log stream {log_stream}",
        "PhysicalResourceId": answer.physical_id,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": dict(answer.attributes),
    }
    body = json.dumps(document).encode()
    for attempt in range(_TRIES):
        try:
            _put(str(event["ResponseURL"]), body)
        except (URLError, TimeoutError, ConnectionError):
            if attempt == _TRIES - 1:
                raise
            sleep(2.0**attempt)
        else:
            return


def _put(url: str, body: bytes) -> None:
    # The signature covers an empty content type. Without this header, urllib adds another.
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": ""})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310 - the address is CloudFormation's
        pass
