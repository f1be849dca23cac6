"""The deployed functions' own code in processes of this benchmark, in place of Lambda's execution environments.

Each process runs one invocation at a time, as one of Lambda's does, with the environment of the deployed functions and
the clients that the runtime makes itself. Every attempt of a call to AWS is counted, and whether it was throttled.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from threading import Lock
from types import ModuleType
from typing import Any

METHOD_ARN = "arn:aws:execute-api:us-east-1:000000000000:storm/v1/POST/new"
_THROTTLES = frozenset({"ThrottlingException", "ProvisionedThroughputExceededException"})
# API Gateway waits this long. The functions' own time-out is a little longer.
_SECONDS = 30.0

_authorizer: ModuleType
_issuer: ModuleType
_calls: Counter[tuple[str, str]] = Counter()
_calls_lock = Lock()


@dataclass(frozen=True)
class Outcome:
    """The device's answer, and its cost: attempts of AWS calls, by operation and by `done` or `throttled`."""

    status: int
    retry_after: float | None
    certificate: str | None
    calls: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Context:
    """The part of Lambda's context object that the handlers use."""

    def get_remaining_time_in_millis(self) -> int:
        """The whole time limit, because each invocation begins here."""
        return int(_SECONDS * 1000)


def start(environment: Mapping[str, str], processes: int) -> ProcessPoolExecutor:
    """Load both handlers and fork `processes` that serve. Nothing has been sent by then: no connection is shared."""
    global _authorizer, _issuer  # noqa: PLW0603 - what a forked process is to find
    os.environ.update(environment)
    _count_calls()
    _authorizer = import_module("secretfree.handlers.authorizer")
    _issuer = import_module("secretfree.handlers.issuer")
    return ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=_be_silent)


def serve(device_csr: str) -> Outcome:
    """One request, as API Gateway passes it to both functions."""
    event: dict[str, Any] = {
        "methodArn": METHOD_ARN,
        "multiValueHeaders": {"device-csr": [device_csr]},
        "requestContext": {"requestId": uuid.uuid4().hex},
    }
    decision = _authorizer.handler(event, None)
    if decision["policyDocument"]["Statement"][0]["Effect"] != "Allow":
        return Outcome(403, None, None, _taken_calls())
    event["requestContext"]["authorizer"] = decision["context"]
    answer = _issuer.handler(event, Context())
    status = int(answer["statusCode"])
    retry_after = next((float(v) for k, v in answer["headers"].items() if k.lower() == "retry-after"), None)
    return Outcome(status, retry_after, answer["body"] if status == 200 else None, _taken_calls())


def _be_silent() -> None:
    # The answers and the ledger are judged. The log lines of 32 functions at once are not needed.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives


def _count_calls() -> None:
    """Each client takes the session's hooks when it is made, so this comes before the handlers make theirs."""
    from secretfree.adapters import clients

    clients._session().register("needs-retry", _note, unique_id="storm")  # noqa: SLF001 - all clients are made from it


def _note(event_name: str, response: tuple[Any, Mapping[str, Any]] | None = None, **_: Any) -> None:
    """Count one attempt; botocore emits this once for each, answered or not."""
    code = "" if response is None else str(response[1].get("Error", {}).get("Code", ""))
    with _calls_lock:
        _calls[event_name.rpartition(".")[2], "throttled" if code in _THROTTLES else "done"] += 1


def _taken_calls() -> dict[tuple[str, str], int]:
    """The calls since the last answer. A confirmation that an answer does not wait for counts for the next one."""
    with _calls_lock:
        taken = dict(_calls)
        _calls.clear()
    return taken
