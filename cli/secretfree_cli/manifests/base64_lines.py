"""One certificate or certificate request per line, as base64 of its DER, as scripts collect them from many devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import MAX_KEY_FILE, read_key_text
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.manifests.manifest import Entry, FileManifest, Row, at_least_one, bounded_lines


class Base64Manifest(FileManifest):
    """The device id is the common name; a request's signature is verified."""

    format = "base64"

    def __init__(self, path: Path, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        super().__init__(path)
        self._profile = profile

    def entries(self) -> Iterator[Entry]:
        """Yield the lines that are not blank."""
        with self._open_text() as stream:
            lines = (
                Entry.unreadable(number, f"a line of more than {MAX_KEY_FILE} bytes") if cut else Entry(number, line)
                for number, line, cut in bounded_lines(stream, MAX_KEY_FILE)
                if line.strip()
            )
            yield from at_least_one(lines, f"{self.name}: no line")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        material = read_key_text(entry.payload.decode("ascii", "replace"), self._profile)
        if material.common_name is None:
            raise RowRefused(
                Refusal.MISSING_DEVICE_ID, "no common name on the line; accepted: a certificate or certificate request"
            )
        return Row(material.common_name, material.public_key)
