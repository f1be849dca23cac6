"""A CC32xx's UDID that the table has in another spelling is named as such."""

import pytest
from secretfree.registry.spelling import holder_detail

UDID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
COLONS = ":".join(UDID[at : at + 2] for at in range(0, 32, 2))


@pytest.mark.parametrize(
    ("device_id", "holder", "cure"),
    [
        (UDID, UDID.upper(), "remove"),
        (UDID, COLONS, "remove"),
        (UDID.upper(), UDID, "profile TI_CC32XX"),
        (COLONS, UDID, "profile TI_CC32XX"),
    ],
)
def test_the_same_udid_in_two_spellings_is_said_with_what_to_do(device_id: str, holder: str, cure: str) -> None:
    detail = holder_detail(device_id, holder)
    assert "the same UDID" in detail
    assert cure in detail


@pytest.mark.parametrize("holder", ["dev-2", "f" * 32, "a/b"])
def test_another_device_is_only_named(holder: str) -> None:
    assert holder_detail(UDID, holder) == f"the key is enrolled for {holder}"
