"""Device ids: the common form of a registry key, a thing name and a subject CN."""

import re
from typing import Final, Self

from secretfree.errors import ErrorCode, Reason, SecretFreeError

DEVICE_ID_FORM: Final = "1 to 64 characters of a-z, A-Z, 0-9, ':', '_' and '-'"
UDID_FORM: Final = "16 bytes as 32 hex digits of either case, with or without spaces or colons between the bytes"

# IoT Core accepts 128 characters for a thing name; X.520 limits a common name to 64 (ub-common-name).
_DEVICE_ID: Final = re.compile(r"[a-zA-Z0-9:_-]{1,64}", re.ASCII)
_UDID: Final = re.compile(r"[0-9a-fA-F]{2}(?:[ :]?[0-9a-fA-F]{2}){15}", re.ASCII)


class DeviceId(str):
    """A device id of the accepted form. Only `parse` makes one."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Refuse, also at direct construction, any text that `parse` refuses, so that no invalid id can exist."""
        if _DEVICE_ID.fullmatch(value) is None:
            raise SecretFreeError(
                ErrorCode.MALFORMED_REQUEST,
                f"device id {_shown(value)}; accepted: {DEVICE_ID_FORM}",
                reason=Reason.DEVICE_ID,
            )
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a device id; raises SecretFreeError (`malformed-request`) naming the accepted form."""
        return cls(text)

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Whether `parse` accepts `text`."""
        return _DEVICE_ID.fullmatch(text) is not None


def normalise_udid(text: str) -> DeviceId:
    """The 32 lower-case hex digits of a TI CC32xx UDID, from any spelling of its UART, its SDK or a label.

    Raises SecretFreeError (`malformed-request`) for anything but 16 bytes in hex.
    """
    trimmed = text.strip(" \t\r\n")
    if _UDID.fullmatch(trimmed) is None:
        raise SecretFreeError(
            ErrorCode.MALFORMED_REQUEST, f"UDID {_shown(text)}; accepted: {UDID_FORM}", reason=Reason.DEVICE_ID
        )
    return DeviceId.parse(trimmed.replace(" ", "").replace(":", "").lower())


def _shown(text: str) -> str:
    """A form that is safe in terminals and logs: ASCII, escaped, of bounded length."""
    return ascii(text) if len(text) <= 80 else f"{text[:80]!a}... ({len(text)} characters)"
