"""The CSRs that the simulated devices write, read back by an independent parser."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from secretfree_cli.device.signing_request import certification_request, standard_subject
from secretfree_cli.device.simulator import Firmware, SimulatedDevice
from secretfree_device import keys
from secretfree_device.keys import KeyType

UDID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.mark.parametrize("key_type", KeyType)
def test_openssl_verifies_the_request_of_each_key_type(tmp_path: Path, key_type: KeyType) -> None:
    device = SimulatedDevice.create(tmp_path / "device", "sensor-1", key_type=key_type)

    verdict = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-subject"],
        input=device.signing_request(),
        capture_output=True,
        check=True,
    )

    assert b"verify OK" in verdict.stderr
    assert verdict.stdout.split() == [b"subject=CN", b"=", b"sensor-1"]


@pytest.mark.parametrize(
    ("key_type", "digest"),
    [
        (KeyType.EC_P256, "sha256"),
        (KeyType.EC_P384, "sha384"),
        (KeyType.EC_P521, "sha512"),
        (KeyType.RSA_2048, "sha256"),
    ],
)
def test_the_digest_fits_the_key(key_type: KeyType, digest: str) -> None:
    key = keys.generate(key_type)

    request = _parse(certification_request(subject=standard_subject("a"), public_key=key.public_key(), signer=key))

    assert request.signature_hash_algorithm is not None
    assert request.signature_hash_algorithm.name == digest


def test_a_request_is_signed_anew_each_time(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", "sensor-1")

    assert device.signing_request() != device.signing_request()


def test_a_cc32xx_writes_one_unbroken_line_between_bare_carriage_returns(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", UDID, firmware=Firmware.CC32XX)

    request = device.signing_request()

    assert b"\n" not in request
    head, body, foot, rest = request.split(b"\r")
    assert (head, foot, rest) == (
        b"-----BEGIN CERTIFICATE REQUEST-----",
        b"-----END CERTIFICATE REQUEST-----",
        b"",
    )
    assert _parse(base64.b64decode(body, validate=True)).subject


def test_a_cc32xx_signs_with_sha_1_and_its_own_key(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", UDID, firmware=Firmware.CC32XX)

    request = _parse(base64.b64decode(device.signing_request().split(b"\r")[1]))

    assert request.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA1
    public_key = request.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(request.signature, request.tbs_certrequest_bytes, ec.ECDSA(hashes.SHA1()))  # noqa: S303


def test_a_cc32xx_fills_in_every_subject_field_of_the_sdk_example(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", UDID, firmware=Firmware.CC32XX)

    subject = _parse(base64.b64decode(device.signing_request().split(b"\r")[1])).subject

    assert [attribute.oid for attribute in subject] == [
        NameOID.COUNTRY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.LOCALITY_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.COMMON_NAME,
        NameOID.EMAIL_ADDRESS,
    ]
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == UDID


def test_a_forged_request_names_the_victims_key_and_is_not_signed_by_it(tmp_path: Path) -> None:
    victim = SimulatedDevice.create(tmp_path / "victim", "sensor-1")
    forger = SimulatedDevice.create(tmp_path / "forger", "sensor-2")

    request = x509.load_pem_x509_csr(victim.forged_signing_request(forger))

    assert request.public_key() == victim.private_key.public_key()
    assert not request.is_signature_valid


def _parse(der: bytes) -> x509.CertificateSigningRequest:
    return x509.load_der_x509_csr(der)
