"""Device ids and UDIDs."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.request.device_id import DeviceId, normalise_udid

UDID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


@pytest.mark.parametrize("text", ["a", "A-Z_0:9", "a" * 64, UDID])
def test_a_device_id_of_the_accepted_form_is_itself(text: str) -> None:
    assert DeviceId.parse(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a" * 65, "a b", "a\n", "a/b", "a+b", "a#", "*", "\u00e4", "\u0661", "a\x00", "batch#1", "${iot:x}", "a.b"],
)
def test_another_text_is_refused_by_every_way_in(text: str) -> None:
    assert not DeviceId.is_valid(text)
    for make in (DeviceId, DeviceId.parse):
        with pytest.raises(SecretFreeError, match="accepted: 1 to 64 characters") as caught:
            make(text)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.MALFORMED_REQUEST, Reason.DEVICE_ID)


def test_an_error_shows_a_bounded_and_escaped_text() -> None:
    with pytest.raises(SecretFreeError) as caught:
        DeviceId.parse("\x1b[31m" + "x" * 10_000)
    assert "\x1b" not in caught.value.detail
    assert len(caught.value.detail) < 250
    assert "(10005 characters)" in caught.value.detail


def test_a_device_id_survives_copies() -> None:
    device_id = DeviceId.parse("widget-1")
    for twin in (copy.deepcopy(device_id), pickle.loads(pickle.dumps(device_id))):  # noqa: S301
        assert (twin, type(twin)) == (device_id, DeviceId)


@given(text=st.from_regex(r"[a-zA-Z0-9:_-]{1,64}", fullmatch=True))
def test_parsing_takes_the_whole_pattern(text: str) -> None:
    assert DeviceId.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        UDID,
        UDID.upper(),
        " ".join(UDID[i : i + 2] for i in range(0, 32, 2)),
        ":".join(UDID[i : i + 2].upper() for i in range(0, 32, 2)) + "\r\n",
    ],
)
def test_a_udid_in_any_writing_is_the_same_32_digits(text: str) -> None:
    assert normalise_udid(text) == UDID


@pytest.mark.parametrize("text", ["", UDID[:-1], UDID + "00", "g" * 32, UDID[:16] + "-" + UDID[16:], "0 a" + UDID[2:]])
def test_another_text_is_no_udid(text: str) -> None:
    with pytest.raises(SecretFreeError, match="16 bytes as 32 hex digits"):
        normalise_udid(text)
