"""Warnings about ids: which ids are doubtful, and where the summary, the report and `--json` say so."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from secretfree.registry.gate import Gate
from secretfree.request.device_profile import DeviceProfile
from secretfree_cli.importing.checkpoint import Checkpoint, StagedRow
from secretfree_cli.importing.doubtful_ids import Doubt, Doubtful
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.main import main
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.manifests.manifest import Row
from secretfree_cli.output import ExitCode

KEYS = [device.public_key for device in sample_devices(8, "{}".format)]


def doubts(*files: Sequence[str], refused: Sequence[str] = ()) -> dict[Doubt, list[str]]:
    """The doubtful ids of files whose admitted ids are given, by kind."""
    return {one.doubt: [example.device_id for example in one.examples] for one in doubtful(*files, refused=refused)}


def doubtful(*files: Sequence[str], refused: Sequence[str] = ()) -> Sequence[Doubtful]:
    gate = Gate(DeviceProfile.STANDARD, key_optional=True)

    def rows() -> Iterator[tuple[int, str]]:
        for file, ids in enumerate(files):
            for device_id in ids:
                yield file, device_id

    with Checkpoint(None) as checkpoint:
        staged = [
            StagedRow(number, file, number + 1, None, device_id, gate.admit(Row(device_id, None)))
            for number, (file, device_id) in enumerate(rows(), start=1)
        ]
        bad = [
            StagedRow(number, 0, number + 1, None, device_id, reason="device-id", detail="")
            for number, device_id in enumerate(refused, start=len(staged) + 1)
        ]
        checkpoint.stage([*staged, *bad])
        return checkpoint.doubtful_ids()


@pytest.mark.parametrize(
    "damaged", ["Mar-01", "01-Mar", "1-Mar-26", "Dez-24", "2026-03-01", "1E+15", "1E-05", "123456789012345000"]
)
def test_an_accepted_id_that_a_spreadsheet_damaged_is_doubtful(damaged: str) -> None:
    if "+" in damaged:
        assert doubts(refused=[damaged]) == {Doubt.SPREADSHEET_DAMAGE: [damaged]}
    else:
        assert doubts([damaged]) == {Doubt.SPREADSHEET_DAMAGE: [damaged]}


@pytest.mark.parametrize(
    "damaged",
    ["1.2E+15", "1,2E+15", "1.20e+15", "03/01/2026", "1.3.2026", "4711.0", "#N/A", "#####", "2026-03-01 00:00"],
)
def test_a_refused_id_that_a_spreadsheet_damaged_is_doubtful_too(damaged: str) -> None:
    assert doubts(["widget-1", "widget-2"], refused=[damaged]) == {Doubt.SPREADSHEET_DAMAGE: [damaged]}


@pytest.mark.parametrize(
    "sound",
    ["widget-1", "marble-01", "12E15", "mars-01", "0012AB34", "00-11-22-33", "123456789012345678", "Mar", "A1E-05"],
)
def test_an_id_that_no_spreadsheet_writes_is_not_doubtful(sound: str) -> None:
    assert doubts([sound]) == {}


def test_ids_of_digits_that_are_shorter_than_the_others_may_have_lost_their_zeros() -> None:
    assert doubts(["1001", "1002", "12", "7"]) == {Doubt.LOST_LEADING_ZEROS: ["12", "7"]}
    assert doubts(["00AB12", "00AB13", "123456", "7"]) == {Doubt.LOST_LEADING_ZEROS: ["7"]}


def test_other_ids_of_another_length_are_uneven() -> None:
    assert doubts(["sn-0001", "sn-0002", "sn-003", "sn-00004"]) == {Doubt.UNEVEN_LENGTH: ["sn-003", "sn-00004"]}


def test_lengths_are_compared_within_a_file_alone() -> None:
    assert doubts(["sn-1", "sn-2"], ["widget-1", "widget-2"]) == {}


def test_ids_that_differ_in_case_alone_are_doubtful_across_files() -> None:
    assert doubts(["Ab-1", "cd-2"], ["ab-1", "ef-3"]) == {Doubt.DIFFERING_IN_CASE_ALONE: ["Ab-1", "ab-1"]}


def test_a_warning_counts_all_and_names_the_first() -> None:
    (warning,) = doubtful([f"{number:04}" for number in range(1000, 1900)] + [str(number) for number in range(80)])
    assert warning.count == 80
    assert len(warning.examples) == 5


def test_a_refused_row_has_no_other_warning_than_of_damage() -> None:
    assert doubts(["sn-1", "sn-2"], refused=["x", "SN-1", "bad/id"]) == {}


@pytest.fixture
def enrol(moto_account: None) -> Any:
    boto3.client("dynamodb").create_table(**import_table_request("registry", "", "")["TableCreationParameters"])

    def run(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(main, ["enroll", *arguments, "--table", "registry"], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run


def manifest(*ids: str) -> None:
    rows = (f"{device_id},{key.registry_text()}\n" for device_id, key in zip(ids, KEYS, strict=False))
    Path("m.csv").write_text("device-id,public-key\n" + "".join(rows))


def test_json_the_report_and_the_summary_each_say_a_warning_once(enrol: Any) -> None:
    manifest("1001", "1002", "12", "7", "1.2E+15")
    written = enrol("m.csv", "--json", "--report", "r.jsonl", "--dry-run", code=ExitCode.PARTLY_REFUSED)
    warnings = json.loads(written.stdout)["warnings"]
    assert [(one["warning"], one["count"]) for one in warnings] == [
        ("spreadsheet-damage", 1),
        ("lost-leading-zeros", 2),
    ]
    assert warnings[1]["examples"][0] == {"file": "m.csv", "line": 4, "deviceId": "12"}
    report = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [one["reason"] for one in report if "reason" in one] == ["device-id"]
    assert [one for one in report if "warning" in one] == warnings
    said = enrol("m.csv", code=ExitCode.PARTLY_REFUSED).stderr
    assert said.count("lost-leading-zeros: 2 ids") == 1
    assert "12 (m.csv:4), 7 (m.csv:5)" in said


def test_json_names_every_file_and_subfolder_that_was_not_read(enrol: Any) -> None:
    Path("reel/sub").mkdir(parents=True)
    for number in range(12):
        Path(f"reel/notes-{number:02}.txt").write_text("x")
    Path("reel/dev-0.pem").write_text(KEYS[0].pem())
    document = json.loads(enrol("reel", "--json").stdout)
    assert document["notRead"] == [*(f"reel/notes-{number:02}.txt" for number in range(12)), "reel/sub/"]
    assert document["remarks"] == []
