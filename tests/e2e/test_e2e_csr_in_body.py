"""A CSR as the body: what openssl wrote, posted by curl, gets what the header form gets, and a clone gets nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_device import IssuerPath, ProvisioningClient

PKCS10 = "content-type: application/pkcs10"


@pytest.mark.parametrize("path", ["new", "proto"])
def test_either_form_gets_the_same_certificate(
    path: str, bodies: Any, workshop: Any, curl: Callable[..., Any], post: Callable[..., Any]
) -> None:
    device = workshop.enrolled(bodies)
    by_body = curl(f"{bodies.url}/{path}/csr", PKCS10, body=device.csr())
    assert by_body.status == 200, by_body
    assert by_body.json["thingName"] == device.device_id
    by_header = post(f"{bodies.url}/{path}", device.csr())
    assert by_header.status == 200
    assert by_header.body == by_body.body


def test_base64_of_der_and_the_answer_as_pem(
    bodies: Any, workshop: Any, curl: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    device = workshop.enrolled(bodies)
    der = openssl("req", "-outform", "DER", stdin=device.csr())
    reply = curl(f"{bodies.url}/new/csr", PKCS10, "accept: application/x-pem-file", body=base64.encodebytes(der))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/x-pem-file"
    assert reply.body.startswith(b"-----BEGIN CERTIFICATE-----")


def test_the_simulated_device_takes_the_same_way(bodies: Any, tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", "by-body-1")
    bodies.put_item("by-body-1", device.public_key_file.read_bytes())
    identity = device.provision(ProvisioningClient(bodies.url, csr_in_body=True), IssuerPath.PRIVATE_CA)
    assert identity.thing_name == "by-body-1"


def test_a_clone_a_forgery_and_a_blocked_device_get_the_same_403_as_by_the_header(
    bodies: Any, workshop: Any, curl: Callable[..., Any], post: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    good = workshop.enrolled(bodies)
    clone = workshop.device(device_id=good.device_id)
    blocked = workshop.device()
    bodies.put_item(blocked.device_id, blocked.public_key_pem(), status="blocked")
    der = bytearray(openssl("req", "-outform", "DER", stdin=good.csr()))
    der[-6] ^= 1
    requests = [clone.csr(), blocked.csr(), workshop.device().csr(), base64.b64encode(bytes(der))]
    before = bodies.issued()
    replies = [curl(f"{bodies.url}/new/csr", PKCS10, body=request) for request in requests]
    header = post(f"{bodies.url}/new", clone.csr())
    assert {reply.status for reply in (*replies, header)} == {403}
    assert len({scrubbed(reply) for reply in (*replies, header)}) == 1
    assert bodies.issued() == before


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ((PKCS10, "device-csr: eA=="), b"x", 403),
        (("content-type: application/json",), b"{}", 403),
        ((PKCS10,), b"no CSR", 403),
        ((PKCS10,), b"\xff\xfe\x00", 403),
        ((PKCS10,), b"MIIB" * 5_000, 403),
        ((PKCS10,), b"", 401),
    ],
)
def test_what_is_no_csr_is_refused(
    headers: tuple[str, ...], body: bytes, status: int, bodies: Any, curl: Callable[..., Any]
) -> None:
    before = bodies.issued()
    assert curl(f"{bodies.url}/new/csr", *headers, body=body).status == status
    assert bodies.issued() == before


def test_the_other_form_is_not_taken_at_either_path(bodies: Any, workshop: Any, curl: Callable[..., Any]) -> None:
    device = workshop.enrolled(bodies)
    assert curl(f"{bodies.url}/new", PKCS10, body=device.csr()).status == 401


def scrubbed(reply: Any) -> bytes:
    """The body without what names the request."""
    return reply.body.replace(reply.json["requestId"].encode(), b"")
