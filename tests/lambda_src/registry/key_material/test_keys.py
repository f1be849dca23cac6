"""Key material in every form in which people and tools write it: read, or refused with a reason."""

from collections.abc import Sequence

import pytest
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import read_certificates, read_key_material, read_key_text
from secretfree.request import der
from secretfree.request.keys import DevicePublicKey
from support.key_samples import (
    ENCODED,
    KEY,
    MATERIAL,
    PKCS1,
    PUBLIC,
    REFUSED_MATERIAL,
    RSA,
    TEXT_AROUND,
    certificate,
    der_of,
    fingerprint,
    hostile_certificates,
    request,
)

IN_PEM = [PUBLIC.pem().encode(), request("d-1"), certificate("d-1")]


@pytest.mark.parametrize("kind", list(MATERIAL))
def test_a_text_may_be_any_kind_of_key_material(kind: str) -> None:
    text, key = MATERIAL[kind]
    assert read_key_text(text).public_key.fingerprint == fingerprint(key)


@pytest.mark.parametrize(
    "kind", [kind for kind, (_, reason) in REFUSED_MATERIAL.items() if reason is not Refusal.IDENTITY_MISMATCH]
)
def test_other_material_is_refused_with_its_reason(kind: str) -> None:
    text, reason = REFUSED_MATERIAL[kind]
    with pytest.raises(RowRefused) as refused:
        read_key_text(text)
    assert refused.value.reason == reason


@pytest.mark.parametrize("encoding", list(ENCODED))
@pytest.mark.parametrize("material", IN_PEM)
def test_a_key_file_is_read_in_every_encoding_and_with_every_line_end(encoding: str, material: bytes) -> None:
    assert read_key_material(ENCODED[encoding](material.decode())).public_key == PUBLIC


@pytest.mark.parametrize("around", TEXT_AROUND)
@pytest.mark.parametrize("material", IN_PEM)
def test_text_around_a_block_is_passed_over(around: str, material: bytes) -> None:
    assert read_key_material(around.format(material.decode()).encode()).public_key == PUBLIC


def test_line_ends_that_a_program_wrote_out_are_line_ends() -> None:
    assert read_key_text(PUBLIC.pem().replace("\n", "\\n")).public_key == PUBLIC


@pytest.mark.parametrize("kind", list(hostile_certificates()))
def test_a_signers_certificate_that_cannot_be_read_is_an_answer_and_no_crash(kind: str) -> None:
    data = hostile_certificates()[kind]
    for form in (data, der_of(data)):
        try:
            read = read_certificates(form)
        except RowRefused as refused:
            assert refused.reason == Refusal.MALFORMED_ROW  # noqa: PT017
        else:
            assert all(list(one.extensions) is not None for one in read)


def test_der_is_recognised_by_what_it_holds() -> None:
    pkcs1 = der_of(PKCS1)
    assert der.first_element(pkcs1).tag == der.SEQUENCE
    found: Sequence[DevicePublicKey] = [
        read_key_material(data).public_key for data in (pkcs1, der_of(request("d-1")), PUBLIC.spki)
    ]
    assert [one.fingerprint for one in found] == [fingerprint(RSA), fingerprint(KEY), fingerprint(KEY)]


@pytest.mark.parametrize("rubbish", [b"", b"0\x03\x02\x01\x01", b"\xff\xfe", b"A" * 100_000])
def test_other_bytes_are_refused(rubbish: bytes) -> None:
    with pytest.raises(RowRefused):
        read_key_material(rubbish)


def test_certificates_and_requests_name_their_device() -> None:
    in_der = [PUBLIC.spki, der_of(request("d-2")), der_of(certificate("d-3"))]
    assert [read_key_material(data).common_name for data in in_der] == [None, "d-2", "d-3"]
