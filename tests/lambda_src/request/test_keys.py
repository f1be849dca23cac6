"""Which public keys are accepted, and in which writings."""

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import ErrorCode, Reason
from secretfree.request import keys
from secretfree.request.keys import DevicePublicKey, KeyKind, KeyRejected


def test_each_vector_has_its_verdict(key_vector: tuple[Path, str | None]) -> None:
    path, reason = key_vector
    if reason is None:
        assert DevicePublicKey.from_spki_der(path.read_bytes()).spki == path.read_bytes()
        return
    with pytest.raises(KeyRejected) as caught:
        DevicePublicKey.from_spki_der(path.read_bytes())
    assert (caught.value.code, caught.value.reason) == (ErrorCode.MALFORMED_REQUEST, reason)


def test_the_fingerprint_is_the_hex_sha256_of_the_spki(p256_key: ec.EllipticCurvePrivateKey) -> None:
    spki = p256_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert DevicePublicKey.from_spki_der(spki).fingerprint == hashlib.sha256(spki).hexdigest()


@pytest.mark.parametrize(
    ("file", "kind", "bits", "label"),
    [
        ("ec-p256", KeyKind.EC_P256, 256, "P-256"),
        ("ec-p384", KeyKind.EC_P384, 384, "P-384"),
        ("ec-p521", KeyKind.EC_P521, 521, "P-521"),
        ("rsa-2048", KeyKind.RSA, 2048, "RSA-2048"),
        ("rsa-2560", KeyKind.RSA, 2560, "RSA-2560"),
        ("rsa-4096", KeyKind.RSA, 4096, "RSA-4096"),
    ],
)
def test_a_key_tells_its_kind(file: str, kind: KeyKind, bits: int, label: str) -> None:
    key = DevicePublicKey.from_spki_der((Path(__file__).parents[1] / f"vectors/key/{file}.der").read_bytes())
    assert (key.kind, key.bits, key.label) == (kind, bits, label)
    assert key.pem() == key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_every_writing_of_the_registry_is_the_same_key(public_key: DevicePublicKey) -> None:
    pem = public_key.pem()
    writings = [
        public_key.registry_text(),
        pem,
        pem.replace("\n", "\r\n"),
        base64.b64encode(pem.replace("\n", "\r").encode()).decode(),
        base64.encodebytes(pem.encode()).decode(),
        base64.b64encode(public_key.spki).decode(),
    ]
    assert {DevicePublicKey.from_registry(writing) for writing in writings} == {public_key}


def test_pem_is_taken_as_text_and_as_bytes(public_key: DevicePublicKey) -> None:
    assert (
        DevicePublicKey.from_pem(public_key.pem()) == DevicePublicKey.from_pem(public_key.pem().encode()) == public_key
    )


@pytest.mark.parametrize(
    "text",
    ["", "?", "AAAA", "AAA", "\u00e4", "A" * 5000, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
     "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
     "-----BEGIN PUBLIC KEY-----\n=\n-----END PUBLIC KEY-----"],
)  # fmt: skip
def test_another_text_is_no_key(text: str) -> None:
    with pytest.raises(KeyRejected):
        DevicePublicKey.from_registry(text)


def test_a_request_and_its_device_s_record_parse_their_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []

    def load(der: bytes) -> object:
        parsed.append(der)
        return load_der_public_key(der)

    monkeypatch.setattr(keys, "load_der_public_key", load)
    spki = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    requested = DevicePublicKey.from_spki_der(spki)
    assert DevicePublicKey.from_registry(keys.registry_text(spki)) == requested
    assert parsed == [spki]


def test_a_key_that_was_refused_is_refused_again(key_vector: tuple[Path, str | None]) -> None:
    path, reason = key_vector
    if reason is None:
        return
    for _ in range(2):
        with pytest.raises(KeyRejected):
            DevicePublicKey.from_spki_der(path.read_bytes())


def test_bytes_after_a_key_are_refused(public_key: DevicePublicKey) -> None:
    for text in (public_key.pem() * 2, base64.b64encode(public_key.spki + b"\x00").decode()):
        with pytest.raises(KeyRejected):
            DevicePublicKey.from_registry(text)


def test_a_private_key_is_no_public_key_and_is_not_repeated() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"  # pragma: allowlist secret
    with pytest.raises(KeyRejected) as caught:
        DevicePublicKey.from_registry(pem)
    assert "c2VjcmV0" not in str(caught.value)


def test_no_constructor_takes_a_key_that_is_not_on_the_list() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505
    for make in (DevicePublicKey, DevicePublicKey.from_key):
        with pytest.raises(KeyRejected) as caught:
            make(small)
        assert caught.value.reason is Reason.KEY_KIND
    with pytest.raises(KeyRejected):
        DevicePublicKey.from_key(ed25519.Ed25519PrivateKey.generate().public_key())


def test_a_key_does_not_show_itself(public_key: DevicePublicKey) -> None:
    assert "spki" not in repr(public_key)
    assert public_key.fingerprint in repr(public_key)


@given(text=st.text(max_size=200))
def test_no_text_raises_anything_but_a_rejection(text: str) -> None:
    with pytest.raises(KeyRejected):
        DevicePublicKey.from_registry(text)


@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(data: bytes) -> None:
    for make in (DevicePublicKey.from_spki_der, DevicePublicKey.from_pem):
        with pytest.raises(KeyRejected):
            make(data)
