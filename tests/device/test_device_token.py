"""A key in a PKCS#11 token: it signs there, and what goes wrong is said without the PIN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from secretfree_device.csr import certification_request
from secretfree_device.keys import KeyType, KeyUnavailableError
from secretfree_device.pkcs11 import TokenKey
from secretfree_device.session import Broker, DeviceSession, Message, MqttRefusedError
from support import tokens


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenKey]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tokens.softhsm_token(tmp_path_factory.mktemp("softhsm")).items():
            patch.setenv(name, value)
        made = TokenKey(tokens.SOFTHSM, tokens.LABEL, "first", lambda: tokens.PIN)
        assert not made.exists()
        made.generate()
        yield made


def test_the_csr_is_signed_in_the_token(key: TokenKey) -> None:
    request = x509.load_der_x509_csr(certification_request("sensor-1", key.private_key()))

    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


def test_a_p_384_key_signs_with_the_longer_hash(key: TokenKey) -> None:
    longer = replace(key, label="longer")
    longer.generate(KeyType.EC_P384)

    request = x509.load_der_x509_csr(certification_request("sensor-1", longer.private_key()))

    assert request.is_signature_valid
    assert request.signature_hash_algorithm is not None
    assert request.signature_hash_algorithm.name == "sha384"


def test_the_key_cannot_be_taken_out(key: TokenKey) -> None:
    private = key.private_key()

    with pytest.raises(UnsupportedAlgorithm, match="never leaves"):
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    with pytest.raises(UnsupportedAlgorithm, match="never leaves"):
        private.private_numbers()


def test_an_rsa_key_is_not_made_in_a_token(key: TokenKey) -> None:
    with pytest.raises(ValueError, match="accepted in a token: ec-p256, ec-p384"):
        replace(key, label="rsa").generate(KeyType.RSA_2048)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pin": lambda: "9876543"},
        {"token": "no-such-token"},
        {"label": "no-such-key"},
        {"module": Path("/usr/lib/no-such-module.so")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_token_that_cannot_sign_says_which_and_never_the_pin(key: TokenKey, wrong: dict[str, object]) -> None:
    with pytest.raises(KeyUnavailableError) as failure:
        replace(key, **wrong).signature(b"\0" * 32)  # type: ignore[arg-type]

    assert "9876543" not in str(failure.value)
    assert "token" in str(failure.value)


def session(key: TokenKey, broker: Any, authority: Any, certificate: Path, owner: TokenKey) -> DeviceSession:
    """A session with `key`, and a certificate for the key of `owner`."""
    signed = authority.sign("sensor-1", owner.public_key())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    place = Broker("127.0.0.1", broker.port, server_name="localhost", ca_file=authority.file)
    return key.connection(place, client_id="sensor-1", certificate=certificate, timeout=10.0)


def test_the_handshake_is_signed_in_the_token_and_a_refusal_has_its_reason(
    key: TokenKey, broker: Any, authority: Any, tmp_path: Path
) -> None:
    broker.denied = {"widget/other/hello"}
    with session(key, broker, authority, tmp_path / "own.pem", key) as connected:
        connected.subscribe("widget/sensor-1/hello")
        connected.publish("widget/sensor-1/hello", "21.5")
        assert connected.receive(timeout=5) == Message("widget/sensor-1/hello", b"21.5")
        with pytest.raises(MqttRefusedError, match="NOT_AUTHORIZED"):
            connected.publish("widget/other/hello", "mine")

    assert broker.peers == ["sensor-1"]


def test_the_token_signs_a_renewal_while_its_device_is_connected(
    key: TokenKey, broker: Any, authority: Any, tmp_path: Path
) -> None:
    with session(key, broker, authority, tmp_path / "own.pem", key) as connected:
        request = x509.load_der_x509_csr(certification_request("sensor-1", key.private_key()))
        connected.publish("widget/sensor-1/hello", "still here")

    assert request.is_signature_valid


def test_another_key_of_the_token_cannot_use_the_certificate(
    key: TokenKey, broker: Any, authority: Any, tmp_path: Path
) -> None:
    other = replace(key, label="other")
    other.generate()

    with pytest.raises(MqttRefusedError), session(other, broker, authority, tmp_path / "own.pem", key):
        pass

    assert broker.client_ids == []
