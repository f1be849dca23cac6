"""EST by clients of others: curl with openssl, and strongSwan's `pki` where it is installed."""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.documents import ROOT

EST = ".well-known/est"
PKCS10 = "content-type: application/pkcs10"
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"

# Its EST takes an HTTP client, which is a package of its own.
strongswan = pytest.mark.skipif(
    shutil.which("pki") is None or not any(Path("/usr/lib").glob("ipsec/plugins/libstrongswan-curl.so")),
    reason="strongSwan's pki (strongswan-pki, libstrongswan-extra-plugins) is absent",
)


@pytest.fixture
def call(bodies: Any, curl: Callable[..., Any]) -> Callable[..., tuple[int, Mapping[str, str], bytes]]:
    """Curl over TLS, with a client certificate where a device is given."""

    def make(
        url: str, *headers: str, body: bytes | None = None, device: Any = None, get: bool = False
    ) -> tuple[int, Mapping[str, str], bytes]:
        options = ["--http1.1", "--cacert", str(bodies.target.tls_ca)]
        if device is not None:
            options += ["--cert", str(device.certificate), "--key", str(device.key)]
        reply = curl(url, *headers, body=body, method="GET" if get else "POST", options=options)
        return reply.status, reply.headers, reply.body

    return make


@pytest.fixture
def read(openssl: Callable[..., bytes]) -> Callable[[bytes], list[x509.Certificate]]:
    """The certificates of an answer, as openssl reads them from one line of base64."""

    def certificates(body: bytes) -> list[x509.Certificate]:
        der = base64.b64decode(body, validate=True)
        return x509.load_pem_x509_certificates(openssl("pkcs7", "-inform", "DER", "-print_certs", stdin=der))

    return certificates


@pytest.fixture
def enrolled(bodies: Any, workshop: Any, call: Callable[..., Any], read: Callable[..., Any]) -> Any:
    """A device that enrolled by `simpleenroll`, and holds its certificate."""
    device = workshop.enrolled(bodies)
    status, headers, body = call(f"{bodies.target.tls_url}/{EST}/simpleenroll", PKCS10, body=der(device))
    assert (status, headers["content-type"]) == (200, CERTS_ONLY), body
    (certificate,) = read(body)
    device.certificate.write_bytes(pem(certificate))
    return device


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def der(device: Any) -> bytes:
    """A CSR as an EST client sends it."""
    return base64.b64encode(x509.load_pem_x509_csr(device.csr()).public_bytes(Encoding.DER))


@dataclass(frozen=True)
class Page:
    """The guide's shell commands, with the deployed addresses and a device of their own."""

    folder: Path
    device: Any
    commands: list[str]
    environment: dict[str, str]

    def run(self, number: int) -> None:
        """Run one block of commands in the folder, as a shell does."""
        script = ["bash", "-euo", "pipefail", "-c", self.commands[number]]
        subprocess.run(script, cwd=self.folder, env={**os.environ, **self.environment}, check=True, timeout=120)

    def subject(self, file: str) -> str:
        return x509.load_pem_x509_certificate((self.folder / file).read_bytes()).subject.rfc4514_string()


@pytest.fixture
def page(bodies: Any, workshop: Any, tmp_path: Path) -> Page:
    device = workshop.enrolled(bodies)
    text = (ROOT / "docs" / "guides" / "est.md").read_text()
    text = text.replace("sensor-0001", device.device_id)
    text = text.replace("https://renew.example.com", bodies.target.est_reenroll_url)
    authority = Path(bodies.target.tls_ca)
    (tmp_path / "tls-ca.pem").write_bytes(authority.read_bytes())
    commands = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return Page(tmp_path, device, commands, {"URL": bodies.target.tls_url, "CURL_CA_BUNDLE": str(authority)})


def fingerprints(*certificates: x509.Certificate) -> set[str]:
    return {one.fingerprint(hashes.SHA256()).hex() for one in certificates}


def test_the_certificate_is_that_of_the_header_form_and_leads_to_the_ca_certificates(
    bodies: Any,
    enrolled: Any,
    post: Callable[..., Any],
    call: Callable[..., Any],
    read: Callable[..., Any],
    openssl: Callable[..., bytes],
) -> None:
    by_header = post(f"{bodies.url}/new", enrolled.csr())
    assert by_header.json["certificate"].encode() == enrolled.certificate.read_bytes()
    status, headers, body = call(f"{bodies.target.tls_url}/{EST}/cacerts", get=True)
    assert (status, headers["content-type"]) == (200, "application/pkcs7-mime")
    assert headers["content-transfer-encoding"] == "base64"
    authorities = enrolled.folder / "authorities.pem"
    authorities.write_bytes(b"".join(map(pem, read(body))))
    assert b"OK" in openssl("verify", "-CAfile", authorities, enrolled.certificate)


def test_a_label_chooses_the_issuer(bodies: Any, workshop: Any, call: Callable[..., Any], read: Any) -> None:
    device = workshop.enrolled(bodies)
    issued = [
        read(call(f"{bodies.target.tls_url}/{EST}/{label}/simpleenroll", PKCS10, body=der(device))[2])
        for label in ("new", "proto")
    ]
    assert issued[0] != issued[1]
    assert call(f"{bodies.target.tls_url}/{EST}/other/simpleenroll", PKCS10, body=der(device))[0] == 404
    assert call(f"{bodies.target.tls_url}/{EST}/proto/cacerts", get=True)[0] == 404
    assert call(f"{bodies.target.tls_url}/{EST}/csrattrs", get=True)[0] == 204


def test_a_device_renews_with_its_certificate_at_the_domain_with_mutual_tls(
    bodies: Any, enrolled: Any, call: Callable[..., Any], read: Callable[..., Any]
) -> None:
    url = f"{bodies.target.est_reenroll_url}/{EST}/simplereenroll"
    status, _, body = call(url, PKCS10, body=der(enrolled), device=enrolled)
    assert status == 200, body
    own = x509.load_pem_x509_certificate(enrolled.certificate.read_bytes())
    assert fingerprints(*read(body)) == fingerprints(own)  # outside its window, the current one


def test_a_clone_a_forgery_and_a_blocked_device_get_nothing_at_either_door(
    bodies: Any, enrolled: Any, workshop: Any, call: Callable[..., Any]
) -> None:
    clone = workshop.device(device_id=enrolled.device_id)
    blocked = workshop.device()
    bodies.put_item(blocked.device_id, blocked.public_key_pem(), status="blocked")
    forged = bytearray(base64.b64decode(der(enrolled)))
    forged[-6] ^= 1
    before = bodies.issued()
    requests = [der(clone), der(blocked), der(workshop.device()), base64.b64encode(bytes(forged))]
    doors = [
        (f"{bodies.target.tls_url}/{EST}/simpleenroll", None),
        (f"{bodies.target.est_reenroll_url}/{EST}/simplereenroll", enrolled),
    ]
    answers = [call(url, PKCS10, body=request, device=device) for url, device in doors for request in requests]
    assert {status for status, _, _ in answers} == {403}
    assert all(b'"code":"not-authorized"' in body for _, _, body in answers)
    assert bodies.issued() == before


def test_no_client_renews_without_its_own_active_certificate(
    bodies: Any, enrolled: Any, workshop: Any, call: Callable[..., Any], read: Callable[..., Any]
) -> None:
    url = f"{bodies.target.est_reenroll_url}/{EST}/simplereenroll"
    other = workshop.enrolled(bodies)
    (certificate,) = read(call(f"{bodies.target.tls_url}/{EST}/simpleenroll", PKCS10, body=der(other))[2])
    other.certificate.write_bytes(pem(certificate))
    forged = "x-ssl-client-cert: " + enrolled.certificate.read_text().replace("\n", "%0A")
    before = bodies.issued()
    assert call(url, PKCS10, body=der(enrolled), device=other)[0] == 403
    assert call(url, PKCS10, forged, body=der(enrolled))[0] == 403
    default = f"{bodies.target.tls_url}/{EST}/simplereenroll"
    assert call(default, PKCS10, forged, body=der(enrolled), device=enrolled)[0] == 404
    (certificate_id,) = fingerprints(x509.load_pem_x509_certificate(enrolled.certificate.read_bytes()))
    iot = bodies.target.client("iot")
    iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
    assert call(url, PKCS10, body=der(enrolled), device=enrolled)[0] == 403
    iot.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")
    assert call(url, PKCS10, body=der(enrolled), device=enrolled)[0] == 200
    assert bodies.issued() == before


def test_mutated_bodies_are_no_fault_of_ours_and_issue_nothing(
    bodies: Any, enrolled: Any, curl: Callable[..., Any]
) -> None:
    chance = random.Random(23)
    original = der(enrolled)
    before = bodies.issued()
    statuses = set()
    for _ in range(25):
        body = bytearray(original)
        position = chance.randrange(len(body))
        body[position : position + chance.randint(1, 3)] = chance.randbytes(chance.randint(1, 4))
        if bytes(body) != original:
            statuses.add(curl(f"{bodies.url}/{EST}/simpleenroll", PKCS10, body=bytes(body)).status)
    assert statuses <= {400, 401, 403}
    assert bodies.issued() == before


def test_the_commands_of_the_page_enrol_with_curl_and_openssl(page: Page) -> None:
    (page.folder / "device.key").write_bytes(page.device.key.read_bytes())
    page.run(0)
    assert page.subject("device.pem") == f"CN={page.device.device_id}"
    assert (page.folder / "device-ca.pem").read_bytes().count(b"BEGIN CERTIFICATE") == 1


@strongswan
def test_the_commands_of_the_page_enrol_and_renew_with_strongswan(page: Page) -> None:
    (page.folder / "device.key").write_bytes(page.device.key.read_bytes())
    page.run(1)
    assert page.subject("device.pem") == f"CN={page.device.device_id}"
    page.run(2)
    assert (page.folder / "renewed.pem").read_bytes() == (page.folder / "device.pem").read_bytes()


@strongswan
def test_strongswan_reports_a_refusal(bodies: Any, workshop: Any, tmp_path: Path) -> None:
    (tmp_path / "device.csr").write_bytes(workshop.device().csr())
    before = bodies.issued()
    trusted = ["--cacert", str(bodies.target.tls_ca), "--cacert", str(bodies.target.ca_certificate)]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        pki("--est", "--in", str(tmp_path / "device.csr"), *trusted, "--url", bodies.target.tls_url)
    assert b"HTTP 403" in refused.value.stderr
    assert bodies.issued() == before


def pki(*arguments: str) -> bytes:
    return subprocess.run(["pki", *arguments], capture_output=True, check=True, timeout=120).stdout
