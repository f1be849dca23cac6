"""A manifest of one device from the command line: `enroll device DEVICE_ID --public-key FILE`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secretfree.registry.key_material.keys import read_key_material, require_same_device
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.manifests.manifest import Entry, Row


@dataclass(frozen=True)
class SingleDevice:
    """One device id, and the bytes of its public key, request or certificate (none under match policy UDID)."""

    device_id: str
    key_material: bytes | None
    name: str
    profile: DeviceProfile = DeviceProfile.STANDARD
    format: str = "command-line"

    @property
    def size(self) -> int:
        """Bytes of the key material."""
        return len(self.key_material or b"")

    @property
    def remarks(self) -> Sequence[str]:
        """Empty: there is one row."""
        return ()

    @property
    def not_read(self) -> Sequence[str]:
        """Empty: there is no folder."""
        return ()

    @property
    def consumed(self) -> int:
        """The whole size: the file is in memory."""
        return self.size

    def digest(self) -> str:
        """SHA-256 of the key material, lower-case hex."""
        return hashlib.sha256(self.key_material or b"").hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Yield the one entry."""
        yield Entry(1)

    def interpret(self, entry: Entry) -> Row:  # noqa: ARG002 - the protocol's; there is one entry only
        """Return the row; raises RowRefused for a key that cannot be read or names another device."""
        if self.key_material is None:
            return Row(self.device_id, None)
        material = read_key_material(self.key_material, self.profile)
        require_same_device(self.device_id, material, self.profile)
        return Row(self.device_id, material.public_key)
