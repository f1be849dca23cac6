"""Showing and reverting the batches of an import."""

import pytest
from secretfree_cli.importing import batch_commands
from secretfree_cli.output import ExitCode
from support.stack_on_moto import DEVICES, Stack


def test_a_revert_that_is_cut_off_says_how_to_resume(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_commands, "revert_batch", cut_off)
    result = stack.run("batch", "revert", "one", code=ExitCode.FAILURE)
    assert "the same command resumes where it stopped" in result.stderr


def test_a_batch_is_undone_and_nothing_else(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), (3, 3), batch="two")
    before = stack.items()
    done = stack.json("batch", "revert", "two")
    assert (done["removed"], done["restored"], done["kept"]) == (2, 0, 0)
    assert stack.items() == {name: before[name] for name in ("dev-0", "dev-1")}
    assert stack.json("batch", "show", "two")["state"] == "reverted"
    assert stack.json("batch", "revert", "two")["removed"] == 0


def test_undoing_a_replacement_brings_the_former_item_back_however_often(stack: Stack) -> None:
    replace = ("--replace", "--reason", "swap")
    stack.enroll((0, 0), batch="one")
    first = stack.items()
    stack.enroll((0, 1), batch="two", options=replace)
    second = stack.items()
    stack.enroll((0, 2), batch="three", options=replace)
    assert stack.json("batch", "revert", "three")["restored"] == 1
    assert stack.items() == second
    assert stack.json("batch", "revert", "two")["restored"] == 1
    assert stack.items() == first


def test_a_row_that_a_later_batch_replaced_is_not_of_the_batch_any_more(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((0, 2), batch="two", options=("--replace", "--reason", "swap"))
    assert stack.json("batch", "revert", "one")["removed"] == 1
    assert set(stack.items()) == {"dev-0"}


def test_what_a_reverted_batch_brought_does_not_come_back_when_a_later_one_is_reverted(stack: Stack) -> None:
    replace = ("--replace", "--reason", "swap")
    stack.enroll((0, 0), batch="zero")
    first = stack.items()
    stack.enroll((0, 1), (1, 3), batch="one", options=replace)
    stack.enroll((0, 2), batch="two", options=replace)
    done = stack.json("batch", "revert", "one")
    assert (done["removed"], done["restored"], done["replacedSince"]) == (1, 0, 1)
    assert "another key from a later batch" in stack.run("batch", "revert", "one").stderr
    assert stack.json("batch", "revert", "two")["restored"] == 1
    assert stack.items() == first


def test_a_device_is_removed_if_every_batch_that_enrolled_it_was_reverted(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.enroll((0, 1), batch="two", options=("--replace", "--reason", "swap"))
    stack.run("batch", "revert", "one")
    assert stack.json("batch", "revert", "two")["removed"] == 1
    assert stack.items() == {}


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_former_key_that_is_another_devices_by_now_does_not_come_back(stack: Stack, is_indexed: bool) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((0, 2), (1, 3), batch="two", options=("--replace", "--reason", "swap"))
    stack.enroll((3, 0), batch="three")
    if not is_indexed:
        legacy = {"device-id": {"S": "old"}, "pubkey": {"S": DEVICES[0].public_key.registry_text()}}
        stack.run("remove", "dev-3", "--force")
        stack.client.put_item(TableName="registry", Item=legacy)
        stack.client.delete_item(TableName="registry", Key={"device-id": {"S": "registry#state"}})
    before = stack.items()
    done = stack.json("batch", "revert", "two", code=ExitCode.PARTLY_REFUSED)
    assert (done["restored"], done["formerKeyTaken"]) == (1, 1)
    assert stack.items()["dev-0"] == before["dev-0"]
    assert stack.items()["dev-1"]["batch"] == {"S": "one"}
    assert "former keys" in stack.run("batch", "revert", "two", code=ExitCode.PARTLY_REFUSED).stderr


def test_a_former_item_that_had_no_fingerprint_returns_with_it(stack: Stack) -> None:
    legacy = {"device-id": {"S": "dev-0"}, "pubkey": {"S": DEVICES[0].public_key.registry_text()}}
    stack.client.put_item(TableName="registry", Item=legacy)
    stack.enroll((0, 1), batch="one", options=("--replace", "--reason", "swap"))
    stack.run("batch", "revert", "one")
    assert stack.items()["dev-0"] == {**legacy, "key-fingerprint": {"S": DEVICES[0].public_key.fingerprint}}


def test_a_batch_is_one_line_in_a_pipe(stack: Stack) -> None:
    name = "a-rather-long-name-of-a-batch-that-somebody-chose-for-the-reel-17"[:64]
    stack.enroll((0, 0), batch=name)
    lines = stack.run("batch", "list").stdout.splitlines()
    assert len(lines) == 2
    assert name in lines[1]


def test_a_blocked_device_of_the_batch_is_removed_too(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", "x")
    assert stack.json("batch", "revert", "one")["removed"] == 1


def test_a_device_that_has_a_certificate_stays_when_its_batch_is_undone_unless_forced(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.certify(0)
    done = stack.json("batch", "revert", "one", code=ExitCode.PARTLY_REFUSED)
    assert (done["removed"], done["kept"]) == (1, 1)
    assert set(stack.items()) == {"dev-0"}
    assert "removed" in stack.run("batch", "revert", "one", "--force").stdout
    assert stack.items() == {}


def test_batches_are_shown_to_people(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    assert "one" in stack.run("batch", "list").stdout
    assert "sha256:" in stack.run("batch", "show", "one").stdout
    stack.run("batch", "show", "nine", code=ExitCode.NOT_FOUND)
