"""Exporting the registry."""

import csv
import io
from pathlib import Path
from typing import TextIO

import pytest
from secretfree_cli.devices import commands as devices_commands
from secretfree_cli.output import ExitCode
from support.stack_on_moto import Stack


def test_an_export_that_is_cut_off_leaves_the_former_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("export", "--output", "e.jsonl")
    former = Path("e.jsonl").read_bytes()

    def cut_off(found: object, stream: TextIO) -> None:
        stream.write("half a line")
        raise KeyboardInterrupt

    monkeypatch.setattr(devices_commands.registry, "export_json_lines", cut_off)
    stack.run("export", "--output", "e.jsonl", code=ExitCode.FAILURE)
    assert Path("e.jsonl").read_bytes() == former
    assert not list(Path().glob("*.partial"))


def test_an_export_that_cannot_be_written_is_an_error_in_one_line(stack: Stack) -> None:
    result = stack.run("export", "--output", "nowhere/e.jsonl", code=ExitCode.FAILURE)
    assert result.stderr.splitlines()[-1] == "error: nowhere/e.jsonl cannot be written: No such file or directory"


@pytest.mark.parametrize("chosen", ["csv", "jsonl"])
def test_an_export_is_read_again_into_the_same_registry(chosen: str, stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.run("block", "dev-1", "--reason", "stolen, twice")
    before = stack.items()
    options = ("--attribute", "colour") if chosen == "csv" else ()
    assert "2 devices" in stack.run("export", "--format", chosen, "--output", f"e.{chosen}", *options).stderr
    stack.run("remove", "dev-0", "dev-1")
    stack.run("enroll", f"e.{chosen}", "--batch", "again")
    after = stack.items()
    for name in ("pubkey", "key-fingerprint", "status", "attributes"):
        assert {i: item[name] for i, item in after.items()} == {i: item[name] for i, item in before.items()}


def test_an_export_goes_to_stdout_and_takes_a_selection(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    output = stack.run("export", "--format", "csv", "--prefix", "dev-1").stdout
    assert [row["device-id"] for row in csv.DictReader(io.StringIO(output))] == ["dev-1"]


@pytest.mark.parametrize("chosen", ["csv", "jsonl"])
def test_an_export_leaves_out_retired_devices_which_have_no_key(chosen: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    gone = {"device-id": {"S": "gone"}, "status": {"S": "retired"}, "retired-at": {"S": "2026-01-01T00:00:00Z"}}
    stack.client.put_item(TableName="registry", Item=gone)
    exported = stack.run("export", "--format", chosen)
    assert "1 devices" in exported.stderr
    assert "gone" not in exported.stdout


def test_a_csv_says_which_attributes_it_leaves_out(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    assert "attributes colour:" in stack.run("export", "--format", "csv").stderr
    for complete in (("--format", "csv", "--attribute", "colour"), ("--format", "jsonl")):
        assert "attributes" not in stack.run("export", *complete).stderr
