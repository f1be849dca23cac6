"""Runs of `secretfree enroll` that fail, are cut off or are resumed: nothing is lost or left in the way."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.store import RegistryBusy
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.main import main
from secretfree_cli.manifests.generate import SampleDevice, sample_devices
from secretfree_cli.output import ExitCode

TABLE = "registry"
DEVICES = list(sample_devices(4, "dev-{}".format))


class Registry:
    """The table on moto, and the command pointed at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = boto3.client("dynamodb")
        self.client.create_table(**import_table_request(TABLE, "", "")["TableCreationParameters"])
        self._patch = monkeypatch

    def run(self, *arguments: object, code: int = 0) -> Result:
        words = [str(argument) for argument in arguments]
        if "--table" not in words:
            words += ["--table", TABLE]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output + str(result.exception)
        return result

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def cut_off(self, *arguments: object) -> Result:
        """Run until the first devices are to be written, which the table does not take."""
        original = RegistryTable.write

        def busy(table: RegistryTable, items: Any) -> None:
            if "pubkey" in items[0]:
                raise RegistryBusy("took nothing")
            original(table, items)

        with self._patch.context() as patched:
            patched.setattr(RegistryTable, "write", busy)
            return self.run(*arguments, code=1)

    def items(self) -> dict[str, Mapping[str, Any]]:
        found = self.client.scan(TableName=TABLE)["Items"]
        return {item["device-id"]["S"]: item for item in found if "#" not in item["device-id"]["S"]}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Registry:
    return Registry(monkeypatch)


def manifest(*devices: SampleDevice, name: str = "m.csv", header: str = "device-id,public-key") -> Path:
    path = Path(name)
    rows = [f"{device.device_id},{device.public_key.registry_text()}\n" for device in devices]
    path.write_text(header + "\n" + "".join(rows))
    return path


def two_keys() -> Path:
    path = Path("two.csv")
    rows = zip(DEVICES[:2], DEVICES[2:], strict=True)
    lines = [f"{one.device_id},{one.public_key.registry_text()},{two.public_key.registry_text()}" for one, two in rows]
    path.write_text("device-id,keyA,keyB\n" + "\n".join(lines) + "\n")
    return path


def checkpoints() -> list[Path]:
    folder = Path("state/secretfree/enrollment")
    return list(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    "first",
    [
        ("m.csv",),  # the header is the supplier's: --column is missing
        ("m.csv", "--column", "device-id=Serial"),
        ("m.csv", "--column", "device-id=Serial", "--column", "public-key=Key", "--batch", "taken"),
    ],
)
def test_a_try_that_fails_before_anything_is_written_is_not_in_the_way_of_the_next(
    first: tuple[str, ...], registry: Registry
) -> None:
    registry.run("enroll", manifest(DEVICES[3], name="before.csv"), "--batch", "taken")
    manifest(DEVICES[0], header="Serial,Key")
    registry.run("enroll", *first, code=1)
    assert checkpoints() == []
    right = ("--column", "device-id=Serial", "--column", "public-key=Key")
    assert registry.json("enroll", "m.csv", *right)["enrolled"] == 1


@pytest.mark.parametrize("command", [("list",), ("stats",), ("enroll", "m.csv"), ("batch", "list")])
def test_a_table_that_is_not_there_is_said_to_be_none_and_leaves_nothing(
    command: tuple[str, ...], registry: Registry
) -> None:
    manifest(DEVICES[0])
    result = registry.run(*command, "--table", "nope", code=ExitCode.NOT_FOUND)
    assert "ResourceNotFoundException" in result.stderr
    assert checkpoints() == []


def test_an_import_that_was_cut_off_is_gone_on_with_from_any_folder(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(*DEVICES[:2]).resolve()
    registry.cut_off("enroll", path, "--batch", "lot")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    monkeypatch.setenv("SECRETFREE_PROJECT", str(Path.cwd()))
    summary = registry.json("enroll", path, "--resume")
    assert (summary["resumed"], summary["batch"], summary["enrolled"]) == (True, "lot", 2)


def test_a_relative_state_folder_is_none(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(Path("home").resolve()))
    registry.cut_off("enroll", manifest(DEVICES[0]))
    assert len(list(Path("home/.local/state/secretfree/enrollment").iterdir())) == 1


def test_a_state_folder_that_cannot_be_made_is_said_to_be_the_trouble(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("state").write_text("in the way")
    result = registry.run("enroll", manifest(DEVICES[0]), code=1)
    assert "XDG_STATE_HOME" in result.stderr


def test_resuming_where_nothing_was_cut_off_is_said_aloud(registry: Registry) -> None:
    result = registry.run("enroll", manifest(DEVICES[0]), "--resume")
    assert "nothing to resume" in result.stderr


def test_an_import_that_was_interrupted_elsewhere_is_resumed_by_the_same_command(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.cut_off("enroll", manifest(*DEVICES[:2]))
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("another").resolve()))
    summary = registry.json("enroll", "m.csv")
    assert (summary["resumed"], summary["enrolled"]) == (True, 2)
    (batch,) = registry.json("batch", "list")["batches"]
    assert (batch["batch"], batch["state"], batch["counts"]["enrolled"]) == (summary["batch"], "complete", 2)


def test_a_complete_import_run_again_changes_nothing_and_stays_one_batch(registry: Registry) -> None:
    first = registry.json("enroll", manifest(*DEVICES[:2]))
    before = registry.items()
    Path("m.csv").rename("renamed.csv")
    again = registry.json("enroll", "renamed.csv")
    assert (again["batch"], again["enrolled"], again["unchanged"]) == (first["batch"], 0, 2)
    assert registry.items() == before
    (batch,) = registry.json("batch", "list")["batches"]
    assert (batch["state"], batch["counts"]["enrolled"]) == ("complete", 2)


def test_a_device_removed_since_comes_back_with_the_same_batch(registry: Registry) -> None:
    path = manifest(*DEVICES[:2])
    first = registry.json("enroll", path)
    registry.run("remove", DEVICES[0].device_id, "--force")
    again = registry.json("enroll", path)
    assert (again["batch"], again["enrolled"], again["unchanged"]) == (first["batch"], 1, 1)
    assert {item["batch"]["S"] for item in registry.items().values()} == {first["batch"]}


def test_an_import_whose_batch_was_reverted_begins_another_batch(registry: Registry) -> None:
    path = manifest(*DEVICES[:2])
    registry.cut_off("enroll", path)
    (first,) = registry.json("batch", "list")["batches"]
    registry.run("batch", "revert", first["batch"], "--force")
    summary = registry.json("enroll", path)
    assert (summary["batch"], summary["enrolled"]) == (f"{first['batch']}.2", 2)
    assert registry.json("batch", "show", first["batch"])["state"] == "reverted"


def test_a_named_batch_that_was_reverted_is_not_resumed(registry: Registry) -> None:
    path = manifest(*DEVICES[:2])
    registry.cut_off("enroll", path, "--batch", "lot")
    registry.run("batch", "revert", "lot", "--force")
    assert "reverted" in registry.run("enroll", path, "--batch", "lot", code=1).stderr
    assert registry.items() == {}
    assert registry.json("batch", "show", "lot")["state"] == "reverted"


def test_an_interrupted_import_begins_anew_in_a_table_that_was_made_anew(registry: Registry) -> None:
    first = registry.cut_off("enroll", manifest(*DEVICES[:2]))
    assert "the same command" in first.stderr
    registry.client.delete_table(TableName=TABLE)
    registry.client.create_table(**import_table_request(TABLE, "", "")["TableCreationParameters"])
    summary = registry.json("enroll", "m.csv")
    assert (summary["resumed"], summary["enrolled"]) == (False, 2)


@pytest.mark.parametrize(
    "other",
    [
        ("--column", "public-key=keyB", "--ignore-column", "keyA"),
        ("--column", "public-key=keyA", "--ignore-column", "keyB", "--batch", "other"),
        ("--column", "public-key=keyA", "--ignore-column", "keyB", "--slot", "1"),
        ("--column", "public-key=keyA", "--ignore-column", "keyB", "--device-profile", "TI_CC32XX"),
        ("--column", "public-key=keyA", "--ignore-column", "keyB", "--replace", "--reason", "x"),
    ],
)
@pytest.mark.parametrize("state", ["state", "another"])
def test_an_interrupted_import_is_not_mixed_with_one_of_other_options(
    other: tuple[str, ...], state: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ("--column", "public-key=keyA", "--ignore-column", "keyB")
    registry.cut_off("enroll", two_keys(), *first)
    monkeypatch.setenv("XDG_STATE_HOME", str(Path(state).resolve()))
    result = registry.run("enroll", "two.csv", *other, code=1)
    assert "is not finished" in result.stderr
    assert registry.items() == {}
    assert registry.json("enroll", "two.csv", *first)["enrolled"] == 2
    keys = {device_id: item["key-fingerprint"]["S"] for device_id, item in registry.items().items()}
    assert keys == {device.device_id: device.public_key.fingerprint for device in DEVICES[:2]}


def test_a_restarted_import_checks_all_rows_again_and_stays_the_same_batch(registry: Registry) -> None:
    registry.cut_off("enroll", manifest(DEVICES[0]))
    summary = registry.json("enroll", "m.csv", "--restart")
    assert (summary["resumed"], summary["enrolled"]) == (True, 1)
    assert [batch["state"] for batch in registry.json("batch", "list")["batches"]] == ["complete"]
    assert checkpoints() == []


def test_two_imports_of_the_same_files_do_not_run_at_the_same_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(DEVICES[0])
    second: list[str] = []
    original = RegistryTable.write

    def write(table: RegistryTable, items: Any) -> None:
        if not second:
            second.append("")
            second.extend(registry.run("enroll", path, option, code=1).stderr for option in ("--resume", "--restart"))
        original(table, items)

    monkeypatch.setattr(RegistryTable, "write", write)
    assert registry.json("enroll", path)["enrolled"] == 1
    assert all("is running" in said for said in second[1:])


def test_ctrl_c_says_how_to_go_on(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RegistryTable, "write", interrupted)
        assert "the same command resumes" in registry.run("enroll", manifest(DEVICES[0]), code=1).stderr
    assert registry.json("enroll", "m.csv")["enrolled"] == 1


def test_an_error_of_the_cloud_in_the_middle_says_how_to_go_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(table: RegistryTable, *_: object) -> None:
        table._client.get_item(TableName="gone", Key={"device-id": {"S": "x"}})

    with monkeypatch.context() as patched:
        patched.setattr(RegistryTable, "write", refusing)
        said = registry.run("enroll", manifest(DEVICES[0]), code=ExitCode.NOT_FOUND).stderr
        assert "the same command resumes" in said
    assert registry.json("enroll", "m.csv")["enrolled"] == 1


def test_a_report_is_not_written_over_what_is_read(registry: Registry) -> None:
    path = manifest(DEVICES[0])
    before = path.read_bytes()
    Path("link.csv").symlink_to(path)
    Path("hard.csv").hardlink_to(path)
    Path("signer.pem").write_text("a signer")
    Path("folder").mkdir()
    for report in ("m.csv", "./m.csv", path.resolve(), "link.csv", "hard.csv", "signer.pem"):
        for more in ((), ("--dry-run",)):
            registry.run("enroll", path, "--signer", "signer.pem", "--report", report, *more, code=ExitCode.USAGE)
    registry.run("enroll", "folder", "--report", "folder/refused.pem", code=ExitCode.USAGE)
    prepared = CliRunner().invoke(main, ["prepare-import", "m.csv", "out", "--report", "m.csv"])
    assert prepared.exit_code == ExitCode.USAGE
    assert (path.read_bytes(), Path("signer.pem").read_text()) == (before, "a signer")
    assert registry.items() == {}


@pytest.mark.parametrize("report", ["absent/r.jsonl", "read-only.jsonl", "folder"])
def test_a_report_that_cannot_be_written_is_found_before_any_device_is(report: str, registry: Registry) -> None:
    Path("folder").mkdir()
    Path("read-only.jsonl").touch(mode=0o400)
    if report == "read-only.jsonl" and os.access(report, os.W_OK):
        pytest.skip("this user may write read-only files")
    code = ExitCode.USAGE if report == "folder" else 1
    result = registry.run("enroll", manifest(DEVICES[0]), "--report", report, code=code)
    assert report in result.stderr
    assert registry.items() == {}
    assert checkpoints() == []


def test_a_former_report_stays_until_the_new_one_is_whole(registry: Registry) -> None:
    report = Path("r.jsonl")
    report.write_text("before\n")
    registry.cut_off("enroll", manifest(DEVICES[0]), "--report", report)
    assert (report.read_text(), list(Path().glob("*.partial"))) == ("before\n", [])
    registry.run("enroll", "m.csv", "--report", report, "--resume")
    assert (report.read_text(), list(Path().glob("*.partial"))) == ("", [])


def test_a_report_that_fails_at_the_end_is_written_by_the_resumed_import(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = manifest(DEVICES[0])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        result = registry.run("enroll", path, "--report", "r.jsonl", code=1)
    assert "No space left" in result.stderr
    assert "the same command resumes" in result.stderr
    assert registry.json("enroll", path, "--report", "r.jsonl", "--resume")["enrolled"] == 1
    assert Path("r.jsonl").exists()


def test_a_report_goes_to_a_device_as_it_is(registry: Registry) -> None:
    registry.run("enroll", manifest(DEVICES[0]), "--report", "/dev/null")
    assert not Path("/dev/null").is_file()


def test_ids_that_are_no_text_are_refused_and_stop_no_other_row(registry: Registry) -> None:
    key = DEVICES[0].public_key.registry_text()
    good = f"dev-0,{key}\n".encode()
    Path("latin.csv").write_bytes(b"device-id,public-key\n" + f"ger\xe4t,{key}\n".encode("latin-1") + good)
    surrogate = json.dumps({"device-id": "\ud800", "public-key": key})
    Path("s.jsonl").write_text(surrogate + "\n" + json.dumps({"device-id": "dev-0", "public-key": key}) + "\n")
    first = registry.json("enroll", "latin.csv", "--report", "r.jsonl", code=ExitCode.PARTLY_REFUSED)
    second = registry.json("enroll", "s.jsonl", code=ExitCode.PARTLY_REFUSED)
    assert (first["enrolled"], second["unchanged"]) == (1, 1)
    (refused,) = map(json.loads, Path("r.jsonl").read_text().splitlines())
    assert refused["deviceId"].isascii()
    assert second["firstRefused"][0]["deviceId"] == "\\ud800"


def test_files_whose_names_are_no_text_are_enrolled_and_reported(registry: Registry) -> None:
    folder = Path(os.fsdecode(b"reel-\xff"))
    folder.mkdir()
    (folder / "dev-0.pem").write_text(DEVICES[0].public_key.pem())
    name = registry.json("enroll", folder)["files"][0]["name"]
    assert (name[:6], name.isascii()) == ("reel-\\", True)
    path = Path(os.fsdecode(b"m-\xff.csv"))
    path.write_text(f"device-id,public-key\nbad/id,{DEVICES[1].public_key.registry_text()}\n")
    name = registry.json("enroll", path, code=ExitCode.REFUSED)["firstRefused"][0]["file"]
    assert (name[:3], name.isascii()) == ("m-\\", True)


def test_attributes_that_differ_in_the_registry_are_reported(registry: Registry) -> None:
    key = DEVICES[0].public_key.registry_text()
    for colour in ("red", "blue"):
        Path(f"{colour}.csv").write_text(f"device-id,public-key,attributes.colour\ndev-0,{key},{colour}\n")
    registry.run("enroll", "red.csv")
    result = registry.run("enroll", "blue.csv")
    assert "blue.csv:2  dev-0  the registry's attributes differ, and stay: colour" in result.stderr
    summary = registry.json("enroll", "blue.csv")
    assert (summary["unchanged"], summary["otherAttributes"], summary["refused"]) == (1, 1, 0)
    assert summary["firstOtherAttributes"][0]["deviceId"] == "dev-0"
    assert registry.items()["dev-0"]["attributes"] == {"M": {"colour": {"S": "red"}}}


def test_a_reason_without_replace_is_a_usage_error(registry: Registry) -> None:
    registry.run("enroll", manifest(DEVICES[0]), "--reason", "swap", code=ExitCode.USAGE)
    registry.run("enroll", "--scan", "--reason", "swap", code=ExitCode.USAGE)


def test_prepared_objects_come_with_how_to_make_the_table_restorable(registry: Registry) -> None:
    manifest(DEVICES[0])
    result = CliRunner().invoke(main, ["prepare-import", "m.csv", "out"])
    assert result.exit_code == 0, result.output
    assert "update-continuous-backups --cli-input-json file://out/point-in-time-recovery.json" in result.stderr
    request = json.loads(Path("out/point-in-time-recovery.json").read_text())
    registry.client.create_table(**import_table_request(request["TableName"], "", "")["TableCreationParameters"])
    answer = registry.client.update_continuous_backups(**request)["ContinuousBackupsDescription"]
    assert answer["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
