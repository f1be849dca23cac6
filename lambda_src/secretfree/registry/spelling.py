"""One chip under two ids: the UDID of a CC32xx has several spellings, and the profile looks up only one of them."""

from secretfree.request.device_profile import DeviceProfile


def holder_detail(device_id: str, holder: str) -> str:
    """Return the detail for a key of `device_id` that `holder` has.

    With advice if both are one UDID in two spellings.
    """
    held = f"the key is enrolled for {holder}"
    canonical = DeviceProfile.TI_CC32XX.device_id(holder)
    if canonical is None or canonical != DeviceProfile.TI_CC32XX.device_id(device_id):
        return held
    if holder == canonical:
        return f"{held}, the same UDID: import the file with the device profile TI_CC32XX"
    return f"{held}, the same UDID in a spelling that no device is looked up by: remove {holder}, then import it again"
