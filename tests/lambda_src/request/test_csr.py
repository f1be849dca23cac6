"""The rules for a certificate signing request, by vectors, by encodings and by properties."""

import base64
import hashlib
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.request import csr as csr_module
from secretfree.request import pkcs10
from secretfree.request.csr import (
    MAX_DER_BYTES,
    MAX_HEADER_CHARACTERS,
    UnverifiedCsr,
    VerifiedCsr,
    check,
    parse_header_value,
    verify,
)
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

Vector = tuple[Path, DeviceProfile, dict[str, Any]]


def _refusal(action: Callable[[], object]) -> SecretFreeError:
    with pytest.raises(SecretFreeError) as caught:
        action()
    return caught.value


# --- vectors ---


def test_each_vector_has_its_verdict(csr_vector: Vector) -> None:
    path, profile, expected = csr_vector
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a library's warning would be a line in the log that is not on the allow-list
        if expected["reason"] is None:
            assert verify(UnverifiedCsr.from_der(data), profile).device_id == expected["deviceId"]
        else:
            refusal = _refusal(lambda: verify(UnverifiedCsr.from_der(data), profile))
            assert refusal.reason == expected["reason"]


def test_only_a_bad_signature_is_a_refusal_that_could_depend_on_devices(csr_vector: Vector) -> None:
    path, profile, expected = csr_vector
    if expected["reason"] is None:
        return
    refusal = _refusal(lambda: verify(UnverifiedCsr.from_der(path.read_bytes()), profile))
    bad_signature = expected["reason"] == Reason.BAD_SIGNATURE
    assert refusal.code == (ErrorCode.NOT_AUTHORIZED if bad_signature else ErrorCode.MALFORMED_REQUEST)


# --- encodings of the header ---


def _pem(der: bytes, *, line_end: str = "\n", width: int = 64, label: str = "CERTIFICATE REQUEST") -> bytes:
    body = textwrap.wrap(base64.b64encode(der).decode(), width)
    return line_end.join([f"-----BEGIN {label}-----", *body, f"-----END {label}-----", ""]).encode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "", " "], ids=["LF", "CRLF", "CR", "none", "space"])
@pytest.mark.parametrize("width", [64, 76, 10_000], ids=["64", "76", "one-line"])
def test_a_pem_is_read_with_any_line_ends_and_width(
    csr_der: Callable[..., bytes], header_value: Callable[[bytes], str], line_end: str, width: int
) -> None:
    der = csr_der()
    assert parse_header_value(header_value(_pem(der, line_end=line_end, width=width))) == der


def test_der_is_read(csr_der: Callable[..., bytes], header_value: Callable[[bytes], str]) -> None:
    der = csr_der()
    assert parse_header_value(header_value(der)) == der


def test_a_pem_may_be_labelled_as_new(csr_der: Callable[..., bytes], header_value: Callable[[bytes], str]) -> None:
    der = csr_der()
    assert parse_header_value(header_value(_pem(der, label="NEW CERTIFICATE REQUEST"))) == der


def test_white_space_around_a_header_value_is_no_part_of_it(csr_der: Callable[..., bytes]) -> None:
    der = csr_der()
    assert parse_header_value(f" \t{base64.b64encode(der).decode()} ") == der


@pytest.mark.parametrize(
    "value",
    [
        "",
        "%%%%",
        "AAA",
        "AAAA=",
        "AA==AA==",
        "AB==",  # the unused bits are not zero
        "AAAA\nAAAA",
        "AAAA AAAA",
        "-_-_",
        "AAAA,AAAA",
        "\u00c4AAA",
        "\u0661AAA",
    ],
)
def test_what_is_not_canonical_base64_is_malformed(value: str) -> None:
    refusal = _refusal(lambda: UnverifiedCsr.from_header_value(value))
    assert refusal.code is ErrorCode.MALFORMED_REQUEST
    assert refusal.reason in {Reason.NOT_BASE64, Reason.NOT_A_CSR}


def test_a_header_value_is_bounded_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csr_module.binascii, "a2b_base64", lambda *_args, **_kwargs: pytest.fail("decoded"))
    assert _refusal(lambda: parse_header_value("A" * (MAX_HEADER_CHARACTERS + 4))).reason is Reason.OVERSIZED


def test_der_is_bounded_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkcs10.x509, "load_der_x509_csr", lambda *_args: pytest.fail("parsed"))
    assert _refusal(lambda: UnverifiedCsr.from_der(b"\x30" * (MAX_DER_BYTES + 1))).reason is Reason.OVERSIZED


def test_nine_kilobytes_of_noise_are_malformed(header_value: Callable[[bytes], str]) -> None:
    noise = hashlib.shake_256(b"noise").digest(9 * 1024)
    assert _refusal(lambda: UnverifiedCsr.from_header_value(header_value(noise))).code is ErrorCode.MALFORMED_REQUEST
    text = noise.hex()[: 9 * 1024]
    assert _refusal(lambda: UnverifiedCsr.from_header_value(text)).code is ErrorCode.MALFORMED_REQUEST


def test_the_longest_accepted_request_fits_what_iot_core_takes() -> None:
    body = base64.b64encode(bytes(MAX_DER_BYTES)).decode()
    pem = "\n".join(
        ["-----BEGIN CERTIFICATE REQUEST-----", *textwrap.wrap(body, 64), "-----END CERTIFICATE REQUEST-----\n"]
    )
    assert len(pem) <= 4096
    assert len(base64.b64encode(pem.replace("\n", "\r\n").encode())) <= MAX_HEADER_CHARACTERS


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda der: _pem(der) + b"x", Reason.TRAILING_BYTES),
        (lambda der: _pem(der) + b"\x00", Reason.TRAILING_BYTES),
        (lambda der: _pem(der) + _pem(der), Reason.TRAILING_BYTES),
        (lambda der: _pem(der + b"\x00"), Reason.TRAILING_BYTES),
        (lambda der: der + b"\n", Reason.TRAILING_BYTES),
        (lambda der: _pem(der)[:-10], Reason.NOT_A_CSR),
        (lambda der: _pem(der, label="CERTIFICATE"), Reason.NOT_A_CSR),
        (lambda der: _pem(der).replace(b"BEGIN CERT", b"BEGIN NEW CERT"), Reason.NOT_A_CSR),
        (lambda der: _pem(der).replace(b"REQUEST-----\n", b"REQUEST-----\nProc-Type: 4\n\n", 1), Reason.NOT_A_CSR),
        (lambda der: b"Subject: me\n" + _pem(der), Reason.TEXT_BEFORE_PEM),
        (lambda der: b"0 lines\n" + _pem(der), Reason.TEXT_BEFORE_PEM),
        (lambda der: b"\xef\xbb\xbf" + _pem(der), Reason.TEXT_BEFORE_PEM),
        (lambda _der: _pem(b""), Reason.NOT_A_CSR),
        (lambda der: _pem(der).replace(b"-----END", b"A\n-----END"), Reason.NOT_BASE64),
        (base64.b64encode, Reason.NOT_A_CSR),
    ],
)  # fmt: skip
def test_what_stands_beside_the_request_is_refused(
    csr_der: Callable[..., bytes],
    header_value: Callable[[bytes], str],
    wrap: Callable[[bytes], bytes],
    reason: Reason,
) -> None:
    assert _refusal(lambda: UnverifiedCsr.from_header_value(header_value(wrap(csr_der())))).reason is reason


def test_every_truncation_is_malformed(csr_der: Callable[..., bytes]) -> None:
    der = csr_der()
    for length in range(len(der)):
        assert _refusal(lambda size=length: UnverifiedCsr.from_der(der[:size])).reason is Reason.NOT_A_CSR  # type: ignore[misc]


# --- the canonical form ---

_VECTORS = Path(__file__).parents[1] / "vectors/csr"


@pytest.mark.parametrize(
    "path", sorted(_VECTORS.glob("parameters-*-null.der")) + sorted(_VECTORS.glob("parameters-rsa-*"))
)
def test_the_algorithm_outside_the_signature_is_brought_to_its_canonical_form(path: Path) -> None:
    sent = path.read_bytes()
    verified = verify(UnverifiedCsr.from_der(sent), DeviceProfile.TI_CC32XX)
    assert len(verified.der) == len(sent) + (2 if "-rsa-" in path.name else -2)
    parsed = x509.load_der_x509_csr(verified.der)
    assert parsed.tbs_certrequest_bytes in sent
    assert verified.digest == hashlib.sha256(verified.der).hexdigest()
    assert base64.b64decode("".join(verified.pem().splitlines()[1:-1])) == verified.der


def test_a_request_in_canonical_form_stays_as_it_was_sent(csr_der: Callable[..., bytes]) -> None:
    der = csr_der()
    assert UnverifiedCsr.from_der(der).der == der


def test_a_request_that_only_its_canonical_form_makes_too_long_is_refused() -> None:
    short = (_VECTORS / "parameters-rsa-sha256-absent.der").read_bytes()
    assert UnverifiedCsr.from_der(short).der != short
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(csr_module, "MAX_DER_BYTES", len(short))
        assert _refusal(lambda: UnverifiedCsr.from_der(short)).reason is Reason.OVERSIZED


# --- the element at fault ---


@pytest.mark.parametrize(
    ("vector", "element"),
    [
        ("structure-version-2", "version"),
        ("structure-no-version", "version"),
        ("structure-no-attributes", "attributes"),
        ("structure-attributes-unsorted", "attributes"),
        ("structure-fifth-element", "request"),
        ("structure-length-not-minimal", "request"),
        ("structure-subject-attribute-alone", "subject"),
        ("common-name-printable-with-underscore", "subject"),
        ("common-name-two", "subject"),
        ("structure-algorithm-empty", "signatureAlgorithm"),
        ("algorithm-rsa-pss", "signatureAlgorithm"),
        ("structure-signature-unused-bits", "signature"),
        ("signature-form-raw", "signature"),
        ("signature-forged", "signature"),
        ("key-ec-compressed-point", "subjectPKInfo"),
        ("key-ec-no-curve", "subjectPKInfo"),
        ("key-rsa-1024", "subjectPKInfo"),
        ("extension-ca-true", "extensionRequest"),
        ("extension-unreadable", "extensionRequest"),
    ],
)
def test_the_element_at_fault_is_named(vector: str, element: str) -> None:
    data = (_VECTORS / f"{vector}.der").read_bytes()
    fault = check(data, DeviceProfile.STANDARD)
    assert fault is not None
    assert fault.element == element
    assert fault.detail.startswith(f"{element}: ")
    assert _refusal(lambda: verify(UnverifiedCsr.from_der(data), DeviceProfile.STANDARD)).detail == fault.detail


def test_a_request_that_passes_has_no_fault(csr_der: Callable[..., bytes]) -> None:
    der = csr_der()
    assert [check(data, DeviceProfile.STANDARD) for data in (der, _pem(der), _pem(der, line_end="\r"))] == [None] * 3


def test_the_form_of_an_rsa_key_is_not_said_in_the_words_of_curves() -> None:
    fault = check((_VECTORS / "key-rsa-no-parameters.der").read_bytes(), DeviceProfile.STANDARD)
    assert fault is not None
    assert "curve and" not in fault.detail


# --- what a verified request says ---


def test_a_verified_request_has_its_device_id(csr_der: Callable[..., bytes], public_key: DevicePublicKey) -> None:
    der = csr_der("Widget:1")
    verified = verify(UnverifiedCsr.from_der(der), DeviceProfile.STANDARD)
    assert (verified.common_name, verified.device_id, verified.public_key) == ("Widget:1", "Widget:1", public_key)
    assert (verified.der, verified.digest) == (der, hashlib.sha256(der).hexdigest())


def test_the_pem_is_what_the_library_writes(verified_csr: Callable[..., VerifiedCsr]) -> None:
    verified = verified_csr()
    assert verified.pem().encode() == x509.load_der_x509_csr(verified.der).public_bytes(Encoding.PEM)


def test_nothing_but_verify_makes_a_verified_request(verified_csr: Callable[..., VerifiedCsr]) -> None:
    verified = verified_csr()
    with pytest.raises(TypeError, match="verify makes"):
        VerifiedCsr(verified.der, "widget-2", None, verified.public_key, object())
    with pytest.raises((TypeError, ValueError)):
        replace(verified, common_name="widget-2")


def test_neither_type_shows_the_request_in_its_representation(csr_der: Callable[..., bytes]) -> None:
    unverified = UnverifiedCsr.from_der(csr_der())
    for shown in (repr(unverified), repr(verify(unverified, DeviceProfile.STANDARD))):
        assert len(shown) < 400
        assert "\\x" not in shown
        assert unverified.parts.signature.hex() not in shown


def test_a_sha1_proof_of_possession_is_checked_and_not_just_taken() -> None:
    # The library signs nothing over SHA-1, so the vectors bring the good one; a broken copy of it is no good.
    good = (Path(__file__).parents[1] / "vectors/csr/cc32xx-sdk.der").read_bytes()
    broken = good.replace(b"Dallas", b"Dollar")
    assert verify(UnverifiedCsr.from_der(good), DeviceProfile.TI_CC32XX).device_id
    refusal = _refusal(lambda: verify(UnverifiedCsr.from_der(broken), DeviceProfile.TI_CC32XX))
    assert refusal.reason is Reason.BAD_SIGNATURE


# --- never ---


def test_a_panic_of_the_parser_is_a_refusal(csr_der: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def panicking(_data: bytes) -> None:
        raise panic

    monkeypatch.setattr(pkcs10.x509, "load_der_x509_csr", panicking)
    assert _refusal(lambda: UnverifiedCsr.from_der(csr_der())).reason is Reason.NOT_A_CSR


def test_an_interrupt_is_no_refusal(csr_der: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pkcs10.x509, "load_der_x509_csr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        UnverifiedCsr.from_der(csr_der())


def test_a_request_that_two_parsers_read_differently_is_refused(
    csr_der: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    another = x509.load_der_x509_csr(csr_der("widget-2"))
    monkeypatch.setattr(pkcs10.x509, "load_der_x509_csr", lambda _data: another)
    assert _refusal(lambda: UnverifiedCsr.from_der(csr_der())).reason is Reason.NOT_A_CSR


def _verify_or_refuse(value: str, profile: DeviceProfile) -> VerifiedCsr | None:
    try:
        return verify(UnverifiedCsr.from_header_value(value), profile)
    except SecretFreeError as refusal:
        assert refusal.code in {ErrorCode.MALFORMED_REQUEST, ErrorCode.NOT_AUTHORIZED}  # noqa: PT017
        return None


@given(text=st.text(max_size=300), profile=st.sampled_from(DeviceProfile))
def test_no_text_raises_anything_but_a_refusal(text: str, profile: DeviceProfile) -> None:
    assert _verify_or_refuse(text, profile) is None


@given(data=st.binary(max_size=600), profile=st.sampled_from(DeviceProfile))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, profile: DeviceProfile) -> None:
    assert _verify_or_refuse(base64.b64encode(data).decode(), profile) is None


_SEEDS = sorted((Path(__file__).parents[1] / "vectors/csr").glob("*.der"))


@given(
    seed=st.sampled_from(_SEEDS),
    edits=st.lists(
        st.tuples(st.integers(min_value=0), st.integers(0, 255), st.sampled_from("rid")), min_size=1, max_size=4
    ),
    profile=st.sampled_from(DeviceProfile),
)
def test_no_mutation_of_a_request_is_verified(
    seed: Path, edits: list[tuple[int, int, str]], profile: DeviceProfile
) -> None:
    original = seed.read_bytes()
    mutated = bytearray(original)
    for where, byte, kind in edits:
        position = where % max(len(mutated), 1)
        match kind:
            case "r":
                mutated[position : position + 1] = bytes([byte])
            case "i":
                mutated[position:position] = bytes([byte])
            case _:
                del mutated[position : position + 1]
    verified = _verify_or_refuse(base64.b64encode(bytes(mutated)).decode(), profile)
    if verified is not None:  # nothing but the parameters of the outer algorithm, which the signature does not cover
        assert verified.der == UnverifiedCsr.from_der(original).der


@pytest.mark.parametrize("which", ["p256_key", "rsa_key"])
def test_no_flipped_bit_of_a_request_is_verified(
    csr_der: Callable[..., bytes], which: str, request: pytest.FixtureRequest
) -> None:
    der = csr_der(key=request.getfixturevalue(which), digest=hashes.SHA384())
    for position in range(len(der)):
        flipped = bytearray(der)
        flipped[position] ^= 1 << position % 8
        for profile in DeviceProfile:
            assert _verify_or_refuse(base64.b64encode(bytes(flipped)).decode(), profile) is None
