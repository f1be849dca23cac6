"""What is refused at the door, how alike the refusals look, and that none of them leaves a trace."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from secretfree_cli.device.signing_request import certification_request, standard_pem

pytestmark = pytest.mark.usefixtures("nothing_is_issued")

VECTORS = Path(__file__).resolve().parents[1] / "lambda_src" / "vectors"


@pytest.fixture(scope="module")
def victim(cloud: Any, workshop: Any, post: Callable[..., Any]) -> Any:
    """A device that has its certificate."""
    device = workshop.enrolled(cloud)
    device.keep(post(f"{cloud.url}/new", device.csr()))
    return device


@pytest.fixture(scope="module")
def impostors(cloud: Any, workshop: Any, victim: Any) -> Mapping[str, bytes]:
    """The CSRs of those who should not get in, although each of them is a good CSR by its form."""
    clone = workshop.device(device_id=victim.device_id)
    unenrolled = workshop.device()
    blocked = workshop.device("rsa-2048")
    cloud.put_item(blocked.device_id, blocked.public_key_pem(), status="blocked")
    misspelt = workshop.device()
    cloud.put_item(misspelt.device_id, misspelt.public_key_pem(), status="Allowed")
    borrower = workshop.enrolled(cloud)
    return {
        "a clone: the victim's id, another key": clone.csr(),
        "a forged CSR: the victim's id and public key, signed by another key": _forged(victim, signer=clone),
        "an unenrolled device": unenrolled.csr(),
        "a blocked device": blocked.csr(),
        "a device of a status that nobody defined": misspelt.csr(),
        "an enrolled device under the id of another": borrower.csr(subject=f"/CN={victim.device_id}"),
        "an enrolled device under an id in no registry": borrower.csr(subject="/CN=nobody"),
    }


@pytest.mark.parametrize("path", ["new", "proto"])
def test_all_impostors_get_the_same_403(
    cloud: Any, post: Callable[..., Any], impostors: Mapping[str, bytes], path: str
) -> None:
    replies = {who: post(f"{cloud.url}/{path}", csr) for who, csr in impostors.items()}

    assert {who: reply.status for who, reply in replies.items()} == dict.fromkeys(replies, 403)
    assert {reply.problem for reply in replies.values()} == {
        b'{"type":"about:blank","title":"Forbidden","status":403,"code":"not-authorized","requestId":"-"}'
    }
    assert {reply.headers["content-type"] for reply in replies.values()} == {"application/problem+json"}
    assert len({frozenset(reply.headers) for reply in replies.values()}) == 1


@pytest.mark.parametrize("path", ["new", "proto"])
def test_a_missing_header_is_a_401(cloud: Any, curl: Callable[..., Any], path: str) -> None:
    reply = curl(f"{cloud.url}/{path}")

    assert reply.status == 401
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["code"] == "missing-csr"


def test_an_empty_header_is_a_401_or_a_403(cloud: Any, curl: Callable[..., Any]) -> None:
    assert curl(f"{cloud.url}/new", "device-csr;").status in {401, 403}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("this is not base64!", id="not base64"),
        pytest.param(base64.b64encode(b"this is not a CSR").decode(), id="not a CSR"),
        pytest.param("x" * 9_000, id="9 KB of letters"),
        pytest.param(base64.b64encode(os.urandom(6_750)).decode(), id="9 KB of noise"),
        pytest.param("=" * 100, id="padding alone"),
        pytest.param("%00%0a", id="percent-encoded"),
    ],
)
def test_a_header_that_is_no_csr_is_a_403(cloud: Any, curl: Callable[..., Any], value: str) -> None:
    reply = curl(f"{cloud.url}/new", f"device-csr: {value}")

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


@pytest.mark.parametrize("bytes_left", [1, 100, -1])
def test_a_truncated_csr_is_a_403(
    cloud: Any, victim: Any, curl: Callable[..., Any], openssl: Callable[..., bytes], bytes_left: int
) -> None:
    der = openssl("req", "-outform", "DER", stdin=victim.csr())

    reply = curl(f"{cloud.url}/new", f"device-csr: {base64.b64encode(der[:bytes_left]).decode()}")

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


@pytest.mark.parametrize("same", [True, False], ids=["the same twice", "two different ones"])
def test_two_csr_headers_are_a_403(cloud: Any, victim: Any, curl: Callable[..., Any], same: bool) -> None:
    first = base64.b64encode(victim.csr()).decode()
    second = first if same else base64.b64encode(victim.csr()).decode()

    reply = curl(f"{cloud.url}/new", f"device-csr: {first}", f"device-csr: {second}")

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


@pytest.mark.parametrize("character", ["*", "#", "+", "/", "$", " ", "é"])
def test_a_common_name_with_a_character_that_means_something_on_mqtt_is_a_403_even_if_enrolled(
    cloud: Any, workshop: Any, post: Callable[..., Any], character: str
) -> None:
    device = workshop.enrolled(cloud, device_id=f"sensor{character}1")
    escaped = device.device_id.replace("+", r"\+").replace("/", r"\/")

    assert post(f"{cloud.url}/new", device.csr("-utf8", subject=f"/CN={escaped}")).status == 403


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize(
    "common_name", ["sensor\0", "sensor\0.evil", "s" * 65, "s" * 129], ids=["NUL at end", "NUL", "65", "129"]
)
def test_a_common_name_that_openssl_itself_would_not_write_is_a_403(
    cloud: Any, workshop: Any, post: Callable[..., Any], common_name: str
) -> None:
    device = workshop.device()
    cloud.put_item(common_name.replace("\0", ""), device.public_key_pem())
    key = load_pem_private_key(device.key.read_bytes(), None)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False)])
    csr = certification_request(subject=subject, public_key=key.public_key(), signer=key)  # type: ignore[arg-type]

    reply = post(f"{cloud.url}/new", standard_pem(csr))

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-addext", "subjectAltName=DNS:sensor.example.com"), id="SAN"),
        pytest.param(("-addext", "subjectAltName=email:a@example.com"), id="SAN with e-mail"),
        pytest.param(("-addext", "basicConstraints=critical,CA:TRUE"), id="CA:TRUE"),
        pytest.param(("-addext", "keyUsage=keyCertSign"), id="keyCertSign"),
        pytest.param(("-addext", "extendedKeyUsage=OCSPSigning"), id="OCSPSigning"),
    ],
)
def test_a_csr_that_asks_for_more_is_a_403(
    cloud: Any, workshop: Any, post: Callable[..., Any], options: tuple[str, ...]
) -> None:
    device = workshop.enrolled(cloud)

    reply = post(f"{cloud.url}/new", device.csr(*options))

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


def test_two_common_names_are_a_403(cloud: Any, workshop: Any, post: Callable[..., Any], victim: Any) -> None:
    device = workshop.enrolled(cloud)

    reply = post(f"{cloud.url}/new", device.csr(subject=f"/CN={victim.device_id}/CN={device.device_id}"))

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


def test_rsa_1024_is_a_403_even_if_enrolled(cloud: Any, workshop: Any, post: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud, "rsa-1024")

    reply = post(f"{cloud.url}/new", device.csr())

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa-2048"])
def test_sha_1_is_a_403_outside_the_profile_that_asks_for_it(
    cloud: Any, workshop: Any, post: Callable[..., Any], key_type: str
) -> None:
    device = workshop.enrolled(cloud, key_type)

    reply = post(f"{cloud.url}/new", device.csr(digest="sha1"))

    assert (reply.status, reply.json["code"]) == (403, "malformed-request")


def test_every_adversarial_vector_of_the_rules_is_a_403_here_too(cloud: Any, post: Callable[..., Any]) -> None:
    vectors = [
        vector["file"]
        for vector in json.loads((VECTORS / "index.json").read_text())
        if vector["file"].startswith("csr/") and vector["reason"] and "STANDARD" in vector["profiles"]
    ]
    small_enough = [name for name in vectors if (VECTORS / name).stat().st_size < 7_000]  # for API Gateway's headers

    statuses = {name: post(f"{cloud.url}/new", (VECTORS / name).read_bytes()).status for name in small_enough}

    assert len(small_enough) > 100
    assert {name: status for name, status in statuses.items() if status != 403} == {}


def test_what_is_too_long_for_api_gateway_is_no_5xx(cloud: Any, curl: Callable[..., Any]) -> None:
    reply = curl(f"{cloud.url}/new", f"device-csr: {'A' * 12_000}")

    assert 400 <= reply.status < 500


@pytest.mark.parametrize("path", ["", "/", "/other", "/new/again"])
def test_there_is_nothing_else_to_post_to(cloud: Any, victim: Any, post: Callable[..., Any], path: str) -> None:
    reply = post(f"{cloud.url}{path}", victim.csr())

    assert 400 <= reply.status < 500


def _forged(victim: Any, *, signer: Any) -> bytes:
    return standard_pem(
        certification_request(
            subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, victim.device_id)]),
            public_key=load_pem_private_key(victim.key.read_bytes(), None).public_key(),  # type: ignore[arg-type]
            signer=load_pem_private_key(signer.key.read_bytes(), None),  # type: ignore[arg-type]
        )
    )
