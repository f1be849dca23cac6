"""Listing, finding and counting enrolled devices."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.device import EnrolledDevice
from secretfree_cli.devices.listing import Listing
from secretfree_cli.output import ExitCode
from support.stack_on_moto import DEVICES, Stack


def test_devices_are_listed_and_chosen_by_status_batch_and_prefix(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), batch="two", status="blocked")

    def listed(*options: str) -> set[str]:
        return {device["deviceId"] for device in stack.json("list", *options)["devices"]}

    assert listed() == {"dev-0", "dev-1", "dev-2"}
    assert listed("--batch", "one") == {"dev-0", "dev-1"}
    assert listed("--status", "blocked") == {"dev-2"}
    assert listed("--prefix", "dev-1") == {"dev-1"}
    assert stack.json("list", "--limit", "2")["more"] is True
    shown = stack.run("list", "--limit", "1")
    assert "dev-" in shown.stdout
    assert "--limit" in shown.stderr


def test_a_batch_is_listed_in_the_order_of_ids_a_page_at_a_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((3, 3), (1, 1), (0, 0), (2, 2), batch="one")
    read: list[int] = []
    original = DynamoDbRegistryStore.read
    monkeypatch.setattr(
        DynamoDbRegistryStore, "read", lambda store, ids: read.append(len(list(ids))) or original(store, ids)
    )
    first = stack.json("list", "--batch", "one", "--limit", "2")
    assert [one["deviceId"] for one in first["devices"]] == ["dev-0", "dev-1"]
    assert (first["more"], first["next"]) == (True, "dev-1")
    assert sum(read) <= 3
    second = stack.json("list", "--batch", "one", "--limit", "2", "--after", first["next"])
    assert [one["deviceId"] for one in second["devices"]] == ["dev-2", "dev-3"]
    assert (second["more"], second["next"]) == (False, None)
    backwards = stack.json("list", "--batch", "one", "--descending", "--limit", "1")
    assert [one["deviceId"] for one in backwards["devices"]] == ["dev-3"]
    stack.run("list", "--descending", code=ExitCode.USAGE)


def test_the_table_is_listed_a_page_at_a_time_and_each_device_once(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), (3, 3), batch="one")
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while True:
        page = stack.json("list", "--limit", "1", *after)
        seen += [one["deviceId"] for one in page["devices"]]
        if not page["more"]:
            break
        after = ("--after", page["next"])
    assert sorted(seen) == ["dev-0", "dev-1", "dev-2", "dev-3"]


def test_devices_are_found_by_key_and_by_a_part_of_their_id(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    Path("key.pem").write_text(DEVICES[1].public_key.pem())
    for key in (DEVICES[1].public_key.fingerprint.upper(), "key.pem"):
        assert [one["deviceId"] for one in stack.json("list", "--key", key)["devices"]] == ["dev-1"]
        assert stack.json("show", "--key", key)["deviceId"] == "dev-1"
    assert [one["deviceId"] for one in stack.json("list", "--contains", "V-1")["devices"]] == ["dev-1"]
    assert stack.json("show", "--contains", "v-1")["deviceId"] == "dev-1"
    assert "dev-0, dev-1" in stack.run("show", "--batch", "one", code=ExitCode.USAGE).stderr
    stack.run("show", "--contains", "nothing", code=ExitCode.NOT_FOUND)
    stack.run("show", code=ExitCode.USAGE)
    stack.run("list", "--key", "no-such-file", code=ExitCode.USAGE)


def test_the_registry_is_counted(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    legacy = {"device-id": {"S": "old"}, "pubkey": {"S": "rubbish"}}
    stack.client.put_item(TableName="registry", Item=legacy)
    assert stack.json("stats") == {
        "devices": 3,
        "byStatus": {"allowed": 3},
        "bySource": {"csv": 2, "unknown": 1},
        "byBatch": {"one": 2, "none": 1},
        "withoutFingerprint": 1,
        "unreadableKeys": 1,
    }
    assert "unreadable keys" in stack.run("stats").stdout


class Counted(EnrolledDevice):
    """A device that counts how many of its kind are in memory."""

    alive = most = 0

    def __init__(self, **fields: str) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1


@pytest.mark.parametrize("form", [("--json",), ()])
def test_a_listing_of_a_batch_holds_few_devices_in_memory(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    pages = [[{"device-id": {"S": f"dev-{page}-{number}"}} for number in range(500)] for page in range(4)]
    monkeypatch.setattr(Listing, "_pages", lambda *_, **__: iter(pages))
    monkeypatch.setattr(
        DynamoDbRegistryStore, "read", lambda _, ids: {one: Counted(device_id=one, batch="one") for one in ids}
    )
    monkeypatch.setattr("secretfree_cli.devices.commands._ROWS_PER_TABLE", 100)
    Counted.most = 0
    assert "dev-3-499" in stack.run("list", "--batch", "one", "--limit", "2000", *form).stdout
    # Two reads of a hundred, and with tables the one being written and the next.
    assert Counted.most <= 400


def names_in(document: object) -> Iterator[str]:
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield name
            # Below these, the names are data: ids of batches, states, an operator's attributes.
            if name not in {"byBatch", "byStatus", "bySource", "attributes"}:
                yield from names_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from names_in(value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "dev-0"),
        ("stats",),
        ("batch", "list"),
        ("batch", "show", "one"),
        ("batch", "revert", "one"),
        ("block", "dev-0", "--reason", "lost"),
    ],
    ids=" ".join,
)
def test_json_names_are_in_camel_case(arguments: tuple[str, ...], stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    names = list(names_in(stack.json(*arguments)))
    assert names
    assert [name for name in names if not re.fullmatch("[a-z][a-zA-Z0-9]*", name)] == []
