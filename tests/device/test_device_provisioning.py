"""The device's HTTP exchange against a real HTTPS server: what it sends, how long it asks, whom it trusts."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_device import (
    Answer,
    IssuerPath,
    Patience,
    ProvisioningClient,
    ProvisioningError,
    ProvisioningRefusedError,
    ProvisioningUnavailableError,
)

Issued = Callable[[Any], bytes]


class ManualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualTime:
    return ManualTime()


@pytest.fixture
def client(service: Any, authority: Any, clock: ManualTime) -> ProvisioningClient:
    return ProvisioningClient(
        service.url,
        ca_file=authority.file,
        sleep=clock.sleep,
        monotonic=clock.monotonic,
        uniform=lambda _low, high: high,
    )


@pytest.fixture
def device(tmp_path: Path) -> SimulatedDevice:
    return SimulatedDevice.create(tmp_path / "device", "sensor-1")


@pytest.fixture
def accepted(device: SimulatedDevice, issued: Issued) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, issued(device.private_key.public_key())


def test_the_csr_goes_out_as_base64_in_one_header(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any
) -> None:
    service.script = [accepted]

    device.provision(client)

    (request,) = service.requests
    (value,) = request.values("device-csr")
    assert x509.load_pem_x509_csr(base64.b64decode(value, validate=True)).is_signature_valid
    assert request.values("content-length") == ["0"]


def test_the_csr_goes_out_as_the_body_where_that_is_asked_for(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any
) -> None:
    service.script = [accepted]

    device.provision(replace(client, csr_in_body=True))

    (request,) = service.requests
    assert request.path == "/stage/new/csr"
    assert request.values("device-csr") == []
    assert request.values("content-type") == ["application/pkcs10"]
    assert x509.load_pem_x509_csr(base64.b64decode(request.body, validate=True)).is_signature_valid


@pytest.mark.parametrize(
    ("issuer", "path"), [(IssuerPath.PRIVATE_CA, "/stage/new"), (IssuerPath.IOT_CORE, "/stage/proto")]
)
def test_each_issuer_has_its_path(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, issuer: IssuerPath, path: str
) -> None:
    service.script = [accepted]

    device.provision(client, issuer)

    assert service.requests[0].path == path


def test_certificate_chain_and_identity_are_kept(
    service: Any, authority: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any
) -> None:
    service.script = [accepted]

    identity = device.provision(client)

    assert device.certificate_file.read_text() == json.loads(accepted[2])["certificate"]
    assert (device.folder / "chain.pem").read_text() == authority.file.read_text()
    assert SimulatedDevice.open(device.folder).identity == identity


def test_an_answer_without_a_chain_leaves_no_old_chain_behind(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any
) -> None:
    document = json.loads(accepted[2])
    del document["certificateChain"]
    service.script = [accepted, (200, {}, json.dumps(document).encode())]

    device.provision(client)
    device.provision(client, IssuerPath.IOT_CORE)

    assert not (device.folder / "chain.pem").exists()


@pytest.mark.parametrize("status", [202, 429, 500, 503])
def test_retry_after_is_obeyed_with_jitter_on_top(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime, status: int
) -> None:
    service.script = [(status, {"Retry-After": "4"}, b""), accepted]

    device.provision(client)

    assert clock.pauses == [6.0]


def test_each_attempt_makes_its_csr_anew(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any
) -> None:
    service.script = [(202, {"Retry-After": "1"}, b""), accepted]

    device.provision(client)

    first, second = (request.values("device-csr") for request in service.requests)
    assert first != second


def test_without_retry_after_the_pause_doubles(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime
) -> None:
    service.script = [(503, {}, b""), (503, {}, b""), (503, {"Retry-After": "soon"}, b""), accepted]

    device.provision(client)

    assert clock.pauses == [1.5, 3.0, 6.0]


def test_the_pause_grows_to_five_minutes_and_no_further() -> None:
    patience = Patience()

    pauses = [patience.pause(attempt, None, lambda low, _high: low) for attempt in (1, 2, 9, 10, 10_000)]

    assert pauses == [1.0, 2.0, 256.0, 300.0, 300.0]


def test_the_server_s_pause_doubles_with_each_failure_up_to_an_hour_and_is_never_cut() -> None:
    patience = Patience()

    assert [patience.pause(n, 5.0, lambda low, _high: low) for n in (1, 2, 3, 20)] == [5.0, 10.0, 20.0, 3600.0]
    assert patience.pause(3, 7200.0, lambda low, _high: low) == 7200.0


def test_a_turn_is_waited_for_with_ten_seconds_of_spread_at_most() -> None:
    patience = Patience()

    assert [patience.until_turn(seconds, lambda _low, high: high) for seconds in (4.0, 80_000.0)] == [6.0, 80_010.0]


def test_a_202_ends_the_row_of_failures(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime
) -> None:
    turn = (202, {"Retry-After": "4"}, b"")
    service.script = [(503, {}, b""), (503, {}, b""), turn, (503, {}, b""), accepted]

    device.provision(client)

    assert clock.pauses == [1.5, 3.0, 6.0, 1.5]


@pytest.mark.parametrize(
    ("given", "taken"),
    [("3600", 3600.0), ("86400", 86400.0), ("90000", 86400.0), ("9" * 5000, None), ("-1", None), ("0", None)],
)
def test_retry_after_is_bounded_by_a_day(given: str, taken: float | None) -> None:
    assert Answer(503, {"retry-after": given}, b"").retry_after == taken


@pytest.mark.parametrize("body", [b"", b'{"message":"Forbidden"}', b'{"code":""}', b"<html>"])
def test_a_403_without_a_code_is_not_a_refusal_by_the_service(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime, body: bytes
) -> None:
    service.script = [(403, {}, body), accepted]

    device.provision(client)

    assert clock.pauses == [1.5]


@pytest.mark.parametrize("status", [204, 301, 418])
def test_a_status_that_the_contract_does_not_name_counts_as_a_fault_of_the_service(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime, status: int
) -> None:
    service.script = [(status, {"Location": "https://example.com/"}, b""), accepted]

    device.provision(client)

    assert clock.pauses == [1.5]


@pytest.mark.parametrize("status", [400, 403, 409])
def test_a_device_without_an_operator_asks_again_rarely_after_a_refusal_that_may_end(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, accepted: Any, clock: ManualTime, status: int
) -> None:
    refused = (status, {}, b'{"code":"not-authorized"}')
    service.script = [*[refused] * 7, accepted]

    device.provision(replace(client, patience=Patience(total=math.inf, after_refusals=True)))

    hour = 3600.0
    assert clock.pauses == [pause * 1.5 for pause in (hour, 2 * hour, 4 * hour, 8 * hour, 16 * hour, 86400, 86400)]


@pytest.mark.parametrize(("status", "code"), [(401, "missing-csr"), (403, "malformed-request"), (404, "not-found")])
def test_no_device_asks_again_after_a_fault_of_its_own(
    *, service: Any, client: ProvisioningClient, device: SimulatedDevice, clock: ManualTime, status: int, code: str
) -> None:
    service.script = [(status, {}, json.dumps({"code": code}).encode())]

    with pytest.raises(ProvisioningRefusedError, match=code):
        device.provision(replace(client, patience=Patience(total=math.inf, after_refusals=True)))

    assert clock.pauses == []


def test_patience_ends(service: Any, client: ProvisioningClient, device: SimulatedDevice, clock: ManualTime) -> None:
    service.script = [(202, {"Retry-After": "20"}, b"")]

    with pytest.raises(ProvisioningUnavailableError, match="after 3 attempts within 60 s; the last one: answered 202"):
        device.provision(client)

    assert clock.now <= 60
    assert device.identity is None


def test_a_retry_after_beyond_patience_is_not_waited_for(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, clock: ManualTime
) -> None:
    service.script = [(503, {"Retry-After": "86400"}, b"")]

    with pytest.raises(ProvisioningUnavailableError):
        device.provision(client)

    assert clock.pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415])
def test_a_refusal_is_not_asked_again(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, clock: ManualTime, status: int
) -> None:
    service.script = [(status, {"Location": "https://example.com/"}, b'{"code":"not-authorized"}')]

    with pytest.raises(ProvisioningRefusedError, match=f"answered {status}, not-authorized"):
        device.provision(client)

    assert len(service.requests) == 1


def test_an_unreachable_service_is_tried_again_until_patience_ends(device: SimulatedDevice, clock: ManualTime) -> None:
    client = ProvisioningClient(
        "http://127.0.0.1:9/stage", patience=Patience(total=5), sleep=clock.sleep, monotonic=clock.monotonic
    )

    with pytest.raises(ProvisioningUnavailableError, match="Refused"):
        device.provision(client)

    assert clock.pauses


def test_a_server_of_another_authority_is_not_trusted_nor_asked_again(
    service: Any, device: SimulatedDevice, accepted: Any, clock: ManualTime
) -> None:
    service.script = [accepted]
    client = ProvisioningClient(service.url, sleep=clock.sleep, monotonic=clock.monotonic)

    with pytest.raises(ProvisioningUnavailableError, match="could not be verified"):
        device.provision(client)

    assert service.requests == []
    assert clock.pauses == []


def test_a_server_of_another_name_is_not_trusted(
    service: Any, authority: Any, device: SimulatedDevice, accepted: Any
) -> None:
    service.script = [accepted]
    client = ProvisioningClient(service.url.replace("localhost", "127.0.0.1"), ca_file=authority.file)

    with pytest.raises(ProvisioningUnavailableError, match="could not be verified"):
        device.provision(client)


def test_a_certificate_for_another_key_is_not_kept(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, issued: Issued
) -> None:
    service.script = [(200, {}, issued(ec.generate_private_key(ec.SECP256R1()).public_key()))]

    with pytest.raises(ProvisioningError, match="not for this device's key"):
        device.provision(client)

    assert device.identity is None
    assert not device.certificate_file.exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"certificate": 7}', b"\xff", b"[" * 9999])
def test_a_200_outside_the_wire_contract_is_an_error(
    service: Any, client: ProvisioningClient, device: SimulatedDevice, body: bytes
) -> None:
    service.script = [(200, {}, body)]

    with pytest.raises(ProvisioningRefusedError, match="wire contract"):
        device.provision(client)


def test_an_endless_answer_is_cut_off(service: Any, client: ProvisioningClient, device: SimulatedDevice) -> None:
    service.script = [(200, {}, b" " * 300_000)]

    with pytest.raises(ProvisioningUnavailableError, match="longer than"):
        device.provision(client)


@pytest.mark.parametrize("url", ["http://example.com/prod", "ftp://localhost/", "localhost/prod", "http://[::2]/", ""])
def test_plain_http_is_for_loopback_alone(url: str) -> None:
    with pytest.raises(ValueError, match="accepted: https"):
        ProvisioningClient(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/prod", "http://127.0.0.1:4566/x", "http://[::1]/x", "http://localhost/"]
)
def test_https_anywhere_and_http_on_loopback_are_taken(url: str) -> None:
    assert ProvisioningClient(url).base_url == url
