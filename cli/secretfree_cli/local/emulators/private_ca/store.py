"""Stores the emulator's CAs and certificates in one SQLite file with owner-only access.

CA keys are stored unencrypted. Only this machine trusts their signatures.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS authorities (
    arn TEXT PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS certificates (
    arn TEXT PRIMARY KEY, authority TEXT NOT NULL, serial TEXT NOT NULL, pem TEXT NOT NULL,
    token TEXT, issued_at REAL NOT NULL, revoked_at REAL, revocation_reason TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS certificates_by_serial ON certificates (authority, serial);
CREATE INDEX IF NOT EXISTS certificates_by_token ON certificates (authority, token, issued_at);
"""


@dataclass(frozen=True)
class StoredCertificate:
    """One issued certificate."""

    arn: str
    pem: str
    issued_at: float
    """Seconds since 1970."""
    revoked_at: float | None


class Store:
    """The SQLite file. Every method is one transaction and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file; create it with mode 0600 if it is missing."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        with self._lock, self._connection:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)

    def save_authority(self, arn: str, *, account: str, region: str, document: Mapping[str, Any]) -> None:
        """Write a CA, and replace an earlier version."""
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO authorities VALUES (?, ?, ?, ?)", (arn, account, region, json.dumps(document))
            )

    def authorities(self, *, account: str, region: str) -> list[dict[str, Any]]:
        """Return the documents of an account's CAs in a Region."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT document FROM authorities WHERE account = ? AND region = ?", (account, region)
            ).fetchall()
        return [json.loads(document) for (document,) in rows]

    def add_certificate(
        self, arn: str, *, authority: str, serial: int, pem: str, token: str | None, issued_at: float
    ) -> None:
        """Write an issued certificate."""
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT INTO certificates (arn, authority, serial, pem, token, issued_at) VALUES (?, ?, ?, ?, ?, ?)",
                (arn, authority, f"{serial:x}", pem, token, issued_at),
            )

    def certificate(self, arn: str) -> StoredCertificate | None:
        """Return the certificate of an ARN."""
        return self._one("arn = ?", arn)

    def certificate_by_serial(self, authority: str, serial: int) -> StoredCertificate | None:
        """Return the CA's certificate of a serial number."""
        return self._one("authority = ? AND serial = ?", authority, f"{serial:x}")

    def certificate_by_token(self, authority: str, token: str, *, since: float) -> StoredCertificate | None:
        """Return the CA's certificate issued for an idempotency token at or after a moment."""
        return self._one("authority = ? AND token = ? AND issued_at >= ?", authority, token, since)

    def revoke(self, arn: str, *, reason: str, at: float) -> None:
        """Mark a certificate as revoked."""
        with self._lock, self._connection:
            self._connection.execute(
                "UPDATE certificates SET revoked_at = ?, revocation_reason = ? WHERE arn = ?", (at, reason, arn)
            )

    def _one(self, condition: str, *values: object) -> StoredCertificate | None:
        with self._lock:
            row = self._connection.execute(
                f"SELECT arn, pem, issued_at, revoked_at FROM certificates WHERE {condition}",  # noqa: S608 -- literals
                values,
            ).fetchone()
        return StoredCertificate(*row) if row else None
