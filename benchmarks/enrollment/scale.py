"""Measures reverting a batch and listing devices beside a table of the local cloud, and prints the figures as JSON.

python benchmarks/enrollment/scale.py [--reverted 10000] [--listed 105000]

Each command is a process of its own. The revert's CPU time a row is compared with that of the import which enrolled the
same rows. The peak memory of `list --batch` is taken at 5,000 and 50,000 rows, and the time of `list --prefix` as JSON
and as a table. A floor is the bare reading of the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from run import BATCH, Used, local_cloud, make_table, run
from secretfree.adapters.dynamodb.registry_items import device_item
from secretfree.registry.admission import admit
from secretfree.registry.device import EnrolledDevice, Provenance
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.state import CloudRecord
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, sample_devices

SMALL, LARGE = 5_000, 50_000
PARALLELISM = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reverted", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=105_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="secretfree-benchmark-") as name, local_cloud(Path(name)) as record:
        figures = revert(record, Path(name), given.reverted) | listing(record, given.listed)
    print(json.dumps(figures))


def revert(record: CloudRecord, folder: Path, devices: int) -> dict[str, float]:
    """Enrol devices, revert them, and compare."""
    make_table(record, "reverted")
    manifest = folder / "manifest.csv"
    sample = SAMPLES["csv"]
    sample.write(manifest, sample_devices(devices, sample.device_id), SampleAuthority.create())
    enrolled = command(record, "reverted", "enroll", str(manifest), "--batch", "first", "--json")
    reverted = command(record, "reverted", "batch", "revert", "first", "--force", "--json")
    return {
        "reverted": devices,
        "revertCpuRatio": reverted.cpu / enrolled.cpu,
        "revertedPerSecond": devices / reverted.seconds,
        "enrolledPerSecond": devices / enrolled.seconds,
    }


def listing(record: CloudRecord, devices: int) -> dict[str, float]:
    """Fill a table and list it."""
    make_table(record, "listed")
    client = local_client(record, "dynamodb")
    fill(client, list(items(devices)))
    small, large = (
        command(record, "listed", "list", "--batch", batch, "--limit", str(devices), "--json")
        for batch in ("small", "large")
    )
    for used, rows in ((small, SMALL), (large, LARGE)):
        if len(json.loads(used.output)["devices"]) != rows:
            raise SystemExit(f"a listing lacks rows: {rows} were expected")
    began = time.perf_counter()
    for page in client.get_paginator("scan").paginate(TableName="listed"):
        page["Items"].clear()
    bare = time.perf_counter() - began
    as_json = command(record, "listed", "list", "--prefix", "sensor", "--limit", str(devices), "--json")
    as_table = command(record, "listed", "list", "--prefix", "sensor", "--limit", str(devices))
    return {
        "listed": devices,
        "smallPeakMb": small.peak_mb,
        "largePeakMb": large.peak_mb,
        "bareScanSeconds": bare,
        "prefixJsonSeconds": as_json.seconds,
        "prefixTableSeconds": as_table.seconds,
        "prefixPeakMb": as_table.peak_mb,
    }


def command(record: CloudRecord, table: str, *arguments: str) -> Used:
    """Run the command as an operator would, with a named table."""
    where = ["--table", table, "--endpoint-url", record.endpoint_url]
    return run(record, [sys.executable, "-m", "secretfree_cli.main", *arguments, *where])


def items(devices: int) -> Iterator[dict[str, Any]]:
    """The registry's items of two batches and of a rest. They share a key, which a listing does not mind."""
    (sample,) = sample_devices(1, SAMPLES["csv"].device_id)
    provenance = Provenance("small", datetime.now(UTC), "csv")
    device = EnrolledDevice.newly(admit(sample.device_id, sample.public_key), provenance)
    for number in range(devices):
        batch = "small" if number < SMALL else "large" if number < SMALL + LARGE else "rest"
        yield device_item(replace(device, device_id=f"sensor-{number:06}", batch=batch))


def fill(client: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, 25 at a time."""

    def put(start: int) -> None:
        left: Any = {"listed": [{"PutRequest": {"Item": row}} for row in rows[start : start + BATCH]]}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]

    with ThreadPoolExecutor(PARALLELISM) as pool:
        for _ in pool.map(put, range(0, len(rows), BATCH)):
            pass


if __name__ == "__main__":
    main()
