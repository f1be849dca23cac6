"""Items of an existing registry: the output of `aws dynamodb scan`, a DynamoDB export's lines, or plain items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.json_values import parse_object

from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import Entry, FileManifest, Row, at_least_one


class DynamoDbManifest(FileManifest):
    """Objects with `device-id` and `pubkey` (base64 of PEM, as existing tables hold it), in DynamoDB's JSON or plain.

    `status`, `key-fingerprint` and `attributes` are imported if present; other attributes of existing deployments are
    ignored.
    """

    format = "dynamodb"

    def entries(self) -> Iterator[Entry]:
        """Yield each item's bytes."""
        with self._open_text() as stream:
            yield from at_least_one(json_objects(stream), f"{self.name}: no item of a table in it")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        document = parse_object(entry.payload)
        item = document.get("Item", document)  # A line of an export to S3: {"Item": {...}}.
        if not isinstance(item, dict):
            raise RowRefused(Refusal.MALFORMED_ROW, "Item is not an object")
        device_id = _text(item, "device-id")
        if device_id is not None and "#" in device_id:
            raise RowRefused(Refusal.DEVICE_ID, "the record of a batch, not a device")
        return Row(
            device_id,
            _text(item, "pubkey"),
            _text(item, "status"),
            _text(item, "key-fingerprint"),
            _attributes(item),
        )


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    if isinstance(value, dict) and set(value) == {"S"}:
        value = value["S"]
    if value is not None and not isinstance(value, str):
        raise RowRefused(Refusal.MALFORMED_ROW, f'{name} is neither text nor {{"S": text}}')
    return value


def _attributes(item: Mapping[str, Any]) -> Mapping[str, str]:
    given = item.get("attributes") or {}
    if isinstance(given, dict) and set(given) == {"M"}:
        given = given["M"]
    if not isinstance(given, dict):
        raise RowRefused(Refusal.ATTRIBUTE, "attributes is not a map")
    return {name: _text(given, name) or "" for name in given}
