"""Device profiles: the rules that are relaxed for a family of devices."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from secretfree import contract
from secretfree.errors import SecretFreeError
from secretfree.request.device_id import DeviceId, normalise_udid


class DeviceProfile(Enum):
    """Which rules of the CSR are relaxed.

    `STANDARD` relaxes none. `TI_CC32XX` accepts the requests of TI's SDK: a proof of possession over SHA-1 (no
    certificate is ever signed with it; an attacker would have to make the device sign a chosen colliding request), a
    subject with e-mail and surname, and a CN that is a UDID in any of its spellings.
    """

    STANDARD = contract.DeviceProfile.STANDARD.value
    TI_CC32XX = contract.DeviceProfile.TI_CC32XX.value

    @property
    def accepts_sha1_proof_of_possession(self) -> bool:
        """Whether the CSR itself may be signed over SHA-1."""
        return self is DeviceProfile.TI_CC32XX

    @property
    def accepts_personal_subject_attributes(self) -> bool:
        """Whether the subject may carry `emailAddress` and `surname`."""
        return self is DeviceProfile.TI_CC32XX

    @property
    def truncates_common_names(self) -> bool:
        """Whether the CN may be empty: TI's example drops all UDID bytes from the first one below 0x10."""
        return self is DeviceProfile.TI_CC32XX

    def device_id(self, common_name: str) -> DeviceId | None:
        """The device id in a CN, or None if the CN is no device id."""
        if self is DeviceProfile.TI_CC32XX and (udid := _udid(common_name)) is not None:
            return udid
        return DeviceId.parse(common_name) if DeviceId.is_valid(common_name) else None

    def normalise_device_id(self, text: str) -> DeviceId:
        """The id under which a device of this profile is enrolled; raises SecretFreeError for any other text."""
        return self.device_id(text) or DeviceId.parse(text)


PROFILES: Final[Mapping[str, DeviceProfile]] = {profile.value: profile for profile in DeviceProfile}


def _udid(common_name: str) -> DeviceId | None:
    try:
        return normalise_udid(common_name)
    except SecretFreeError:
        return None
