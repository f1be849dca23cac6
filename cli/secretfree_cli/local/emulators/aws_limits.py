"""AWS's limits on the emulator: optional call rates of IoT Core, and a bounded number of concurrent Lambdas.

Both are settings of `secretfree local up`, read from its environment:

* `SECRETFREE_IOT_RATES`, e.g. `RegisterCertificate=10,AttachPolicy=15`: calls a second; above it, ThrottlingException.
  Without it nothing is throttled.
* `SECRETFREE_LAMBDA_CONCURRENCY`: concurrent invocations by API Gateway, for authorizers and for integrations each; the
  others wait. ministack would start a Python process for every one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from secretfree_cli.local.emulators.private_ca.settings import TokenBucket

IOT_RATES_VARIABLE = "SECRETFREE_IOT_RATES"
CONCURRENCY_VARIABLE = "SECRETFREE_LAMBDA_CONCURRENCY"
DEFAULT_CONCURRENCY = max(4, 2 * (os.cpu_count() or 1))

Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[Answer]]

# IoT Core's service model: the calls of the issuers and of the sweeper.
_OPERATIONS = tuple(
    (method, re.compile(path), operation)
    for method, path, operation in (
        ("POST", r"/things/[^/]+", "CreateThing"),
        ("GET", r"/things/[^/]+", "DescribeThing"),
        ("PUT", r"/things/[^/]+/principals", "AttachThingPrincipal"),
        ("DELETE", r"/things/[^/]+/principals", "DetachThingPrincipal"),
        ("PUT", r"/thing-groups/addThingToThingGroup", "AddThingToThingGroup"),
        ("PUT", r"/target-policies/[^/]+", "AttachPolicy"),
        ("POST", r"/target-policies/[^/]+", "DetachPolicy"),
        ("POST", r"/certificate/register", "RegisterCertificate"),
        ("POST", r"/certificate/register-no-ca", "RegisterCertificateWithoutCA"),
        ("POST", r"/certificates", "CreateCertificateFromCsr"),
        ("GET", r"/certificates", "ListCertificates"),
        ("GET", r"/certificates/[^/]+", "DescribeCertificate"),
        ("PUT", r"/certificates/[^/]+", "UpdateCertificate"),
        ("DELETE", r"/certificates/[^/]+", "DeleteCertificate"),
    )
)
OPERATIONS = frozenset(operation for _, _, operation in _OPERATIONS)


@dataclass(frozen=True)
class Limits:
    """The settings."""

    iot_rates: Mapping[str, float]
    """Calls a second by operation."""
    lambda_concurrency: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Limits:
        """Read both variables; ValueError names an invalid one and what is accepted."""
        return cls(
            iot_rates=_rates(environment.get(IOT_RATES_VARIABLE, "")),
            lambda_concurrency=_concurrency(environment.get(CONCURRENCY_VARIABLE, str(DEFAULT_CONCURRENCY))),
        )


def impose(limits: Limits) -> None:
    """Apply the limits to this process's emulator."""
    bound_lambda_concurrency(limits.lambda_concurrency)
    if limits.iot_rates:
        from ministack import app

        app.SERVICE_HANDLERS["iot"] = throttled(app.SERVICE_HANDLERS["iot"], limits.iot_rates)


def throttled(handler: Handler, rates: Mapping[str, float]) -> Handler:
    """Return `handler` behind one token bucket for each operation."""
    buckets = {operation: TokenBucket(rate) for operation, rate in rates.items()}

    async def throttle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Answer:
        bucket = buckets.get(operation_of(method, path) or "")
        if bucket is not None and not bucket.take():
            return throttling_exception()
        return await handler(method, path, headers, body, query)

    return throttle


def operation_of(method: str, path: str) -> str | None:
    """Return the operation of a call of IoT Core, or None for an operation without a limit."""
    for expected, pattern, operation in _OPERATIONS:
        if method == expected and pattern.fullmatch(path):
            return operation
    return None


def throttling_exception() -> Answer:
    """Return IoT Core's answer above a quota (API reference, common errors: ThrottlingException, 400)."""
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "ThrottlingException"}
    return 400, headers, json.dumps({"message": "Rate exceeded"}).encode()


def bound_lambda_concurrency(limit: int) -> None:
    """Queue API Gateway's invocations, in separate queues for authorizers and integrations.

    Waiting cannot deadlock: an authorizer has returned before the integration is invoked, and no function of an API
    calls the API.
    """
    from ministack.services import apigateway_v1

    run = apigateway_v1.run_reentrant
    places: dict[str, asyncio.Semaphore] = {}

    async def run_in_turn(function: Any, *arguments: Any, thread_name: str) -> Any:
        async with places.setdefault(thread_name, asyncio.Semaphore(limit)):
            return await run(function, *arguments, thread_name=thread_name)

    apigateway_v1.run_reentrant = run_in_turn


def _rates(text: str) -> dict[str, float]:
    rates = {}
    for assignment in filter(None, (part.strip() for part in text.split(","))):
        operation, _, value = assignment.partition("=")
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if operation not in OPERATIONS or not rate > 0:
            raise ValueError(
                f"{IOT_RATES_VARIABLE} has {assignment!r}; expected OPERATION=RATE, calls a second above 0, the "
                f"operation one of {', '.join(sorted(OPERATIONS))}"
            )
        rates[operation] = rate
    return rates


def _concurrency(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise ValueError(f"{CONCURRENCY_VARIABLE} is {text!r}; expected a whole number from 1 to 1000")
    return int(text)
