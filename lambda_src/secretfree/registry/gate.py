"""The gate for rows of files, in the CLI and in the cloud: a key may have any form that `read_key_text` accepts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secretfree.registry.admission import EnrollmentRecord, Row, admit
from secretfree.registry.key_material.keys import read_key_text, require_same_device
from secretfree.request.device_profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one stack: its device profile, and whether its match policy accepts a row without a key."""

    profile: DeviceProfile = DeviceProfile.STANDARD
    key_optional: bool = False

    def admit(self, row: Row) -> EnrollmentRecord:
        """Return the record of `row`.

        A certificate or request must name the row's device in its common name, if it names one. A request's signature
        must verify. The certificate of a CA is refused.

        Raises: RowRefused
        """
        key = row.public_key
        # Check the id first, so that the reason for a wrong id does not depend on the key.
        if isinstance(key, str) and key and row.device_id and self.profile.device_id(row.device_id) is not None:
            material = read_key_text(key, self.profile)
            require_same_device(row.device_id, material, self.profile)
            row = replace(row, public_key=material.public_key)
        return admit(
            row.device_id,
            row.public_key,
            profile=self.profile,
            status=row.status,
            fingerprint=row.fingerprint,
            attributes=row.attributes,
            not_before=row.not_before,
            key_optional=self.key_optional,
        )
