"""What each family of devices is allowed."""

import pytest
from secretfree.errors import SecretFreeError
from secretfree.request.device_profile import PROFILES, DeviceProfile

STANDARD, CC32XX = DeviceProfile.STANDARD, DeviceProfile.TI_CC32XX
UDID = "0A1B2C3D4E5F60718293A4B5C6D7E8F9"


def test_profiles_are_found_by_their_name() -> None:
    assert dict(PROFILES) == {"STANDARD": STANDARD, "TI_CC32XX": CC32XX}


def test_the_standard_profile_relaxes_nothing() -> None:
    assert not STANDARD.accepts_sha1_proof_of_possession
    assert not STANDARD.accepts_personal_subject_attributes
    assert not STANDARD.truncates_common_names


def test_the_cc32xx_profile_relaxes_what_its_sdk_needs() -> None:
    assert CC32XX.accepts_sha1_proof_of_possession
    assert CC32XX.accepts_personal_subject_attributes
    assert CC32XX.truncates_common_names


@pytest.mark.parametrize(
    ("profile", "common_name", "device_id"),
    [
        (STANDARD, UDID, UDID),
        (CC32XX, UDID, UDID.lower()),
        (CC32XX, "widget-1", "widget-1"),
        (STANDARD, "0A 1B", None),
        (CC32XX, "", None),
        (CC32XX, "wid*", None),
    ],
)
def test_a_common_name_stands_for_a_device_id(profile: DeviceProfile, common_name: str, device_id: str | None) -> None:
    assert profile.device_id(common_name) == device_id


def test_enrolment_uses_the_same_id_as_the_request_and_says_what_is_accepted() -> None:
    assert CC32XX.normalise_device_id(UDID) == CC32XX.device_id(UDID)
    with pytest.raises(SecretFreeError, match="accepted: 1 to 64"):
        CC32XX.normalise_device_id("wid*")
