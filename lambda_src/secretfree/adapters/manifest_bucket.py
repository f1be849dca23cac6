"""The bucket of the import in the cloud: manifests arrive under one prefix, results are written under another."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from secretfree.registry.manifest_steps import ManifestObject, ManifestRefused

MAX_BYTES: Final = 10_000_000_000
"""Maximum size in bytes of an object that a Distributed Map reads (AWS Step Functions, service quotas)."""
MAX_HEADER: Final = 10_240
"""Maximum size in bytes of a CSV header of a Distributed Map (Step Functions developer guide, ItemReader)."""
_CHUNK: Final = 1024 * 1024
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=.?"?\s*', re.IGNORECASE)
_OTHER_DELIMITERS: Final = ";\t|"
_CONVERT: Final = "`secretfree enroll files` reads such a file"


class ManifestBucket:
    """Port `ManifestStore` behind an S3 client."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def inspect(self, manifest: ManifestObject) -> tuple[str, list[str]]:
        """Read the object once; return its SHA-256 in hex and, for CSV, the names in its header.

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
        """Raise ManifestRefused if the object was overwritten, because the rows may be of either version."""
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
        """Write JSON Lines through a temporary file, so that memory does not grow with the number of lines."""
        with tempfile.TemporaryFile() as spool:
            for document in documents:
                spool.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
            spool.seek(0)
            self._client.put_object(Bucket=self.name, Key=key, Body=spool, ContentType="application/x-ndjson")


def _require_version(manifest: ManifestObject, response: Mapping[str, Any]) -> None:
    if manifest.version not in {response.get("VersionId"), response["ETag"].strip('"')}:
        raise ManifestRefused("the object was overwritten; its later version is imported by itself")


def _header(start: bytes) -> list[str]:
    """Return the header's names as Step Functions reads them: the first line, in UTF-8, delimited by commas.

    Raises: ManifestRefused for any other line. The message says how to convert what spreadsheets write.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ManifestRefused(f"UTF-16; accepted: UTF-8; {_CONVERT}")
    line = _LINE_END.split(start, maxsplit=1)[0]
    if len(line) > MAX_HEADER:
        raise ManifestRefused(f"a header of more than {MAX_HEADER} bytes")
    try:
        text = line.decode("utf-8-sig")
        if _SEPARATOR_LINE.fullmatch(text):
            raise ManifestRefused(f"a line 'sep=' before the header, which must be the first line; {_CONVERT}")
        names = next(csv.reader([text], skipinitialspace=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestRefused("a header that is not CSV in UTF-8") from error
    delimiter = next((other for other in _OTHER_DELIMITERS if len(names) == 1 and other in names[0]), None)
    if delimiter is not None:
        raise ManifestRefused(f"columns are delimited by {delimiter!a}; accepted: ','; {_CONVERT}")
    return names
