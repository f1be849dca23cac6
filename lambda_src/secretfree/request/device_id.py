"""Device identities: the one form that a registry key, a thing name and a subject CN share."""

import re
from typing import Final, Self

from secretfree.errors import ErrorCode, Reason, SecretFreeError

DEVICE_ID_FORM: Final = "1 to 64 characters of a-z, A-Z, 0-9, ':', '_' and '-'"
UDID_FORM: Final = "16 bytes as 32 hex digits of either case, with or without spaces or colons between the bytes"

# IoT Core would take 128 characters for a thing name; X.520 caps a common name (ub-common-name) at 64.
_DEVICE_ID: Final = re.compile(r"[a-zA-Z0-9:_-]{1,64}", re.ASCII)
_UDID: Final = re.compile(r"[0-9a-fA-F]{2}(?:[ :]?[0-9a-fA-F]{2}){15}", re.ASCII)


class DeviceId(str):
    """A device id known to have the accepted form. Made by `parse` alone."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Refuse direct construction with anything that `parse` would refuse, so that no bad one can exist."""
        if _DEVICE_ID.fullmatch(value) is None:
            raise SecretFreeError(
                ErrorCode.MALFORMED_REQUEST,
                f"device id {_shown(value)}: accepted are {DEVICE_ID_FORM}",
                reason=Reason.DEVICE_ID,
            )
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The device id that `text` is; raises SecretFreeError (`malformed-request`) naming the accepted form."""
        return cls(text)

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Whether `parse` would take `text`."""
        return _DEVICE_ID.fullmatch(text) is not None


def normalise_udid(text: str) -> DeviceId:
    """The 32 lower-case hex digits of a TI CC32xx UDID, as its UART, its SDK or a label writes it.

    Raises SecretFreeError (`malformed-request`) for anything but 16 bytes in hex.
    """
    trimmed = text.strip(" \t\r\n")
    if _UDID.fullmatch(trimmed) is None:
        raise SecretFreeError(
            ErrorCode.MALFORMED_REQUEST, f"UDID {_shown(text)}: accepted are {UDID_FORM}", reason=Reason.DEVICE_ID
        )
    return DeviceId.parse(trimmed.replace(" ", "").replace(":", "").lower())


def _shown(text: str) -> str:
    """A form safe in a terminal and a log line: ASCII, escaped, bounded."""
    return ascii(text) if len(text) <= 80 else f"{text[:80]!a}... ({len(text)} characters)"
