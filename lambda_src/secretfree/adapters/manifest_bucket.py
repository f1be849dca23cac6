"""The bucket of the import in the cloud: manifests come in under one prefix, results go out under another."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from secretfree.contract import ManifestFolder

MANIFESTS: Final = ManifestFolder.MANIFESTS.value
RESULTS: Final = ManifestFolder.RESULTS.value
FORMATS: Final[Mapping[str, str]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""File name suffix to format."""
MAX_BYTES: Final = 10_000_000_000
"""What a Distributed Map reads from one object (AWS Step Functions, service quotas)."""
MAX_HEADER: Final = 10_240
"""Bytes of a CSV header that a Distributed Map takes (Step Functions developer guide, ItemReader)."""
_CHUNK: Final = 1024 * 1024


class ManifestRefused(Exception):  # noqa: N818 - the name is what Step Functions shows as the execution's error
    """A manifest that cannot be imported as a whole. Nothing of it was taken."""


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One version of an object, as its event names it. `version` is the version id, else the ETag."""

    key: str
    version: str

    @property
    def name(self) -> str:
        """The file's base name."""
        return PurePosixPath(self.key).name

    @property
    def format(self) -> str:
        """The format that the name's suffix stands for; raises ManifestRefused."""
        suffix = PurePosixPath(self.key).suffix.lower()
        if not self.key.startswith(MANIFESTS) or suffix not in FORMATS:
            raise ManifestRefused(f"{self.key[:200]!r}: accepted are {MANIFESTS}NAME with {', '.join(FORMATS)}")
        return FORMATS[suffix]


class ManifestBucket:
    """The bucket behind an S3 client."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def inspect(self, manifest: ManifestObject) -> tuple[str, list[str]]:
        """Read the object through once; return its SHA-256 in hex and, for CSV, the names in its header.

        Raises: ManifestRefused if it is too large, has no header, or was overwritten since its event.
        """
        response = self._client.get_object(Bucket=self.name, Key=manifest.key)
        _require_version(manifest, response)
        if response["ContentLength"] > MAX_BYTES:
            raise ManifestRefused(f"{response['ContentLength']} bytes; at most {MAX_BYTES}: cut it into several files")
        digest, start = hashlib.sha256(), b""
        for chunk in response["Body"].iter_chunks(_CHUNK):
            digest.update(chunk)
            if len(start) <= MAX_HEADER:
                start += chunk
        return digest.hexdigest(), _header(start) if manifest.format == "csv" else []

    def require_unchanged(self, manifest: ManifestObject) -> None:
        """Raise ManifestRefused if the object was overwritten: then it is unknown which rows were read."""
        _require_version(manifest, self._client.head_object(Bucket=self.name, Key=manifest.key))

    def children_results(self, location: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yield the outputs of all children that a Distributed Map's ResultWriter has written.

        `location` is its `ResultWriterDetails`: the object that lists the files, each with one output a line
        (`OutputType` JSONL, `Transformation` COMPACT).
        """
        listing = json.loads(self._client.get_object(Bucket=self.name, Key=location["Key"])["Body"].read())
        for file in listing["ResultFiles"].get("SUCCEEDED", []):
            body = self._client.get_object(Bucket=self.name, Key=file["Key"])["Body"]
            for line in body.iter_lines(_CHUNK):
                if line.strip():
                    yield json.loads(line)

    def write_document(self, key: str, document: Mapping[str, Any]) -> None:
        """Write one JSON document."""
        body = json.dumps(document, indent=2).encode()
        self._client.put_object(Bucket=self.name, Key=key, Body=body, ContentType="application/json")

    def write_lines(self, key: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write JSON Lines, through a temporary file: memory does not grow with their number."""
        with tempfile.TemporaryFile() as spool:
            for document in documents:
                spool.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
            spool.seek(0)
            self._client.put_object(Bucket=self.name, Key=key, Body=spool, ContentType="application/x-ndjson")


def _require_version(manifest: ManifestObject, response: Mapping[str, Any]) -> None:
    if manifest.version not in {response.get("VersionId"), response["ETag"].strip('"')}:
        raise ManifestRefused("the object was overwritten; its later version is imported by itself")


def _header(start: bytes) -> list[str]:
    line = start.split(b"\n", 1)[0].rstrip(b"\r")
    if len(line) > MAX_HEADER:
        raise ManifestRefused(f"a header of more than {MAX_HEADER} bytes")
    try:
        return next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestRefused("a header that is no CSV in UTF-8") from error
