"""Imports that overlap, and tables with items of other origin: no key is left under two devices."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from secretfree.adapters.dynamodb.registry_items import read_device
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.admission import Refusal
from secretfree.registry.batch import Batch, BatchState
from secretfree.registry.store import ChangedMeanwhile, save_batch
from secretfree_cli.importing import importer
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.main import main
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.output import ExitCode

TABLE = "registry"
KEYS = [device.public_key for device in sample_devices(6, "x-{}".format)]
Pairs = Sequence[tuple[str, int]]
"""Device ids, each with the number of its key."""


class Registry:
    """The table on moto, and the command pointed at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = boto3.client("dynamodb")
        self.client.create_table(**import_table_request(TABLE, "", "")["TableCreationParameters"])
        self.table = RegistryTable(self.client, TABLE)
        self.store = DynamoDbRegistryStore(self.table)
        self._patch = monkeypatch

    def manifest(self, pairs: Pairs, name: str) -> Path:
        path = Path(f"{name}.csv")
        rows = [f"{device_id},{KEYS[key].registry_text()}\n" for device_id, key in pairs]
        path.write_text("device-id,public-key\n" + "".join(rows))
        return path

    def json(self, *arguments: object, code: int = 0) -> Any:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(main, [*words, "--table", TABLE, "--json"], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def enroll(self, pairs: Pairs, batch: str, *options: str, code: int = 0) -> Any:
        path = self.manifest(pairs, batch)
        return self.json("enroll", path, "--batch", batch, "--parallelism", 1, *options, code=code)

    def keys(self) -> dict[str, int]:
        numbers = {key.fingerprint: number for number, key in enumerate(KEYS)}
        found = {one: read_device(item).fingerprint for one, item in self.items().items()}
        return {device_id: numbers[fingerprint] for device_id, fingerprint in found.items() if fingerprint}

    def items(self) -> dict[str, Mapping[str, Any]]:
        found = self.client.scan(TableName=TABLE)["Items"]
        return {item["device-id"]["S"]: item for item in found if "#" not in item["device-id"]["S"]}

    def put(self, device_id: str, key: int, **more: str) -> None:
        item = {"device-id": device_id, "pubkey": KEYS[key].registry_text(), **more}
        self.client.put_item(TableName=TABLE, Item={name: {"S": value} for name, value in item.items()})

    def after_the_first_write_of(self, batch: str, act: Callable[[], object]) -> None:
        """Have something happen once `batch` has written its first devices."""
        original, acted = RegistryTable.write, []

        def write(table: RegistryTable, items: Any) -> None:
            original(table, items)
            if items and items[0]["batch"]["S"] == batch and not acted:
                acted.append(True)
                act()

        self._patch.setattr(RegistryTable, "write", write)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Registry:
    monkeypatch.setattr(importer, "CHUNK", 2)
    return Registry(monkeypatch)


def open_batch(batch_id: str, state: BatchState = BatchState.IMPORTING) -> Batch:
    return Batch(batch_id, state, "arn:aws:iam::1:user/a", "2026-01-31T00:00:00Z")


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[bool]:
    calls: list[bool] = []
    original = getattr(RegistryTable, name)

    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(True)
        return original(*arguments, **named)

    monkeypatch.setattr(RegistryTable, name, counting)
    return calls


def test_of_two_imports_that_overlap_the_last_to_end_takes_back_the_keys_that_the_other_gave_away(
    registry: Registry,
) -> None:
    inner: dict[str, Any] = {}
    registry.after_the_first_write_of(
        "outer",
        lambda: inner.update(
            registry.enroll([(f"other-{n}", n) for n in range(4)], "inner", code=ExitCode.PARTLY_REFUSED)
        ),
    )
    outer = registry.enroll([(f"dev-{n}", n) for n in range(5)], "outer", code=ExitCode.PARTLY_REFUSED)
    assert registry.keys() == {"dev-0": 0, "dev-1": 1, "other-2": 2, "other-3": 3, "dev-4": 4}
    assert inner["refusals"] == outer["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 2}
    assert (inner["enrolled"], outer["enrolled"]) == (2, 3)
    assert outer["firstRefused"][0]["detail"] == "other-2 was given the same key at the same time"
    assert registry.json("batch", "show", "outer")["counts"]["enrolled"] == 3


def test_an_import_beside_a_line_that_enrols_notices_its_devices_too(registry: Registry) -> None:
    save_batch(registry.store, open_batch("line"))
    registry.after_the_first_write_of("outer", lambda: registry.put("board", 3, batch="line"))
    summary = registry.enroll([(f"dev-{n}", n) for n in range(4)], "outer", code=ExitCode.PARTLY_REFUSED)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}
    assert set(registry.items()) == {"dev-0", "dev-1", "dev-2", "board"}


def test_an_import_that_nobody_disturbs_reads_the_table_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.enroll([("dev-0", 0)], "before")
    scans = counted(monkeypatch, "scan")
    registry.enroll([("dev-1", 1)], "alone")
    assert len(scans) == 1


def test_a_device_that_somebody_else_brings_and_blocks_meanwhile_is_not_overwritten(registry: Registry) -> None:
    registry.after_the_first_write_of("outer", lambda: registry.put("dev-4", 5, status="blocked"))
    summary = registry.enroll([(f"dev-{n}", n) for n in range(5)], "outer", code=ExitCode.PARTLY_REFUSED)
    assert summary["refusals"] == {Refusal.ENROLLED_WITH_OTHER_KEY: 1}
    assert registry.keys()["dev-4"] == 5
    assert registry.items()["dev-4"]["status"] == {"S": "blocked"}


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_a_device_that_a_revert_is_taking_back_does_not_pass_for_enrolled(
    registry: Registry, options: Sequence[str]
) -> None:
    registry.enroll([("dev-0", 0)], "undone")
    registry.enroll([("dev-1", 1)], "kept")
    save_batch(registry.store, open_batch("undone", BatchState.REVERTING))
    pairs = [("dev-0", 0), ("dev-1", 1), ("dev-2", 2)]
    summary = registry.enroll(pairs, "again", *options, code=ExitCode.PARTLY_REFUSED)
    assert (summary["enrolled"], summary["unchanged"]) == (1, 1)
    assert summary["refusals"] == {Refusal.BEING_REVERTED: 1}
    assert "undone" in summary["firstRefused"][0]["detail"]


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_a_blocked_device_without_a_key_stays_as_it_is(registry: Registry, options: Sequence[str]) -> None:
    registry.client.put_item(TableName=TABLE, Item={"device-id": {"S": "dev-0"}, "status": {"S": "blocked"}})
    registry.enroll([("dev-0", 0)], "m", *options, code=ExitCode.REFUSED)
    assert registry.items()["dev-0"] == {"device-id": {"S": "dev-0"}, "status": {"S": "blocked"}}


def test_a_batch_that_was_cut_off_makes_others_look_twice_until_it_is_closed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_batch(registry.store, open_batch("cut-off"))
    scans = counted(monkeypatch, "scan")
    result = CliRunner().invoke(main, ["enroll", str(registry.manifest([("dev-0", 0)], "m")), "--table", TABLE])
    assert "also open: cut-off;" in result.stderr
    assert len(scans) == 2
    assert registry.json("batch", "close", "cut-off")["state"] == "complete"
    registry.enroll([("dev-1", 1)], "alone")
    assert len(scans) == 3


def test_a_batch_that_is_being_reverted_is_not_closed(registry: Registry) -> None:
    save_batch(registry.store, open_batch("b", BatchState.REVERTING))
    result = CliRunner().invoke(main, ["batch", "close", "b", "--table", TABLE])
    assert result.exit_code == 1
    assert "batch revert b" in result.stderr


def test_a_replaced_key_that_another_import_gives_away_is_taken_back_and_the_former_item_returns(
    registry: Registry,
) -> None:
    registry.enroll([("dev-0", 5)], "before")
    former = registry.items()["dev-0"]
    registry.after_the_first_write_of("outer", lambda: registry.enroll([("other", 0)], "inner"))
    rows = [("dev-1", 1), ("dev-2", 2), ("dev-0", 0)]
    registry.enroll(rows, "outer", "--replace", "--reason", "swap", code=ExitCode.PARTLY_REFUSED)
    assert registry.keys() == {"dev-0": 5, "dev-1": 1, "dev-2": 2, "other": 0}
    assert registry.items()["dev-0"] == former


def test_a_device_that_another_import_gave_another_key_is_reported_and_left_as_it_is(registry: Registry) -> None:
    def overwrite() -> None:
        save_batch(registry.store, open_batch("inner"))
        registry.put("dev-0", 5, batch="inner")

    registry.after_the_first_write_of("outer", overwrite)
    summary = registry.enroll([("dev-0", 0), ("dev-1", 1)], "outer", code=ExitCode.PARTLY_REFUSED)
    assert summary["refusals"] == {Refusal.CHANGED_MEANWHILE: 1}
    assert registry.keys() == {"dev-0": 5, "dev-1": 1}
    assert registry.items()["dev-0"]["batch"] == {"S": "inner"}


def test_a_device_that_is_blocked_while_it_is_taken_back_is_removed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, blocked = RegistryTable.delete_exactly, []

    def delete(table: RegistryTable, item: Any) -> None:
        if not blocked:
            blocked.append(table.update(item, {"status": {"S": "blocked"}}))
        original(table, item)

    monkeypatch.setattr(RegistryTable, "delete_exactly", delete)
    registry.after_the_first_write_of("outer", lambda: registry.enroll([("other", 2)], "inner"))
    registry.enroll([(f"dev-{n}", n) for n in range(3)], "outer", code=ExitCode.PARTLY_REFUSED)
    assert registry.keys() == {"dev-0": 0, "dev-1": 1, "other": 2}


def test_a_device_that_never_stands_still_is_left_for_the_resumed_import(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise ChangedMeanwhile("again")

    path = registry.manifest([(f"dev-{n}", n) for n in range(3)], "outer")
    registry.after_the_first_write_of("outer", lambda: registry.enroll([("other", 2)], "inner"))
    arguments = ["enroll", str(path), "--batch", "outer", "--table", TABLE, "--parallelism", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(RegistryTable, "delete_exactly", never)
        result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "run the same command again" in result.stderr) == (1, True)
    registry.table.delete(["other"])  # removed before the import is resumed, which must then take its own back
    summary = registry.json(*arguments[:4], "--resume", code=ExitCode.PARTLY_REFUSED)
    assert (summary["enrolled"], summary["refusals"]) == (2, {Refusal.KEY_OF_OTHER_DEVICE: 1})
    assert registry.keys() == {"dev-0": 0, "dev-1": 1}
    assert registry.store.state().open == frozenset()


def test_an_import_that_is_reverted_while_it_runs_says_so_and_stays_reverted(registry: Registry) -> None:
    path = registry.manifest([(f"dev-{n}", n) for n in range(3)], "outer")
    registry.after_the_first_write_of("outer", lambda: registry.json("batch", "revert", "outer", "--force"))
    arguments = ["enroll", str(path), "--batch", "outer", "--table", TABLE, "--parallelism", "1"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "batch revert outer" in result.stderr) == (1, True)
    assert registry.json("batch", "show", "outer")["state"] == "reverted"
    registry.json("batch", "revert", "outer", "--force")
    assert registry.items() == {}


@pytest.mark.parametrize("more_rows", [0, 5])
def test_an_item_without_a_fingerprint_holds_its_key_whatever_the_number_of_rows(
    more_rows: int, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put("old", 0)
    monkeypatch.setattr(RegistryTable, "item_count", lambda _: 40)
    others = [(f"dev-{number}", number) for number in range(1, more_rows + 1)]
    code = ExitCode.PARTLY_REFUSED if more_rows else ExitCode.REFUSED
    summary = registry.enroll([("new", 0), *others], "lot", code=code)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}
    assert summary["withoutFingerprint"] == 1
    assert registry.keys() == {"old": 0, **dict(others)}


def test_the_index_is_asked_only_after_a_reading_found_every_key_in_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RegistryTable, "item_count", lambda _: 40)
    scans = counted(monkeypatch, "scan")
    registry.put("old", 0)
    registry.enroll([("dev-1", 1)], "first")
    registry.enroll([("dev-2", 2)], "second")
    assert len(scans) == 2
    assert registry.json("index-keys")["indexed"] == 1
    del scans[:]
    registry.enroll([("dev-3", 3)], "third")
    summary = registry.enroll([("new", 0)], "fourth", code=ExitCode.REFUSED)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}
    assert scans == []


def test_a_reading_that_finds_an_item_without_a_fingerprint_ends_the_trust_in_the_index(registry: Registry) -> None:
    registry.enroll([("dev-1", 1)], "first")
    assert registry.store.state().is_indexed
    registry.put("old", 0)
    registry.enroll([("dev-2", 2)], "second")
    assert not registry.store.state().is_indexed


def test_a_dry_run_puts_nothing_down(registry: Registry) -> None:
    registry.enroll([("dev-1", 1)], "lot", "--dry-run")
    assert registry.client.scan(TableName=TABLE)["Items"] == []


def test_missing_fingerprints_are_added_and_what_cannot_be_is_named(registry: Registry) -> None:
    registry.enroll([("dev-1", 1)], "lot")
    registry.put("old", 0, colour="red")
    registry.client.put_item(TableName=TABLE, Item={"device-id": {"S": "broken"}, "pubkey": {"S": "rubbish"}})
    registry.client.put_item(TableName=TABLE, Item={"device-id": {"S": "keyless"}})
    before = registry.items()
    counts = {"devices": 4, "indexed": 1, "keyless": 1, "unreadable": ["broken"], "changed": []}
    assert registry.json("index-keys", "--dry-run", code=ExitCode.PARTLY_REFUSED) == {"dryRun": True, **counts}
    assert registry.items() == before
    assert registry.json("index-keys", code=ExitCode.PARTLY_REFUSED) == {"dryRun": False, **counts}
    added = {"old": {**before["old"], "key-fingerprint": {"S": KEYS[0].fingerprint}}}
    assert registry.items() == {**before, **added}
    result = CliRunner().invoke(main, ["index-keys", "--table", TABLE])
    assert "broken: unreadable key" in result.stderr


def test_a_fingerprint_is_not_added_to_a_key_that_was_changed_meanwhile(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put("old", 0)
    original = RegistryTable.update

    def update(table: RegistryTable, *arguments: Any) -> None:
        registry.put("old", 1)
        original(table, *arguments)

    monkeypatch.setattr(RegistryTable, "update", update)
    assert registry.json("index-keys", code=ExitCode.PARTLY_REFUSED)["changed"] == ["old"]
    assert "key-fingerprint" not in registry.items()["old"]
    assert not registry.store.state().is_indexed
