"""Four imports that run at the same time and give the same keys to different ids: no key stays with two ids."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from secretfree.adapters.dynamodb.registry_items import read_device
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.admission import Refusal
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.gate import Gate
from secretfree_cli.importing import importer
from secretfree_cli.importing.account import ImportSummary
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.importing.progress import Silent
from secretfree_cli.importing.run import ImportRequest, run_import
from secretfree_cli.manifests.detect import FormatOptions, open_manifest
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.target import Target

TABLE = "registry"
IMPORTS = 4
KEYS = [device.public_key for device in sample_devices(12, "x-{}".format)]
LONGEST_PAUSE = 0.004
OVERLAP_WITHIN = 60


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Any:
    """A table on moto. Like DynamoDB, it handles one request as a whole: moto alone lets threads interrupt it."""
    call, one_at_a_time = BaseClient._make_api_call, threading.Lock()

    def whole(client: BaseClient, operation: str, parameters: Any) -> Any:
        with one_at_a_time:
            return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", whole)
    monkeypatch.setattr(importer, "CHUNK", 2)
    made = boto3.client("dynamodb")
    made.create_table(**import_table_request(TABLE, "", "")["TableCreationParameters"])
    return made


@pytest.fixture
def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the four imports write their first devices only when all of them have read the registry."""
    all_have_read, written = threading.Barrier(IMPORTS), set[str | None]()
    write = DynamoDbRegistryStore.write

    def waiting(store: DynamoDbRegistryStore, devices: Sequence[EnrolledDevice]) -> None:
        batch = devices[0].batch if devices else None
        if batch is not None and batch not in written and len(written) < IMPORTS:
            written.add(batch)
            all_have_read.wait(OVERLAP_WITHIN)
        write(store, devices)

    monkeypatch.setattr(DynamoDbRegistryStore, "write", waiting)


def pausing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Pause for a random time before each read and write, so that each seed is another order of them."""
    chosen = random.Random(seed)
    for name in ("read", "write", "devices", "remove", "put_new", "close_import"):
        method = getattr(DynamoDbRegistryStore, name)

        def paused(*arguments: Any, _method: Any = method, **named: Any) -> Any:
            time.sleep(chosen.uniform(0, LONGEST_PAUSE))
            return _method(*arguments, **named)

        monkeypatch.setattr(DynamoDbRegistryStore, name, paused)


def run_one(number: int) -> ImportSummary:
    """Import every key under ids of this import's own, from a different row on than the others."""
    path = Path(f"import-{number}.csv")
    start = number * len(KEYS) // IMPORTS % len(KEYS)
    order = [*range(start, len(KEYS)), *range(start)]
    rows = [f"import{number}-{key},{KEYS[key].registry_text()}\n" for key in order]
    path.write_text("device-id,public-key\n" + "".join(rows))
    target = Target(
        session=boto3.Session(), endpoint_url=None, region="eu-central-1", stack_name=None, registry_table=TABLE
    )
    request = ImportRequest(
        manifests=[open_manifest(path, FormatOptions())], gate=Gate(), batch_id=f"batch-{number}", parallelism=1
    )
    return run_import(target, request, Silent())


def devices(client: Any) -> dict[str, str]:
    """The key's fingerprint of each device in the table, by its id."""
    items = [item for item in client.scan(TableName=TABLE)["Items"] if "#" not in item["device-id"]["S"]]
    return {item["device-id"]["S"]: str(read_device(item).fingerprint) for item in items}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.usefixtures("overlapping")
def test_of_four_imports_at_once_no_key_is_held_by_two_ids_and_every_account_is_true(
    client: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    pausing(monkeypatch, seed)

    with ThreadPoolExecutor(IMPORTS) as pool:
        summaries = list(pool.map(run_one, range(IMPORTS)))

    held = devices(client)
    assert len(set(held.values())) == len(held)
    for number, summary in enumerate(summaries):
        own = [one for one in held if one.startswith(f"import{number}-")]
        refused = len(KEYS) - len(own)
        assert summary.counts["enrolled"] == len(own)
        assert summary.refusals == ({Refusal.KEY_OF_OTHER_DEVICE: refused} if refused else {})


@pytest.mark.slow
@pytest.mark.usefixtures("overlapping")
def test_the_keys_that_all_four_gave_up_are_enrolled_by_the_next_import(client: Any) -> None:
    with ThreadPoolExecutor(IMPORTS) as pool:
        list(pool.map(run_one, range(IMPORTS)))
    before = devices(client)

    summary = run_one(IMPORTS)

    assert summary.counts["enrolled"] == len(KEYS) - len(before)
    assert len(set(devices(client).values())) == len(devices(client)) == len(KEYS)
