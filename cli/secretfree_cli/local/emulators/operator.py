"""The random access key of `secretfree local up`: the account's root, on every server."""

from __future__ import annotations

import os
from dataclasses import dataclass

from secretfree_cli.local.emulators.signatures import Credential

CREDENTIALS_PATH = "/_secretfree/credentials/"
"""The path at which the AWS emulator returns the credential of an access key id, so that other servers verify calls."""


@dataclass(frozen=True)
class Operator:
    """The operator's access key."""

    access_key_id: str
    secret_access_key: str

    @classmethod
    def from_environment(cls) -> Operator:
        """Read the key from the server's environment; KeyError without one."""
        return cls(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])

    def credential(self, access_key_id: str) -> Credential | None:
        """Return the operator's credential if the id is the operator's."""
        return Credential(self.secret_access_key) if access_key_id == self.access_key_id else None
