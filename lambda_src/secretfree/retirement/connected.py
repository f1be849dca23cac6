"""A device's connect from AWS IoT Core's presence events, which may be repeated, late or out of order."""

import json
import re
from dataclasses import dataclass
from typing import Final, Self

from secretfree.errors import SecretFreeError
from secretfree.request.device_id import DeviceId

_CERTIFICATE_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Connected:
    """The device that connected, and the certificate that it used. AWS IoT Core authenticated both."""

    device_id: DeviceId
    certificate_id: str

    @classmethod
    def from_message(cls, body: str) -> Self | None:
        """The connect that the topic rule reported; None for a client that is not a device of this product.

        The events come from all clients of the account: some connect without a certificate, or with a client id that is
        not a device id. Raises ValueError for a message that the rule does not send.
        """
        match json.loads(body):
            case {"clientId": str(client), "principalIdentifier": str(principal)}:
                pass
            case _:
                raise ValueError("not a JSON object with the texts clientId and principalIdentifier")
        if _CERTIFICATE_ID.fullmatch(principal) is None:
            return None
        try:
            return cls(device_id=DeviceId.parse(client), certificate_id=principal)
        except SecretFreeError:
            return None
