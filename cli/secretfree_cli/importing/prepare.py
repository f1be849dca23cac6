"""Objects for DynamoDB's ImportTable, which makes a new table of any size from S3 without write capacity."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from secretfree.adapters.dynamodb.registry_items import Item
from secretfree.adapters.dynamodb.registry_table import BATCH_INDEX, KEY_INDEX

ROWS_PER_OBJECT: Final = 500_000
"""ImportTable reads objects side by side, 50,000 of them at most (DynamoDB developer guide, import quotas)."""


def write_objects(items: Iterator[Item], folder: Path, *, rows: int = ROWS_PER_OBJECT) -> Sequence[Path]:
    """Write `items` as DYNAMODB_JSON lines, gzip, in as many objects as it takes; the same bytes for the same items."""
    paths: list[Path] = []
    while some := list(islice(items, 1)):
        path = folder / f"part-{len(paths):05d}.json.gz"
        with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped:
            for item in some:
                zipped.write(_line(item))
            for item in islice(items, rows - 1):
                zipped.write(_line(item))
        paths.append(path)
    return paths


def import_table_request(table: str, bucket: str, prefix: str) -> Mapping[str, Any]:
    """Return the parameters of ImportTable for a registry (`aws dynamodb import-table --cli-input-json`)."""
    return {
        "S3BucketSource": {"S3Bucket": bucket, "S3KeyPrefix": prefix},
        "InputFormat": "DYNAMODB_JSON",
        "InputCompressionType": "GZIP",
        "TableCreationParameters": {
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in ("device-id", "key-fingerprint", "batch")
            ],
            "KeySchema": [{"AttributeName": "device-id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [
                _index(KEY_INDEX, ("key-fingerprint", "HASH")),
                _index(BATCH_INDEX, ("batch", "HASH"), ("device-id", "RANGE")),
            ],
        },
    }


def recovery_request(table: str) -> Mapping[str, Any]:
    """Return the parameters of UpdateContinuousBackups, since ImportTable makes a table that cannot be restored."""
    return {"TableName": table, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}


def _index(name: str, *keys: tuple[str, str]) -> Mapping[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in keys],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _line(item: Item) -> bytes:
    return json.dumps({"Item": item}, separators=(",", ":")).encode() + b"\n"
