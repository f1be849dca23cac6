"""Removing devices from the registry."""

import time
from typing import Any

import pytest
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.store import ChangedMeanwhile
from secretfree_cli.output import CliError, ExitCode
from support.stack_on_moto import Stack


def test_a_device_with_an_active_certificate_is_not_removed_unless_forced(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), (3, 3), batch="one")
    stack.certify(0)
    stack.certify(1, state="superseded")
    stack.certify(2, not_after=time.time() - 60)
    done = stack.json("remove", "dev-0", "dev-1", "dev-2", "dev-9", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == [
        "has-active-certificate",
        "removed",
        "removed",
        "not-found",
    ]
    assert set(stack.items()) == {"dev-0", "dev-3"}
    stack.run("remove", "dev-0", code=ExitCode.REFUSED)
    stack.run("remove", "dev-9", code=ExitCode.NOT_FOUND)
    stack.run("remove", "dev-0", "--force")
    assert set(stack.items()) == {"dev-3"}


@pytest.mark.parametrize("command", [("remove",), ("block", "--reason", "x"), ("unblock",)])
def test_an_impossible_id_among_several_is_found_before_any_device_is_touched(
    command: tuple[str, ...], stack: Stack
) -> None:
    stack.enroll((0, 0), batch="one")
    before = stack.items()
    stack.run(command[0], "dev-0", "bad id", *command[1:], code=ExitCode.USAGE)
    assert stack.items() == before


def test_removed_devices_are_reported_even_if_an_error_ends_the_command(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    original = RegistryTable.delete_exactly

    def delete(table: RegistryTable, item: Any) -> None:
        if item["device-id"]["S"] == "dev-1":
            raise CliError("no more")
        original(table, item)

    monkeypatch.setattr(RegistryTable, "delete_exactly", delete)
    assert stack.run("remove", "dev-0", "dev-1", code=1).stdout.split() == ["dev-0", "removed"]


def test_of_several_devices_one_that_somebody_else_changes_stops_no_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    original = RegistryTable.update

    def update(table: RegistryTable, item: Any, *arguments: Any) -> None:
        if item["device-id"]["S"] == "dev-0":
            raise ChangedMeanwhile("just now")
        original(table, item, *arguments)

    monkeypatch.setattr(RegistryTable, "update", update)
    done = stack.json("block", "dev-0", "dev-1", "--reason", "x", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == ["changed-meanwhile", "blocked"]


def test_without_a_ledger_to_ask_removal_must_be_forced(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.has_ledger = False
    stack.run("remove", "dev-0", code=ExitCode.USAGE)
    stack.run("batch", "revert", "one", code=ExitCode.USAGE)
    assert set(stack.items()) == {"dev-0"}
    assert "certificates" not in stack.json("show", "dev-0")
