"""The text decoder: encodings and line ends."""

import io

from hypothesis import given
from hypothesis import strategies as st
from secretfree.registry.key_material.text import normalised, text_stream


@given(st.binary(max_size=300), st.sampled_from(["utf-8", "utf-16", "utf-16-le"]))
def test_a_text_is_the_same_read_whole_or_as_a_stream(data: bytes, encoding: str) -> None:
    text = data.decode("latin-1").encode(encoding) if encoding != "utf-8" else data
    assert text_stream(io.BytesIO(text)).read() == normalised(text)
    assert b"\r" not in normalised(text)
