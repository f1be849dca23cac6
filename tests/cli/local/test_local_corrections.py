"""What is corrected in the AWS emulator, each on its own; the whole is tested end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.parse import quote

import pytest
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.local.emulators.aws_corrections import (
    EXCLUSIVE_THING,
    NON_EXCLUSIVE_THING,
    attachment_refusal,
    authorizer_context,
    iot_resource,
    render_authorizer_context,
)

CERTIFICATE = "arn:aws:iot:us-east-1:000000000000:cert/abc"
PLACE = {"region": "us-east-1", "account_id": "000000000000"}


def test_a_call_on_a_ca_certificate_is_authorized_on_it():
    assert iot_resource("/cacertificate/abc", b"", **PLACE) == "arn:aws:iot:us-east-1:000000000000:cacert/abc"


def test_attaching_a_policy_is_authorized_on_the_target():
    body = json.dumps({"target": CERTIFICATE}).encode()
    assert iot_resource("/target-policies/Policy", body, **PLACE) == CERTIFICATE


def test_listing_the_policies_of_a_target_is_authorized_on_it():
    assert iot_resource(f"/attached-policies/{CERTIFICATE}", b"", **PLACE) == CERTIFICATE
    assert iot_resource(f"/attached-policies/{quote(CERTIFICATE, safe='')}", b"", **PLACE) == CERTIFICATE
    assert iot_resource("/attached-policies/x", b"", **PLACE) is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cacertificate", b""),
        ("/things/x", b""),
        ("/target-policies/Policy", b""),
        ("/target-policies/Policy", b"[]"),
        ("/target-policies/Policy", b'{"target": 1}'),
    ],
)
def test_every_other_call_is_left_to_the_emulator(path, body):
    assert iot_resource(path, body, **PLACE) is None


def test_the_authorizers_word_is_rendered_into_the_refusal():
    context = authorizer_context({"body": {"context": {"code": "not-authorized", "n": 1}}})
    body = b'{"code":"$context.authorizer.code","n":"$context.authorizer.n","other":"$context.authorizer.other"}'
    assert json.loads(render_authorizer_context(body, context)) == {"code": "not-authorized", "n": "1", "other": ""}


@pytest.mark.parametrize("answer", [None, {}, {"body": b"not JSON"}, {"body": "[]"}, {"body": {"context": None}}])
def test_an_authorizer_that_says_nothing_has_no_context(answer):
    assert authorizer_context(answer) == {}


def test_an_authorizers_answer_may_be_json_text():
    assert authorizer_context({"body": '{"context": {"code": "x"}}'}) == {"code": "x"}


def test_a_batchs_capacity_is_counted_on_request():
    # In a process of its own: the emulator's modules are changed, and start threads.
    code = """
import json
from ministack.services import dynamodb
from secretfree_cli.local.emulators.aws_unneeded_work import skip_unneeded_work

def write(device_id, **more):
    item = {"device-id": {"S": device_id}, "key-fingerprint": {"S": "f" * 64}, "pubkey": {"S": "x" * 2000}}
    requests = {"registry": [{"PutRequest": {"Item": item}}]}
    status, _, body = dynamodb._batch_write_item({"RequestItems": requests, **more})
    assert status == 200
    return json.loads(body)

dynamodb._create_table(TABLE)
kinds = ("TOTAL", "INDEXES")
before = [write("a", ReturnConsumedCapacity=kind) for kind in kinds]
skip_unneeded_work()
assert write("b") == {"UnprocessedItems": {}}
assert [write("c", ReturnConsumedCapacity=kind) for kind in kinds] == before
print(before[0]["ConsumedCapacity"][0]["CapacityUnits"])
"""
    table = json.dumps(import_table_request("registry", "", "")["TableCreationParameters"])
    done = subprocess.run(
        [sys.executable, "-c", f"TABLE = {table}\n{code}"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 1


def test_a_listener_on_every_interface_becomes_a_loopback_one():
    # In a process of its own: it changes the event loop of the process it is called in.
    code = """
import asyncio
from secretfree_cli.local.emulators.aws_emulator import confine_to_loopback

async def listen(host):
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host=host, port=0)
    return {socket.getsockname()[0] for socket in server.sockets}

async def main():
    for host in ("0.0.0.0", None, "", "::", "127.0.0.1"):
        print(*await listen(host))

confine_to_loopback()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["127.0.0.1"] * 5


def test_a_thing_that_was_changed_since_it_was_read_is_not_updated():
    # In a process of its own: the emulator's modules are changed, and start threads.
    code = """
import json
from ministack.services import iot
from secretfree_cli.local.emulators.aws_corrections import keep_to_the_expected_version_of_a_thing

keep_to_the_expected_version_of_a_thing()
iot._create_thing_type("widget", {})
iot._create_thing("sensor", {})
read = json.loads(iot._describe_thing("sensor")[2])["version"]
for change in ({"thingTypeName": "widget"}, {"removeThingType": True}, {}):
    status, _, body = iot._update_thing("sensor", {"expectedVersion": read, **change})
    print(status, json.loads(body).get("__type", "-"))
print(iot._update_thing("sensor", {})[0], iot._update_thing("absent", {"expectedVersion": 1})[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["200 -", *["409 VersionConflictException"] * 2, "200 404"]


@pytest.mark.parametrize(
    ("wanted", "attached", "is_refused"),
    [
        (EXCLUSIVE_THING, {}, False),
        (EXCLUSIVE_THING, {"own": EXCLUSIVE_THING}, False),
        (EXCLUSIVE_THING, {"other": EXCLUSIVE_THING}, True),
        (EXCLUSIVE_THING, {"other": NON_EXCLUSIVE_THING}, True),
        (EXCLUSIVE_THING, {"own": NON_EXCLUSIVE_THING, "other": NON_EXCLUSIVE_THING}, True),
        (NON_EXCLUSIVE_THING, {}, False),
        (NON_EXCLUSIVE_THING, {"other": NON_EXCLUSIVE_THING}, False),
        (NON_EXCLUSIVE_THING, {"other": EXCLUSIVE_THING}, True),
        ("SHARED", {}, True),
    ],
)
def test_an_exclusive_thing_is_the_only_one_of_its_principal(wanted, attached, is_refused):
    assert (attachment_refusal("own", wanted, attached) is not None) is is_refused
