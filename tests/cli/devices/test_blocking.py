"""Blocking and unblocking devices: by id, by file and by batch."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.store import ChangedMeanwhile
from secretfree_cli.devices import blocking
from secretfree_cli.output import ExitCode
from secretfree_cli.pacing import Pace
from support.stack_on_moto import Stack


def test_devices_of_a_file_are_blocked_unblocked_and_removed(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), batch="one")
    Path("ids.txt").write_text("\ufeff# stolen in transit\ndev-0\r\n\n dev-1 \ndev-0\n")
    done = stack.json("block", "--from", "ids.txt", "dev-2", "--reason", "stolen")
    assert {one["deviceId"]: one["outcome"] for one in done["devices"]} == dict.fromkeys(
        ("dev-2", "dev-0", "dev-1"), "blocked"
    )
    stack.run("unblock", "--from", "ids.txt")
    stack.run("remove", "--from", "ids.txt")
    assert set(stack.items()) == {"dev-2"}
    Path("ids.txt").write_text("\n")
    stack.run("block", "--from", "ids.txt", "--reason", "x", code=ExitCode.USAGE)


@pytest.mark.parametrize("reason", ["", " ", "\t"])
def test_an_empty_reason_is_refused(reason: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", reason, code=ExitCode.USAGE)
    assert stack.items()["dev-0"]["status"]["S"] == "allowed"


def test_blocking_and_unblocking_change_the_status_and_say_why(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    done = stack.json("block", "dev-0", "dev-9", "--reason", "stolen", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == ["blocked", "not-found"]
    item = stack.items()["dev-0"]
    assert (item["status"]["S"], item["blocked-reason"]["S"]) == ("blocked", "stolen")
    assert stack.json("block", "dev-0", "--reason", "x")["devices"][0]["outcome"] == "already-blocked"
    stack.run("unblock", "dev-0")
    assert "blocked-reason" not in stack.items()["dev-0"]
    assert stack.items()["dev-0"]["status"]["S"] == "allowed"
    stack.run("block", "dev-0", code=ExitCode.USAGE)
    stack.run("unblock", "dev-9", code=ExitCode.NOT_FOUND)


def without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretfree_cli.devices.blocking.Pace", lambda _rate: Pace(1e9))


def test_a_batch_is_blocked_as_a_whole_and_no_other(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pause(monkeypatch)
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), batch="two")
    assert stack.json("block", "--batch", "one", "--reason", "leaked")["devices"] == {"blocked": 2}
    assert {name: item["status"]["S"] for name, item in stack.items().items() if "blocked-reason" in item} == {
        "dev-0": "blocked",
        "dev-1": "blocked",
    }


def test_an_interrupted_block_of_a_batch_is_resumed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), batch="one")

    class Interrupted:
        def __init__(self, _rate: float) -> None:
            self.waits = 0

        def wait(self) -> None:
            self.waits += 1
            if self.waits > 1:
                raise KeyboardInterrupt

    monkeypatch.setattr("secretfree_cli.devices.blocking.Pace", Interrupted)
    result = CliRunner().invoke(blocking.block, ["--batch", "one", "--reason", "leaked"])
    assert "interrupted after 1 devices" in result.stderr
    without_pause(monkeypatch)
    done = stack.json("block", "--batch", "one", "--reason", "leaked")
    assert done["devices"] == {"already-blocked": 1, "blocked": 2}


def test_a_device_of_the_batch_that_changes_meanwhile_is_named_and_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pause(monkeypatch)
    stack.enroll((0, 0), (1, 1), batch="one")
    change = DynamoDbRegistryStore.set_status

    def raced(self: DynamoDbRegistryStore, device: Any, *arguments: Any, **settings: Any) -> None:
        if device.device_id == "dev-0":
            raise ChangedMeanwhile("dev-0")
        change(self, device, *arguments, **settings)

    monkeypatch.setattr(DynamoDbRegistryStore, "set_status", raced)
    done = stack.json("block", "--batch", "one", "--reason", "x", code=ExitCode.PARTLY_REFUSED)
    assert (done["devices"], done["changedMeanwhile"]) == ({"changed-meanwhile": 1, "blocked": 1}, ["dev-0"])


def test_what_is_blocked_by_batch_is_named_by_nothing_else(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--batch", "one", "--reason", "x", code=ExitCode.USAGE)
    stack.run("block", "--batch", "none", "--reason", "x", code=ExitCode.NOT_FOUND)


def test_a_block_again_writes_the_device_so_that_its_stream_has_a_change(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", "stolen")
    stack.client.update_item(
        TableName="registry",
        Key={"device-id": {"S": "dev-0"}},
        UpdateExpression="SET #at = :at",
        ExpressionAttributeNames={"#at": "blocked-at"},
        ExpressionAttributeValues={":at": {"S": "2026-01-01T00:00:00Z"}},
    )
    before = stack.items()["dev-0"]
    stack.run("block", "dev-0", "--reason", "stolen")
    assert stack.items()["dev-0"] == before
    stack.run("block", "dev-0", "--reason", "stolen", "--again")
    after = stack.items()["dev-0"]
    assert after["status"] == {"S": "blocked"}
    assert after["blocked-at"] != before["blocked-at"]


@pytest.mark.parametrize(("revoker", "said"), [(None, True), ("the-function", False)])
def test_a_block_says_where_nothing_revokes(stack: Stack, revoker: str | None, said: bool) -> None:
    stack.enroll((0, 0), batch="one")
    stack.revoker = revoker
    assert ("nothing revokes" in stack.run("block", "dev-0", "--reason", "stolen").stderr) is said
