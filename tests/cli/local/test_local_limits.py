"""The limits that are put on the AWS emulator: what is read, what is throttled, and who waits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from secretfree_cli.local.emulators.aws_limits import DEFAULT_CONCURRENCY, Limits, operation_of, throttled

REGISTER = ("POST", "/certificate/register")


def test_nothing_is_throttled_unless_asked_for():
    assert Limits.from_environment({}) == Limits(iot_rates={}, lambda_concurrency=DEFAULT_CONCURRENCY)


def test_rates_are_read_by_operation():
    limits = Limits.from_environment({"SECRETFREE_IOT_RATES": "RegisterCertificate=10, AttachPolicy=1.5"})
    assert limits.iot_rates == {"RegisterCertificate": 10.0, "AttachPolicy": 1.5}


@pytest.mark.parametrize("text", ["RegisterCertificate", "Register=1", "AttachPolicy=0", "AttachPolicy=-1", "=1"])
def test_a_rate_that_does_not_parse_is_named(text):
    with pytest.raises(ValueError, match="SECRETFREE_IOT_RATES"):
        Limits.from_environment({"SECRETFREE_IOT_RATES": text})


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1001"])
def test_a_concurrency_that_does_not_parse_is_named(text):
    with pytest.raises(ValueError, match="SECRETFREE_LAMBDA_CONCURRENCY"):
        Limits.from_environment({"SECRETFREE_LAMBDA_CONCURRENCY": text})


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/things/device-1", "CreateThing"),
        ("PUT", "/things/device-1/principals", "AttachThingPrincipal"),
        ("PUT", "/target-policies/Policy", "AttachPolicy"),
        (*REGISTER, "RegisterCertificate"),
        ("POST", "/certificate/register-no-ca", "RegisterCertificateWithoutCA"),
        ("POST", "/certificates", "CreateCertificateFromCsr"),
        ("PUT", "/certificates/abc", "UpdateCertificate"),
        ("GET", "/endpoint", None),
    ],
)
def test_a_call_is_known_by_method_and_path(method, path, operation):
    assert operation_of(method, path) == operation


def test_above_its_rate_a_call_is_refused_as_aws_refuses_it_and_others_are_not():
    async def service(*_):
        return 200, {}, b"{}"

    handler = throttled(service, {"RegisterCertificate": 1})

    async def calls():
        return [await handler(*call, {}, b"", {}) for call in (REGISTER, REGISTER, ("POST", "/things/device-1"))]

    (first, _, _), (second, headers, body), (other, _, _) = asyncio.run(calls())
    assert (first, second, other) == (200, 400, 200)
    assert headers["x-amzn-ErrorType"] == "ThrottlingException"
    assert json.loads(body) == {"message": "Rate exceeded"}


def test_invocations_of_the_api_wait_for_their_turn():
    # In a process of its own: it changes the emulator of the process it is called in.
    code = """
import asyncio, threading, time
from ministack.services import apigateway_v1
from secretfree_cli.local.emulators.aws_limits import bound_lambda_concurrency

bound_lambda_concurrency(2)
running, most, lock = 0, 0, threading.Lock()

def invocation(number):
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    time.sleep(0.02)
    with lock:
        running -= 1
    return number

async def main():
    return await asyncio.gather(
        *(apigateway_v1.run_reentrant(invocation, number, thread_name="issuer") for number in range(8))
    )

print(asyncio.run(main()), most)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "[0, 1, 2, 3, 4, 5, 6, 7] 2", done.stderr
