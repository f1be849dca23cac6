"""What the device's library keeps, in which order, when it renews, and what it refuses to take."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from secretfree_device import (
    Answer,
    Device,
    Identity,
    IdentityStore,
    IssuerPath,
    KeyFile,
    KeyType,
    Patience,
    ProvisioningClient,
)
from secretfree_device.keys import generate, write_private_key
from secretfree_device.session import Broker, MqttRefusedError
from support.device_side import ENDPOINT

Issued = Callable[[Any], bytes]
OPENS = datetime(2029, 12, 5, 3, 41, 7, tzinfo=UTC)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    write_private_key(tmp_path / "key.pem", generate(KeyType.EC_P256))
    return Device("sensor-1", KeyFile(tmp_path / "key.pem"), IdentityStore(tmp_path))


@pytest.fixture
def client(service: Any, authority: Any) -> ProvisioningClient:
    return ProvisioningClient(service.url, ca_file=authority.file)


@pytest.fixture
def given(issued: Issued, device: Device) -> Callable[[], Identity]:
    """A new certificate for the device's key at each call."""
    return lambda: Identity.of_answer(Answer(200, {}, issued(device.key.public_key())))


def test_importing_the_library_imports_neither_mqtt_nor_any_tool_of_the_cloud() -> None:
    program = "import sys, secretfree_device; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )

    assert loaded & {"aws_cdk", "jsii", "boto3", "botocore", "paho", "awscrt", "pkcs11", "click", "rich"} == set()


def test_the_csr_is_the_contracts(device: Device) -> None:
    request = x509.load_der_x509_csr(device.signing_request())

    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=sensor-1"
    assert request.public_key() == device.key.public_key()


def test_a_device_before_its_renewal_window_asks_for_nothing(
    service: Any, client: ProvisioningClient, device: Device, given: Callable[[], Identity]
) -> None:
    first = given()
    device.store.keep(first)

    assert device.provision_or_renew(client, now=OPENS - timedelta(seconds=1)) == first
    assert service.requests == []


@pytest.mark.parametrize("issuer", list(IssuerPath))
def test_a_device_in_its_renewal_window_asks_the_issuer_of_its_certificate(
    *,
    service: Any,
    client: ProvisioningClient,
    device: Device,
    given: Callable[[], Identity],
    issued: Issued,
    issuer: IssuerPath,
) -> None:
    first = given()
    device.store.keep(first if issuer is IssuerPath.PRIVATE_CA else replace(first, chain_pem=None))
    service.script = [(200, {}, issued(device.key.public_key()))]

    renewed = device.provision_or_renew(client, now=OPENS)

    assert service.requests[0].path == f"/stage/{issuer.value}"
    assert renewed != first
    assert device.identity == renewed


def test_a_renewal_keeps_the_certificate_before_until_the_device_has_connected(
    device: Device, given: Callable[[], Identity], broker: Any, authority: Any
) -> None:
    first, second = given(), given()
    device.store.keep(first)
    device.store.keep(second)
    place = Broker("127.0.0.1", broker.port, server_name=ENDPOINT, ca_file=authority.file)

    broker.connect_code = 0x87
    with pytest.raises(MqttRefusedError), device.connection(place):
        pass
    assert device.store.fall_back() == first
    assert device.identity == first

    device.store.keep(second)
    broker.connect_code = 0
    with device.connection(place):
        pass
    assert device.store.fall_back() is None
    assert device.identity == second


def test_a_certificate_that_never_connected_does_not_displace_the_one_that_did(
    device: Device, given: Callable[[], Identity]
) -> None:
    connected, never, newest = given(), given(), given()
    for identity in (connected, never, newest):
        device.store.keep(identity)

    assert device.identity == newest
    assert device.store.fall_back() == connected


def test_power_may_fail_at_any_write_and_the_device_has_one_certificate_or_the_other(
    device: Device, given: Callable[[], Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = given(), given()
    real, left = os.fsync, 0

    def power_fails(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("power failed")
        real(descriptor)

    seen = set()
    for steps in range(9):
        for name in ("identity.json", "previous.json"):
            (device.store.folder / name).unlink(missing_ok=True)
        monkeypatch.setattr(os, "fsync", real)
        device.store.keep(first)
        left = steps
        monkeypatch.setattr(os, "fsync", power_fails)
        with contextlib.suppress(OSError):
            device.store.keep(second)
        monkeypatch.setattr(os, "fsync", real)

        found = device.identity
        assert found in (first, second)
        assert device.store.certificate_file.read_text() == found.certificate_pem
        seen.add(found.certificate_id)
    assert seen == {first.certificate_id, second.certificate_id}


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"null", b"\xff", b'{"certificate_pem": "x"}'])
def test_a_damaged_file_makes_the_device_ask_again(
    *,
    device: Device,
    given: Callable[[], Identity],
    service: Any,
    client: ProvisioningClient,
    issued: Issued,
    damage: bytes,
) -> None:
    device.store.keep(given())
    (device.store.folder / "identity.json").write_bytes(damage)
    service.script = [(200, {}, issued(device.key.public_key()))]

    assert device.identity is None
    assert device.provision_or_renew(client, now=OPENS - timedelta(days=900)) == device.identity


def test_a_stored_certificate_of_another_key_counts_as_none(device: Device, given: Callable[[], Identity]) -> None:
    device.store.keep(given())
    other = device.store.folder / "other.pem"
    write_private_key(other, generate(KeyType.EC_P256))

    assert replace(device, key=KeyFile(other)).identity is None


@pytest.mark.parametrize(
    "change",
    [
        {"certificateId": "0" * 64},
        {"certificateId": None},
        {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        {"certificateChain": ""},
        {"certificateChain": "none"},
        {"endpoint": "https://example.com"},
        {"endpoint": "example.com/../"},
        {"endpoint": "a b"},
        {"thingName": "a/b"},
        {"thingName": "a" * 129},
        {"notAfter": "2030-01-01"},
        {"notAfter": "2030-13-01T00:00:00Z"},
        {"renewAfter": "2029-12-05T03:41:07+01:00"},
        {"renewAfter": 1},
    ],
)
def test_an_answer_with_a_value_outside_the_contract_is_not_taken(
    issued: Issued, device: Device, change: dict[str, Any]
) -> None:
    document = json.loads(issued(device.key.public_key()))
    Identity.of_answer(Answer(200, {}, json.dumps(document | {"new": "name"}).encode()))

    with pytest.raises(ValueError):  # noqa: PT011 - each names another value
        Identity.of_answer(Answer(200, {}, json.dumps(document | change).encode()))


def test_an_answer_with_a_name_twice_is_not_taken(issued: Issued, device: Device) -> None:
    body = issued(device.key.public_key())

    with pytest.raises(ValueError, match="twice"):
        Identity.of_answer(Answer(200, {}, b'{"endpoint": "one.example.com",' + body[1:]))


def test_the_next_renewal_is_at_the_windows_start_then_at_once_then_rarely(given: Callable[[], Identity]) -> None:
    def wait(now: datetime, unchanged: int = 0, **changes: Any) -> float:
        identity = replace(given(), **changes)
        return Patience().until_renewal(identity, now=now, unchanged=unchanged, uniform=lambda low, _high: low)

    assert wait(OPENS - timedelta(hours=2)) == 7200
    assert wait(OPENS) == 0
    assert [wait(OPENS, unchanged) for unchanged in (1, 2, 9)] == [3600, 7200, 86400]


def test_without_a_clock_or_a_named_window_the_device_asks_once_a_day(given: Callable[[], Identity]) -> None:
    def wait(now: datetime, identity: Identity) -> float:
        return Patience().until_renewal(identity, now=now, unchanged=0, uniform=max)

    assert wait(datetime(1970, 1, 1, tzinfo=UTC), given()) == 86400
    assert wait(OPENS, replace(given(), renew_after=None)) == 86400


def test_a_device_whose_clock_is_behind_its_certificate_asks(
    service: Any, client: ProvisioningClient, device: Device, given: Callable[[], Identity], issued: Issued
) -> None:
    device.store.keep(given())
    service.script = [(200, {}, issued(device.key.public_key()))]

    device.provision_or_renew(client, now=datetime(1970, 1, 1, tzinfo=UTC))

    assert len(service.requests) == 1
