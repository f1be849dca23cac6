"""Lists the registry's devices in pages: by key and by batch through an index, otherwise by reading the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from secretfree.adapters.dynamodb.registry_items import is_device, read_device
from secretfree.contract import RegistryAttribute, RegistryIndex
from secretfree.registry.admission import RowRefused
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.key_material.keys import read_key_material

from secretfree_cli.importing.run import registry_of
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.target import Target

_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_MOST_PER_GET: Final = 100
"""Items of one BatchGetItem."""


@dataclass(frozen=True)
class Criteria:
    """A filter for the listing; None matches any. `fingerprint`: lower-case hex SHA-256 of the SPKI DER."""

    status: DeviceStatus | None = None
    batch: str | None = None
    prefix: str | None = None
    contains: str | None = None
    fingerprint: str | None = None

    def takes(self, device: EnrolledDevice) -> bool:
        """Whether a device matches."""
        return (
            (self.status is None or device.status is self.status)
            and (self.batch is None or device.batch == self.batch)
            and (self.prefix is None or device.device_id.startswith(self.prefix))
            and (self.contains is None or self.contains.lower() in device.device_id.lower())
            and (self.fingerprint is None or device.fingerprint == self.fingerprint)
        )

    @property
    def reads_only_matches(self) -> bool:
        """Whether every item matches, so that a page costs only what it returns."""
        return self.status is None and self.contains is None and (self.prefix is None or self.batch is not None)


class Listing:
    """Reads the devices of one target, a page at a time, with no more than a page in memory."""

    def __init__(self, target: Target) -> None:
        self._client: Any = target.client("dynamodb")
        self._name = target.registry_table
        self._registry = registry_of(target)

    def devices(
        self, criteria: Criteria, *, limit: int, after: str | None = None, descending: bool = False
    ) -> Iterator[EnrolledDevice]:
        """Yield up to `limit` devices after the device `after`.

        Devices of a batch come in the order of their ids (`descending`: reversed), others in the table's order.

        Raises: CliError for an order that would require reading the whole table
        """
        by_batch = criteria.batch is not None and criteria.fingerprint is None and self._has(RegistryIndex.BATCH)
        if descending and not by_batch:
            raise CliError(
                "only the devices of a batch can be ordered without reading the whole table",
                hint="pass --batch, for a registry with the index by batch",
                exit_code=ExitCode.USAGE,
            )
        page_size = limit if criteria.reads_only_matches else None
        if criteria.fingerprint is not None and self._has(RegistryIndex.KEY):
            pages = self._by_key(criteria.fingerprint)
        elif by_batch:
            pages = self._by_batch(criteria, after=after, descending=descending, page_size=page_size)
        else:
            pages = self._table(after=after, page_size=page_size)
        found = 0
        for page in pages:
            for device in filter(criteria.takes, page):
                yield device
                found += 1
                if found == limit:
                    return

    def _has(self, index: RegistryIndex) -> bool:
        return index.value in self._registry.table.indexes()

    def _by_key(self, fingerprint: str) -> Iterator[Sequence[EnrolledDevice]]:
        pages = self._pages(
            "query",
            page_size=None,
            IndexName=RegistryIndex.KEY.value,
            KeyConditionExpression="#key = :key",
            ExpressionAttributeNames={"#key": RegistryAttribute.KEY_FINGERPRINT.value},
            ExpressionAttributeValues={":key": {"S": fingerprint}},
        )
        yield from map(self._read, pages)

    def _by_batch(
        self, criteria: Criteria, *, after: str | None, descending: bool, page_size: int | None
    ) -> Iterator[Sequence[EnrolledDevice]]:
        condition, values = "#batch = :batch", {":batch": {"S": criteria.batch}}
        names = {"#batch": RegistryAttribute.BATCH.value}
        if criteria.prefix is not None:
            condition += " AND begins_with(#id, :prefix)"
            values[":prefix"] = {"S": criteria.prefix}
            names["#id"] = RegistryAttribute.DEVICE_ID.value
        start = {"device-id": {"S": after}, "batch": {"S": criteria.batch}} if after is not None else None
        pages = self._pages(
            "query",
            page_size=page_size,
            start=start,
            IndexName=RegistryIndex.BATCH.value,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ScanIndexForward=not descending,
        )
        for page in pages:
            for first in range(0, len(page), _MOST_PER_GET):
                yield self._read(page[first : first + _MOST_PER_GET])

    def _table(self, *, after: str | None, page_size: int | None) -> Iterator[Sequence[EnrolledDevice]]:
        start = None if after is None else {"device-id": {"S": after}}
        for page in self._pages("scan", page_size=page_size, start=start):
            yield [read_device(item) for item in page if is_device(item)]

    def _read(self, items: Sequence[Any]) -> Sequence[EnrolledDevice]:
        """Return the devices of an index's items, in their order."""
        ids = [item["device-id"]["S"] for item in items]
        found = self._registry.read([one for one in ids if "#" not in one])
        return [found[one] for one in ids if one in found]

    def _pages(self, call: str, *, page_size: int | None, start: Any = None, **request: Any) -> Iterator[Sequence[Any]]:
        if page_size is not None:
            request["Limit"] = max(2, min(page_size, 1000))
        if start is not None:
            request["ExclusiveStartKey"] = start
        while True:
            page = getattr(self._client, call)(TableName=self._name, **request)
            yield page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class Page(Iterator[EnrolledDevice]):
    """The first `limit` devices of `found`; `more` and `next` are set when the last one was read."""

    def __init__(self, found: Iterator[EnrolledDevice], limit: int) -> None:
        self._found, self._left = found, limit
        self._last: str | None = None
        self.more = False

    def __next__(self) -> EnrolledDevice:
        """Return the next device."""
        device = next(self._found)
        if self._left == 0:
            self.more = True
            raise StopIteration
        self._left -= 1
        self._last = device.device_id
        return device

    @property
    def next(self) -> str | None:
        """The id after which to continue, if there are more."""
        return self._last if self.more else None


def fingerprint_of(text: str) -> str:
    """Return the fingerprint of `--key`: 64 hex digits, or a file with a key, a CSR or a certificate."""
    if _FINGERPRINT.fullmatch(text):
        return text.lower()
    try:
        return read_key_material(Path(text).read_bytes()).public_key.fingerprint
    except OSError as error:
        raise click.UsageError(
            f"--key {text!a}: {error.strerror or error}; accepted: 64 hex digits of the fingerprint, or a file"
        ) from error
    except RowRefused as error:
        raise click.UsageError(f"--key {text!a}: {error}") from error
