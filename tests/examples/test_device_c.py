"""The device in C against an HTTPS server that answers from a script: what it takes, stores, and waits for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from secretfree.request.csr import UnverifiedCsr, parse_header_value, request_der, verify
from secretfree.request.device_profile import DeviceProfile
from secretfree_device.keys import KeyType, generate, read_private_key, write_private_key
from support.device_c import DeviceInC, build
from support.device_side import authority, issued, service

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device-c")]  # one process for all of them

__all__ = ["authority", "issued", "service"]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("device-c"))


@pytest.fixture
def device(binary: Path, service: Any, authority: Any, tmp_path: Path) -> DeviceInC:
    url = urlsplit(service.url)
    write_private_key(tmp_path / "key.pem", generate(KeyType.EC_P256))
    settings = {
        "DEVICE_ID": "sensor-1",
        "KEY_FILE": str(tmp_path / "key.pem"),
        "API_HOST": str(url.hostname),
        "API_PORT": str(url.port),
        "API_PATH": url.path,
        "API_ROOTS": str(authority.file),
        "BROKER_HOST": "127.0.0.1",
        "BROKER_PORT": "9",
        "BROKER_ROOTS": str(authority.file),
        "TOPIC_PREFIX": "widget",
    }
    return DeviceInC(binary, tmp_path, settings)


@pytest.fixture
def body(device: DeviceInC, issued: Callable[[Any], bytes]) -> bytes:
    return issued(read_private_key(Path(device.settings["KEY_FILE"])).public_key())


def test_it_posts_a_csr_of_its_key_and_stores_the_certificate(service: Any, device: DeviceInC, body: bytes) -> None:
    service.script = [(200, {}, body)]

    first, second = device.run(), device.run()

    (request,) = service.requests
    csr = verify(
        UnverifiedCsr(request_der(parse_header_value(request.values("device-csr")[0]))), DeviceProfile.STANDARD
    )
    assert csr.device_id == "sensor-1"
    assert request.path == "/stage/new"
    assert first.certificate_id == json.loads(body)["certificateId"]
    assert second.certificate_id is None, "it is stored, so nothing is posted"


@pytest.mark.parametrize(
    ("status", "headers", "answer", "least", "most"),
    [
        (202, {"Retry-After": "40"}, b"", 40, 50),
        (202, {}, b"", 1, 1),
        (429, {"Retry-After": "8"}, b"{}", 8, 12),
        (503, {"Retry-After": "7200"}, b"{}", 7200, 10800),
        (503, {"Retry-After": "Fri, 01 Jan 2027 00:00:00 GMT"}, b"{}", 1, 1),
        (503, {"Retry-After": "9999999999"}, b"{}", 1, 1),
        (418, {}, b"", 1, 1),
        (403, {}, b'{"message": "Forbidden"}', 1, 1),
        (403, {}, b'{"status": 403, "code": "not-authorized"}', 3600, 5400),
        (409, {}, b'{"code": "conflict"}', 3600, 5400),
    ],
)
def test_it_waits_as_the_contract_says(
    *, service: Any, device: DeviceInC, status: int, headers: dict[str, str], answer: bytes, least: int, most: int
) -> None:
    service.script = [(status, headers, answer)]

    (wait,) = device.run().waits

    assert least <= wait <= most


@pytest.mark.parametrize(("status", "code"), [(401, "missing-csr"), (403, "malformed-request"), (404, "not-found")])
def test_it_ends_at_a_fault_of_its_own(service: Any, device: DeviceInC, status: int, code: str) -> None:
    service.script = [(status, {}, json.dumps({"code": code}).encode())]

    done = device.run()

    assert done.waits == []
    assert code in done.log


def test_it_asks_again_after_a_pause_and_doubles_it(service: Any, device: DeviceInC, body: bytes) -> None:
    service.script = [(503, {}, b""), (503, {}, b""), (200, {}, body)]

    done = device.run(LONGEST_WAIT="3")

    assert done.certificate_id is not None
    assert done.waits[0] == 1
    assert done.waits[1] in (2, 3)


@pytest.mark.parametrize("damage", [b"", b"x" * 20, None])
def test_a_torn_slot_makes_it_ask_again(*, service: Any, device: DeviceInC, body: bytes, damage: bytes | None) -> None:
    service.script = [(200, {}, body)]
    device.run()
    slot = device.slots / "slot-0"
    slot = slot if slot.exists() else device.slots / "slot-1"
    slot.write_bytes(slot.read_bytes()[:-3] + b"\0\0\0" if damage is None else damage)
    whole = bytearray(slot.read_bytes())
    if damage is None:
        whole[100] ^= 1
        slot.write_bytes(whole)

    assert device.run().certificate_id is not None


def test_a_renewal_is_written_beside_the_certificate_before(
    service: Any, device: DeviceInC, issued: Callable[[Any], bytes], body: bytes
) -> None:
    renewed = issued(read_private_key(Path(device.settings["KEY_FILE"])).public_key())
    service.script = [(200, {}, body), (200, {}, renewed)]
    device.run()

    done = device.run(CLOCK="1893456000")  # after renewAfter

    assert done.certificate_id == json.loads(renewed)["certificateId"]
    assert {path.name for path in device.slots.glob("slot-*")} == {"slot-0", "slot-1"}
    assert device.run().certificate_id is None


def test_a_server_of_another_authority_gets_no_request(
    service: Any, device: DeviceInC, body: bytes, tmp_path: Path
) -> None:
    service.script = [(200, {}, body)]
    certificate = json.loads(body)["certificate"]
    (tmp_path / "other.pem").write_text(certificate)

    done = device.run(API_ROOTS=str(tmp_path / "other.pem"))

    assert service.requests == []
    assert done.certificate_id is None


def test_a_certificate_of_another_key_is_not_stored(
    service: Any, device: DeviceInC, issued: Callable[[Any], bytes]
) -> None:
    service.script = [(200, {}, issued(generate(KeyType.EC_P256).public_key()))]

    assert device.run().certificate_id is None
    assert not list(device.slots.glob("slot-*"))


def test_names_and_values_that_it_does_not_know_are_skipped_whatever_their_length(
    service: Any, device: DeviceInC, body: bytes
) -> None:
    new = {"n" * 999: "v" * 20_000, "list": [1, {"a": ["}", None]}], "number": 1.5, "text": "\u00e9\n\\"}
    service.script = [(200, {}, json.dumps(new | json.loads(body)).encode())]

    assert device.run().certificate_id is not None


@pytest.mark.parametrize("answers", [15, pytest.param(400, marks=pytest.mark.nightly)])
def test_no_mutated_answer_is_stored_with_another_certificate_or_breaks_it(
    service: Any, device: DeviceInC, body: bytes, answers: int
) -> None:
    chance = random.Random(7)  # the same mutations in every run
    for _ in range(answers):
        mutated = bytearray(body)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(mutated))
            match chance.randrange(3):
                case 0:
                    mutated[place] = chance.randrange(256)
                case 1:
                    del mutated[place : place + chance.randint(1, 400)]
                case _:
                    mutated[place:place] = bytes(chance.choices(b'"\\{}[]:,u\0', k=chance.randint(1, 300)))
        service.script = [(200, {}, bytes(mutated))]

        stored = device.run().certificate_id
        assert stored in (None, json.loads(body)["certificateId"])
        for slot in device.slots.glob("slot-*"):
            slot.unlink()
