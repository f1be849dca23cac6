"""Stores a device's certificate in a folder, so that power may fail between any two writes.

`identity.json` is authoritative. It is replaced by one atomic rename. `certificate.pem` and `chain.pem` are copies for
programs that read PEM; `read` repairs them after an interruption. `previous.json` is the previous certificate, until
the device has connected with the new one.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from secretfree_device.identity import Identity

CERTIFICATE_FILE = "certificate.pem"
CHAIN_FILE = "chain.pem"
_IDENTITY_FILE = "identity.json"
_PREVIOUS_FILE = "previous.json"


@dataclass(frozen=True)
class IdentityStore:
    """The certificates of one device in one folder. The folder must exist. One process at a time uses it."""

    folder: Path

    @property
    def certificate_file(self) -> Path:
        """PEM of the current certificate."""
        return self.folder / CERTIFICATE_FILE

    @property
    def chain_file(self) -> Path:
        """PEM of its CAs; absent with IoT Core's own CA."""
        return self.folder / CHAIN_FILE

    def read(self) -> Identity | None:
        """Return the current identity, or None if there is none or the file is damaged.

        After None, the device sends a request, which is safe: the service returns the same certificate. Raises OSError.
        """
        identity = self._read(_IDENTITY_FILE)
        if identity is not None:
            self._write_copies(identity)
        return identity

    def keep(self, identity: Identity) -> None:
        """Make an identity the current one. Raises OSError; the previous one is then kept.

        The order is: save the previous one, write the new one, write the copies. Each step is flushed to the disk
        before the next begins. An unconfirmed current one is not saved, because it never connected.
        """
        current = self._read(_IDENTITY_FILE)
        if current is not None and current != identity and not (self.folder / _PREVIOUS_FILE).exists():
            self._write(_PREVIOUS_FILE, current.stored())
        self._write(_IDENTITY_FILE, identity.stored())
        self._write_copies(identity)

    def confirm(self) -> None:
        """Erase the previous identity: the device has connected with the current one."""
        (self.folder / _PREVIOUS_FILE).unlink(missing_ok=True)

    def fall_back(self) -> Identity | None:
        """Restore the previous identity and return it; None if there is none."""
        previous = self._read(_PREVIOUS_FILE)
        if previous is not None:
            (self.folder / _PREVIOUS_FILE).replace(self.folder / _IDENTITY_FILE)
            _flush(self.folder)
            self._write_copies(previous)
        return previous

    def _read(self, name: str) -> Identity | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return Identity.of_stored((self.folder / name).read_bytes())
        return None

    def _write_copies(self, identity: Identity) -> None:
        for path, pem in ((self.certificate_file, identity.certificate_pem), (self.chain_file, identity.chain_pem)):
            if pem is None:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_bytes() != pem.encode():
                self._write(path.name, pem.encode())

    def _write(self, name: str, data: bytes) -> None:
        draft = self.folder / f"{name}.new"
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / name)
        _flush(self.folder)


def _flush(folder: Path) -> None:
    """Make a rename in the folder durable: the file's own flush does not cover its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
