"""The little of DER that is read by hand."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.request import der


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 | (n := (size.bit_length() + 7) // 8)]) + size.to_bytes(n)
    return bytes([tag]) + length + content


@given(tag=st.integers(0, 255).filter(lambda tag: tag & 0x1F != 0x1F), content=st.binary(max_size=400))
def test_an_element_is_read_as_it_was_written(tag: int, content: bytes) -> None:
    encoded = _encode(tag, content)
    element = der.first_element(encoded + b"after")
    assert (element.tag, element.raw, element.content) == (tag, encoded, content)


@given(contents=st.lists(st.binary(max_size=10), max_size=5))
def test_elements_fill_what_holds_them(contents: list[bytes]) -> None:
    parent = der.first_element(_encode(der.SEQUENCE, b"".join(_encode(der.INTEGER, content) for content in contents)))
    assert [child.content for child in parent.children_of(der.INTEGER)] == contents
    assert parent.children(*[der.INTEGER] * len(contents)) == parent.children_of(der.INTEGER)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "without tag or length"),
        (b"\x30", "without tag or length"),
        (b"\x30\x01", "longer than the one around it"),
        (b"\x30\x82\x01", "all of its length"),
        (b"\x30\x80\x00\x00", "indefinite or not minimal"),
        (b"\x30\x81\x7f" + bytes(127), "indefinite or not minimal"),
        (b"\x30\x82\x00\x80" + bytes(128), "indefinite or not minimal"),
        (b"\x1f\x01\x00", "more than one byte"),
    ],
)
def test_what_is_not_der_is_refused(data: bytes, word: str) -> None:
    with pytest.raises(der.DerError, match=word):
        der.first_element(data)


def test_other_elements_than_expected_are_refused() -> None:
    parent = der.first_element(b"\x30\x04\x02\x00\x05\x00")
    with pytest.raises(der.DerError, match="other elements"):
        parent.children(der.INTEGER)
    with pytest.raises(der.DerError, match="another tag"):
        parent.children_of(der.INTEGER)


@given(data=st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(der.DerError):
        assert b"".join(element.raw for element in der.elements(data)) == data


@given(tag=st.integers(0, 255).filter(lambda tag: tag & 0x1F != 0x1F), content=st.binary(max_size=70_000))
def test_what_is_encoded_is_read_again(tag: int, content: bytes) -> None:
    assert der.first_element(der.encode(tag, content)).content == content


@pytest.mark.parametrize("data", [b"\x30\x80\x00\x00", b"\x30\x81\x7f" + bytes(127), b"\x1f\x01\x00"])
def test_ber_is_distinguished_from_what_is_neither(data: bytes) -> None:
    with pytest.raises(der.NotDerError):
        der.first_element(data)
    with pytest.raises(der.DerError) as caught:
        der.first_element(b"\x30\x05\x00")
    assert not isinstance(caught.value, der.NotDerError)
