"""Killed with SIGKILL wherever it may be and run again, an import ends with the table of an undisturbed one."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.dynamodb.responses import DynamoHandler
from moto.server import ThreadedMotoServer
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.output import ExitCode

ROWS = 600
CALLS_BEFORE_A_KILL = 9
"""The first writes the batch's own record."""
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Gate:
    """Where the server's BatchWriteItem calls go through: once it is shut, those to come wait, and then fail."""

    lets_through: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    threads: int = 0
    """How many there are between calls: the server has one for each call."""

    def shut_after(self, calls: int) -> None:
        self.reached.clear()
        self.opened.clear()
        self.lets_through = calls

    def open(self) -> None:
        """Open it again for those who call from now on; who called is through or has failed then."""
        self.opened.set()
        deadline = time.monotonic() + 60
        while threading.active_count() > self.threads and time.monotonic() < deadline:
            time.sleep(0.01)
        self.lets_through = None

    def through(self, write: Callable[[], Any]) -> Any:
        with self.lock:
            if self.lets_through is None or self.lets_through > 0:
                self.lets_through = None if self.lets_through is None else self.lets_through - 1
                return write()
        self.reached.set()
        self.opened.wait()
        raise RuntimeError("who wrote this was killed")


GATE = Gate()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    write = DynamoHandler.batch_write_item
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DynamoHandler, "batch_write_item", lambda handler: GATE.through(lambda: write(handler)))
        server.start()
        host, port = server.get_host_and_port()  # which waits until it serves
        GATE.threads = threading.active_count()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("manifest") / "m.csv", ROWS)


def write_manifest(path: Path, rows: int) -> Path:
    with path.open("w") as file:
        file.write("device-id,public-key\n")
        for number, device in enumerate(sample_devices(rows, "dev-{}".format)):
            key = "rubbish!" if number % 50 == 7 else device.public_key.registry_text()
            file.write(f"{device.device_id},{key}\n")
    return path


@dataclass
class Registry:
    """A table on the server, and the command pointed at it, in processes that may be killed."""

    endpoint: str
    name: str
    folder: Path

    def __post_init__(self) -> None:
        self.client = boto3.client(
            "dynamodb",
            endpoint_url=self.endpoint,
            region_name=ENVIRONMENT["AWS_DEFAULT_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self.make_anew()

    def make_anew(self) -> None:
        if self.name in self.client.list_tables()["TableNames"]:
            self.client.delete_table(TableName=self.name)
        self.client.create_table(**import_table_request(self.name, "", "")["TableCreationParameters"])

    def start(self, *arguments: object, elsewhere: str = "project") -> subprocess.Popen[str]:
        """Start the command in the folder `elsewhere`, which is also its project."""
        project = self.folder / elsewhere
        project.mkdir(exist_ok=True)
        words = [*map(str, arguments), "--table", self.name, "--endpoint-url", self.endpoint, "--json"]
        state = str(self.folder / "state")
        return subprocess.Popen(
            [sys.executable, "-m", "secretfree_cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=project,
            env={**os.environ, **ENVIRONMENT, "SECRETFREE_PROJECT": str(project), "XDG_STATE_HOME": state},
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, elsewhere: str = "project", code: int = 0) -> tuple[str, str]:
        process = self.start(*arguments, elsewhere=elsewhere)
        output, errors = process.communicate()
        assert process.returncode == code, errors
        return output, errors

    def kill_while_it_writes(self, *arguments: object) -> int:
        """Kill the command once the table has some of its devices; return how many."""
        GATE.shut_after(CALLS_BEFORE_A_KILL)
        try:
            process = self.start(*arguments)
            assert GATE.reached.wait(timeout=60)
            process.kill()
            process.communicate()
        finally:
            GATE.open()
        return len(self.devices())

    def devices(self) -> dict[str, Mapping[str, Any]]:
        found = {}
        for page in self.client.get_paginator("scan").paginate(TableName=self.name):
            for item in page["Items"]:
                if "pubkey" in item:
                    del item["enrolled-at"]  # when the batch began: it is another one
                    found[item["device-id"]["S"]] = item
        return found

    def batches(self) -> list[Any]:
        found: list[Any] = json.loads(self.run("batch", "list")[0])["batches"]
        return found


@pytest.mark.parametrize(
    ("rows", "kills"),
    [pytest.param(ROWS, 4, marks=pytest.mark.slow), pytest.param(3_000, 20, marks=pytest.mark.nightly)],
)
def test_kills_at_random_points_and_resuming_anywhere_lose_and_double_nothing(
    endpoint: str, tmp_path: Path, rows: int, kills: int
) -> None:
    manifest = write_manifest(tmp_path / "m.csv", rows)
    registries = []
    for name in ("undisturbed", "disturbed"):
        (tmp_path / name).mkdir()
        registries.append(Registry(endpoint, name, tmp_path / name))
    undisturbed, disturbed = registries

    def command(registry: Registry) -> list[object]:
        return ["enroll", manifest, "--batch", "lot", "--resume", "--report", registry.folder / "report.jsonl"]

    began = time.monotonic()
    output, _ = undisturbed.run(*command(undisturbed), code=ExitCode.PARTLY_REFUSED)
    duration = time.monotonic() - began
    first = json.loads(output)

    chance = random.Random(20260131)
    killed, is_new = 0, True
    while killed < kills:
        if is_new:  # the kills at random may all come before the first row is written, or after the last
            disturbed.kill_while_it_writes(*command(disturbed))
            killed, is_new = killed + 1, False
            continue
        process = disturbed.start(*command(disturbed), elsewhere=f"project-{killed % 3}")
        try:
            process.wait(timeout=chance.uniform(0.3, 0.8) * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        else:  # it came to its end between the kills: begin again, with an empty table
            disturbed.make_anew()
            is_new = True
        process.communicate()
    output, _ = disturbed.run(*command(disturbed), elsewhere="somewhere-else", code=ExitCode.PARTLY_REFUSED)
    last = json.loads(output)

    assert disturbed.devices() == undisturbed.devices()
    assert {**last, "resumed": None, "seconds": None} == {**first, "resumed": None, "seconds": None}
    reports = [(registry.folder / "report.jsonl").read_text() for registry in registries]
    assert reports[0] == reports[1]
    assert [(one["batch"], one["state"], one["counts"]["enrolled"]) for one in disturbed.batches()] == [
        ("lot", "complete", last["enrolled"])
    ]


@pytest.mark.slow
def test_a_killed_import_resumes_from_another_folder_and_leaves_one_batch(
    endpoint: str, manifest: Path, tmp_path: Path
) -> None:
    registry = Registry(endpoint, "moved", tmp_path)
    registry.kill_while_it_writes("enroll", manifest)
    output, _ = registry.run("enroll", manifest, "--resume", elsewhere="another", code=ExitCode.PARTLY_REFUSED)
    summary = json.loads(output)
    assert (summary["resumed"], summary["enrolled"]) == (True, len(registry.devices()))
    assert [one["state"] for one in registry.batches()] == ["complete"]


@pytest.mark.slow
def test_a_killed_import_that_was_reverted_is_not_resumed(endpoint: str, manifest: Path, tmp_path: Path) -> None:
    registry = Registry(endpoint, "reverted", tmp_path)
    registry.kill_while_it_writes("enroll", manifest, "--batch", "lot")
    registry.run("batch", "revert", "lot", "--force")
    assert registry.devices() == {}
    _, errors = registry.run("enroll", manifest, "--batch", "lot", "--resume", code=1)
    assert "reverted" in errors
    assert registry.devices() == {}
    assert [one["state"] for one in registry.batches()] == ["reverted"]


@pytest.mark.slow
def test_a_killed_import_is_not_mixed_with_another_column(endpoint: str, tmp_path: Path) -> None:
    registry = Registry(endpoint, "columns", tmp_path)
    path, keys = tmp_path / "two.csv", {}
    with path.open("w") as file:
        file.write("device-id,keyA,keyB\n")
        for device, other in zip(
            sample_devices(ROWS, "dev-{}".format), sample_devices(ROWS, "x-{}".format), strict=True
        ):
            keys[device.device_id] = device.public_key.fingerprint
            file.write(f"{device.device_id},{device.public_key.registry_text()},{other.public_key.registry_text()}\n")
    options = ("--column", "public-key=keyA", "--ignore-column", "keyB")
    written = registry.kill_while_it_writes("enroll", path, *options)
    others = ("--column", "public-key=keyB", "--ignore-column", "keyA")
    _, errors = registry.run("enroll", path, *others, code=1)
    assert "other options" in errors
    assert len(registry.devices()) == written
    registry.run("enroll", path, *options)
    assert {one: item["key-fingerprint"]["S"] for one, item in registry.devices().items()} == keys


@pytest.mark.parametrize(
    ("importers", "rows"),
    [
        pytest.param(3, 150, marks=pytest.mark.slow),
        pytest.param(2, 500, marks=pytest.mark.nightly),
        pytest.param(4, 500, marks=pytest.mark.nightly),
    ],
)
def test_imports_at_the_same_time_leave_no_key_under_two_devices(
    importers: int, rows: int, endpoint: str, tmp_path: Path
) -> None:
    registry = Registry(endpoint, f"contested-{importers}", tmp_path)
    devices = list(sample_devices(rows, "{}".format))
    running = []
    for number in range(importers):
        line = f"line-{number}"
        path = tmp_path / f"{line}.csv"
        lines = [f"{line}-{device.device_id},{device.public_key.registry_text()}\n" for device in devices]
        path.write_text("device-id,public-key\n" + "".join(lines))
        running.append(registry.start("enroll", path, "--batch", line, elsewhere=line))
    summaries = [json.loads(process.communicate()[0]) for process in running]
    found = registry.devices()
    holders = Counter(item["key-fingerprint"]["S"] for item in found.values())
    assert set(holders.values()) <= {1}  # none at all where both ended at the same moment
    of_batches = Counter(item["batch"]["S"] for item in found.values())
    for summary in summaries:
        assert summary["enrolled"] == of_batches[summary["batch"]]
        assert summary["enrolled"] + summary["refused"] == rows
        assert set(summary["refusals"]) <= {"key-of-other-device"}
