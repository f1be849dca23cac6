"""Measures `secretfree enroll` against a bare loop of BatchWriteItem with the same parallelism, side by side.

python benchmarks/enrollment/run.py [--devices 100000] [--format csv] [--parallelism 8] [--rounds 1] [--json]
                                    [--stub-ms 10]

The benchmark starts a local cloud of its own and stops it afterwards. Each run writes the same devices into a new table
with the registry's indexes, in a process of its own, whose peak memory and CPU time are the operating system's figures.
The bare loop only puts items that are ready in memory. The command reads the file, checks every key, looks for
conflicts, writes, and accounts for each row.

With --stub-ms, an empty table that answers each call after that time takes the place of the local cloud: it measures
the command alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from secretfree.adapters.dynamodb.registry_items import device_item
from secretfree.registry.admission import admit
from secretfree.registry.device import EnrolledDevice, Provenance
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.local.cloud import bring_down, bring_up
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, SampleDevice, sample_devices
from stub_table import Stub, stub_table

BATCH = 25


@dataclass(frozen=True)
class Run:
    """One measured process. `peak_mb` is its resident memory at its highest, in 10**6 bytes."""

    what: str
    devices: int
    seconds: float
    peak_mb: float
    cpu: float
    """Seconds of the whole process."""

    @property
    def rate(self) -> float:
        """Devices a second."""
        return self.devices / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Return 1 if the command was slower than `--least` allows, or took more than 200 MB."""
    options = parse(arguments)
    if options.bare is not None:
        print(bare_loop(options.bare, options.table, options.parallelism))
        return 0
    with tempfile.TemporaryDirectory(prefix="secretfree-benchmark-") as folder, place(Path(folder), options) as record:
        manifest, items, extra = prepare(Path(folder), options)
        runs: list[Run] = []
        for number in range(options.rounds):
            bare = measure_bare(record, items, f"bare-{number}", options)
            enroll = measure_enroll(record, manifest, extra, f"enroll-{number}", options)
            runs += [bare, enroll]
            if not options.json:
                ratio = enroll.rate / bare.rate
                print(f"bare loop {bare.rate:8,.0f}/s   enroll {enroll.rate:8,.0f}/s   ratio {ratio:.2f}", flush=True)
        return report(runs, options)


def report(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Print the figures; the ratio is the median of the rounds'."""
    bare = [run for run in runs if run.what == "bare"]
    enroll = [run for run in runs if run.what == "enroll"]
    ratio = median(one.rate / other.rate for one, other in zip(enroll, bare, strict=True))
    cpu_ratio = median(one.cpu / other.cpu for one, other in zip(enroll, bare, strict=True))
    peak = max(run.peak_mb for run in enroll)
    if options.json:
        shown = [{**asdict(run), "rate": run.rate} for run in runs]
        print(json.dumps({"runs": shown, "ratio": ratio, "cpuRatio": cpu_ratio, "peakMb": peak}))
    else:
        print(f"{options.devices:,} devices as {options.format}, parallelism {options.parallelism}")
        print(f"  bare BatchWriteItem loop  {median(run.rate for run in bare):8,.0f} devices/s")
        print(f"  secretfree enroll         {median(run.rate for run in enroll):8,.0f} devices/s, peak {peak:.0f} MB")
        print(f"  ratio                     {ratio:8.2f}, of the processes' CPU time {cpu_ratio:.2f}")
    return int(ratio < options.least or peak > 200)


def prepare(folder: Path, options: argparse.Namespace) -> tuple[Path, Path, Sequence[str]]:
    """Make the manifest, the same devices' items for the bare loop, and the options that the format needs."""
    sample, authority = SAMPLES[options.format], SampleAuthority.create()
    manifest, items = folder / f"manifest.{options.format}", folder / "items.jsonl"
    provenance = Provenance("benchmark", datetime.now(UTC), options.format)
    with items.open("w") as file:

        def recorded(devices: Iterator[SampleDevice]) -> Iterator[SampleDevice]:
            for device in devices:
                enrolled = EnrolledDevice.newly(admit(device.device_id, device.public_key), provenance)
                file.write(json.dumps(device_item(enrolled)) + "\n")
                yield device

        sample.write(manifest, recorded(sample_devices(options.devices, sample.device_id)), authority)
    if sample.needs is None:
        return manifest, items, ()
    certificate = folder / "authority.pem"
    certificate.write_bytes(authority.pem())
    return manifest, items, (sample.needs, str(certificate))


def measure_bare(record: CloudRecord | Stub, items: Path, table: str, options: argparse.Namespace) -> Run:
    """Run the bare loop in a process of its own."""
    if isinstance(record, CloudRecord):
        make_table(record, table)
    command = [sys.executable, __file__, "--bare", str(items), "--table", table]
    used = run(record, [*command, "--parallelism", str(options.parallelism)])
    return Run("bare", options.devices, float(used.output), used.peak_mb, used.cpu)


def measure_enroll(
    record: CloudRecord | Stub, manifest: Path, extra: Sequence[str], table: str, options: argparse.Namespace
) -> Run:
    """Run the command as an operator would, with a named table. The seconds are those of the whole process."""
    if isinstance(record, CloudRecord):
        make_table(record, table)
    command = [sys.executable, "-m", "secretfree_cli.main", "enroll", str(manifest), *extra, "--json"]
    where = ["--table", table, "--endpoint-url", record.endpoint_url, "--parallelism", str(options.parallelism)]
    used = run(record, [*command, *where])
    summary = json.loads(used.output)
    if summary["enrolled"] != options.devices:
        raise SystemExit(f"enrolled {summary['enrolled']} of {options.devices}: {summary['refusals']}")
    return Run("enroll", options.devices, used.seconds, used.peak_mb, used.cpu)


def bare_loop(path: Path, table: str, parallelism: int) -> float:
    """Put the items, 25 at a time, and return how many seconds that took."""
    with path.open() as file:
        items = [json.loads(line) for line in file]
    client = boto3.client("dynamodb", config=Config(max_pool_connections=parallelism))

    def put(start: int) -> None:
        left: Any = {table: [{"PutRequest": {"Item": item}} for item in items[start : start + BATCH]]}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]

    began = time.perf_counter()
    with ThreadPoolExecutor(parallelism) as pool:
        for _ in pool.map(put, range(0, len(items), BATCH)):
            pass
    return time.perf_counter() - began


@dataclass(frozen=True)
class Used:
    """What a process printed and used. `cpu` and `seconds` are of its whole life."""

    output: str
    seconds: float
    cpu: float
    peak_mb: float


def run(record: CloudRecord | Stub, command: Sequence[str]) -> Used:
    """Run a command against the local cloud."""
    environment = {**os.environ, **record.environment()}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.PIPE, cwd=folder, env=environment, text=True
        )
        errors = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[2]} ended with {process.returncode}:\n{errors}")
        output.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return Used(output.read(), seconds, cpu, usage.ru_maxrss * 1024 / 1e6)


def make_table(record: CloudRecord | Stub, name: str) -> None:
    """Make an empty table with the registry's key and indexes."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=record.endpoint_url,
        region_name=record.region,
        aws_access_key_id=record.access_key_id,
        aws_secret_access_key=record.secret_access_key,
    )
    parameters: Mapping[str, Any] = import_table_request(name, "", "")["TableCreationParameters"]
    client.create_table(**parameters)
    client.get_waiter("table_exists").wait(TableName=name)


@contextmanager
def place(folder: Path, options: argparse.Namespace) -> Iterator[CloudRecord | Stub]:
    """Where the devices are written to: a local cloud, or the stub."""
    if options.stub_ms is None:
        with local_cloud(folder) as record:
            yield record
        return
    with stub_table(options.stub_ms / 1e3) as stub:
        yield stub


@contextmanager
def local_cloud(project: Path) -> Iterator[CloudRecord]:
    """Bring up a local cloud of the benchmark's own, and stop it."""
    folder = StateFolder(project)
    record, _ = bring_up(folder, tell=lambda message: print(message, file=sys.stderr))
    try:
        yield record
    finally:
        bring_down(folder, forget_data=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--format", choices=list(SAMPLES), default="csv")
    parser.add_argument("--parallelism", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.8, help="ratio below which the exit code is 1")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stub-ms", type=float, metavar="MS", help="an empty table that answers after MS milliseconds")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
