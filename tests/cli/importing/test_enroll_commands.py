"""`secretfree enroll` against a registry on moto: what ends in the table, what is reported, and the exit code."""

import gzip
import json
import lzma
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.admission import Refusal
from secretfree.registry.store import RegistryBusy
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.importing import importer
from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.main import main
from secretfree_cli.manifests.csv_rows import CsvManifest
from secretfree_cli.manifests.generate import SampleDevice, sample_devices
from secretfree_cli.manifests.manifest import Entry, Row
from secretfree_cli.output import ExitCode

TABLE = "registry"
DEVICES = list(sample_devices(5, "dev-{}".format))
HEADER = "device-id,public-key\n"
pytestmark = pytest.mark.usefixtures("moto_account")


@dataclass
class Registry:
    """The table on moto, and the command pointed at it."""

    client: Any

    def run(self, *arguments: object, code: int = 0, stdin: bytes | None = None) -> Result:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(main, [*words, "--table", TABLE], input=stdin, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def items(self) -> dict[str, Mapping[str, Any]]:
        found = self.client.scan(TableName=TABLE)["Items"]
        return {item["device-id"]["S"]: item for item in found if "#" not in item["device-id"]["S"]}

    def keys(self) -> dict[str, str]:
        return {device_id: item["key-fingerprint"]["S"] for device_id, item in self.items().items()}


@pytest.fixture(params=["with-indexes", "of-an-existing-deployment"])
def registry(request: pytest.FixtureRequest, moto_account: None) -> Registry:
    client = boto3.client("dynamodb")
    parameters = dict(import_table_request(TABLE, "", "")["TableCreationParameters"])
    if request.param != "with-indexes":
        del parameters["GlobalSecondaryIndexes"]
        parameters["AttributeDefinitions"] = parameters["AttributeDefinitions"][:1]
    client.create_table(**parameters)
    return Registry(client)


def row(device: SampleDevice, key: SampleDevice | None = None) -> str:
    return f"{device.device_id},{(key or device).public_key.registry_text()}\n"


def manifest(*rows: str, name: str = "m.csv", header: str = HEADER) -> Path:
    path = Path(name)
    path.write_text(header + "".join(rows))
    return path


def fingerprints(*devices: SampleDevice) -> dict[str, str]:
    return {device.device_id: device.public_key.fingerprint for device in devices}


def test_a_manifest_is_enrolled_and_accounted_for(registry: Registry) -> None:
    summary = registry.json("enroll", manifest(*map(row, DEVICES)))
    assert (summary["rows"], summary["enrolled"], summary["refused"]) == (5, 5, 0)
    assert registry.keys() == fingerprints(*DEVICES)
    assert {item["batch"]["S"] for item in registry.items().values()} == {summary["batch"]}


def test_the_batch_says_who_enrolled_what_when_and_from_which_file(registry: Registry) -> None:
    path = manifest(*map(row, DEVICES))
    batch = registry.json("enroll", path, "--batch", "lot-7")["batch"]
    shown = registry.json("batch", "show", "lot-7")
    assert batch == shown["batch"] == "lot-7"
    assert shown["enrolledBy"].startswith("arn:aws:")
    assert shown["state"] == "complete"
    assert shown["counts"]["enrolled"] == 5
    assert shown["files"][0]["name"] == "m.csv"
    assert len(shown["files"][0]["sha256"]) == 64
    assert [one["batch"] for one in registry.json("batch", "list")["batches"]] == ["lot-7"]


def test_a_batch_id_is_not_used_twice(registry: Registry) -> None:
    registry.run("enroll", manifest(row(DEVICES[0])), "--batch", "lot-7")
    result = registry.run("enroll", manifest(row(DEVICES[1])), "--batch", "lot-7", code=1)
    assert "lot-7" in result.stderr
    assert registry.keys() == fingerprints(DEVICES[0])


def test_refused_rows_are_reported_by_line_and_the_good_ones_enrolled(registry: Registry) -> None:
    path = manifest(row(DEVICES[0]), "bad/id,x\n", row(DEVICES[1]), "dev-9,rubbish!\n")
    summary = registry.json("enroll", path, "--report", "refused.jsonl", code=ExitCode.PARTLY_REFUSED)
    assert (summary["enrolled"], summary["refused"]) == (2, 2)
    report = [json.loads(line) for line in Path("refused.jsonl").read_text().splitlines()]
    assert [(one["file"], one["line"], one["deviceId"], one["reason"]) for one in report] == [
        ("m.csv", 3, "bad/id", "device-id"),
        ("m.csv", 5, "dev-9", "not-base64"),
    ]
    assert registry.keys() == fingerprints(*DEVICES[:2])


def test_people_are_shown_the_first_refusals_and_no_control_characters(registry: Registry) -> None:
    rows = [f"\x1b[2J{number},x\n" for number in range(12)]
    result = registry.run("enroll", manifest(*rows), code=ExitCode.REFUSED)
    assert "2 more" in result.stderr
    assert "\x1b[2J" not in result.output


def test_a_dry_run_reports_all_and_writes_nothing(registry: Registry) -> None:
    registry.run("enroll", manifest(row(DEVICES[0])))
    before = registry.client.scan(TableName=TABLE)["Items"]
    path = manifest(row(DEVICES[0]), row(DEVICES[1]), row(DEVICES[2], DEVICES[0]), "bad/id,x\n")
    summary = registry.json("enroll", path, "--dry-run", "--report", "r.jsonl", code=ExitCode.PARTLY_REFUSED)
    assert {name: summary[name] for name in ("dryRun", "enrolled", "refused")} == {
        "dryRun": True,
        "enrolled": 1,
        "refused": 3,
    }
    assert registry.client.scan(TableName=TABLE)["Items"] == before
    assert len(Path("r.jsonl").read_text().splitlines()) == summary["refused"]


def test_rows_that_contradict_each_other_are_all_refused(registry: Registry) -> None:
    path = manifest(
        row(DEVICES[0]),
        row(DEVICES[0], DEVICES[1]),
        row(DEVICES[2]),
        row(DEVICES[3], DEVICES[2]),
        row(DEVICES[4]),
        row(DEVICES[4]),
    )
    summary = registry.json("enroll", path, "--report", "r.jsonl", code=ExitCode.PARTLY_REFUSED)
    assert summary["refusals"] == {
        Refusal.DUPLICATE_DEVICE_ID: 2,
        Refusal.DUPLICATE_KEY: 2,
        Refusal.DUPLICATE_ROW: 1,
    }
    assert registry.keys() == fingerprints(DEVICES[4])
    details = [json.loads(line)["detail"] for line in Path("r.jsonl").read_text().splitlines()]
    assert details == [
        "line 2, line 3 give this device different keys",
        "line 2, line 3 give this device different keys",
        "line 4, line 5 give this key to different devices",
        "line 4, line 5 give this key to different devices",
        "the same as line 6",
    ]


def test_rows_of_several_files_contradict_each_other_as_well(registry: Registry) -> None:
    one = manifest(row(DEVICES[0]), row(DEVICES[1]))
    other = manifest(row(DEVICES[0], DEVICES[2]), name="other.csv")
    summary = registry.json("enroll", one, other, code=ExitCode.PARTLY_REFUSED)
    assert registry.keys() == fingerprints(DEVICES[1])
    assert summary["firstRefused"][0]["detail"] == "line 2 of file 1, line 2 of file 2 give this device different keys"


def test_what_is_enrolled_already_is_left_as_it_is(registry: Registry) -> None:
    path = manifest(*map(row, DEVICES))
    registry.run("enroll", path)
    before = registry.items()
    assert registry.json("enroll", path)["unchanged"] == 5
    assert registry.items() == before


def test_an_enrolled_device_gets_another_key_only_with_a_reason(registry: Registry) -> None:
    registry.run("enroll", manifest(row(DEVICES[0])), "--batch", "first")
    swap = manifest(row(DEVICES[0], DEVICES[1]))
    summary = registry.json("enroll", swap, code=ExitCode.REFUSED)
    assert summary["refusals"] == {Refusal.ENROLLED_WITH_OTHER_KEY: 1}
    registry.run("enroll", swap, "--replace", code=ExitCode.USAGE)
    assert registry.json("enroll", swap, "--replace", "--reason", "module swapped")["replaced"] == 1
    assert registry.keys() == {DEVICES[0].device_id: DEVICES[1].public_key.fingerprint}
    item = registry.items()[DEVICES[0].device_id]
    assert item["replaced-reason"]["S"] == "module swapped"
    assert item["replaced"]["L"][0]["M"]["batch"]["S"] == "first"


def test_a_key_that_another_device_has_is_refused_whatever_the_reason(registry: Registry) -> None:
    registry.run("enroll", manifest(row(DEVICES[0])))
    path = manifest(row(DEVICES[1], DEVICES[0]))
    summary = registry.json("enroll", path, "--replace", "--reason", "x", code=ExitCode.REFUSED)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}


def test_a_few_rows_against_a_large_table_are_looked_up_by_the_index(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.run("enroll", manifest(row(DEVICES[0])))
    monkeypatch.setattr(RegistryTable, "item_count", lambda _: 10_000)
    path = manifest(row(DEVICES[1], DEVICES[0]), row(DEVICES[2]))
    summary = registry.json("enroll", path, code=ExitCode.PARTLY_REFUSED)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}
    assert registry.keys() == fingerprints(DEVICES[0], DEVICES[2])


def test_items_of_an_existing_deployment_count_as_enrolled_and_get_their_fingerprints(registry: Registry) -> None:
    for device in DEVICES[:2]:
        key = device.public_key.registry_text()
        registry.client.put_item(TableName=TABLE, Item={"device-id": {"S": device.device_id}, "pubkey": {"S": key}})
    path = manifest(row(DEVICES[0]), row(DEVICES[2], DEVICES[1]), row(DEVICES[3]))
    summary = registry.json("enroll", path, code=ExitCode.PARTLY_REFUSED)
    assert (summary["indexed"], summary["enrolled"]) == (1, 1)
    assert summary["refusals"] == {Refusal.KEY_OF_OTHER_DEVICE: 1}
    assert registry.items()[DEVICES[0].device_id]["key-fingerprint"]["S"] == DEVICES[0].public_key.fingerprint


def test_one_device_is_enrolled_by_its_key_file(registry: Registry) -> None:
    Path("key.pem").write_text(DEVICES[0].public_key.pem())
    assert registry.json("enroll", "dev-0", "--public-key", "key.pem")["enrolled"] == 1
    registry.run("enroll", "dev-1", "--public-key", "-", stdin=DEVICES[1].public_key.spki)
    assert registry.keys() == fingerprints(*DEVICES[:2])


def test_a_private_key_is_refused_in_words_that_say_why(registry: Registry) -> None:
    private = DEVICES[0].private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path("key.pem").write_bytes(private)
    result = registry.run("enroll", "dev-0", "--public-key", "key.pem", code=ExitCode.REFUSED)
    assert "PRIVATE" in result.stderr
    assert registry.items() == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("enroll",),
        ("enroll", "absent.csv"),
        ("enroll", "a", "b", "--public-key", "m.csv"),
        ("enroll", "m.csv", "--batch", "a b"),
        ("enroll", "m.csv", "--resume", "--restart"),
        ("enroll", "m.csv", "--column", "device-id"),
        ("enroll", "m.csv", "--reason", " ", "--replace"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], registry: Registry) -> None:
    manifest(row(DEVICES[0]))
    registry.run(*arguments, code=ExitCode.USAGE)


def test_a_suppliers_columns_and_another_profile_are_set_by_options(registry: Registry) -> None:
    udid = "A0 B1 C2 D3 E4 F5 06 17 28 39 4A 5B 6C 7D 8E 9F"
    path = manifest(f"{udid},{DEVICES[0].public_key.registry_text()},7\n", header="Serial,Key,Lot\n")
    options = ["--column", "device-id=Serial", "--column", "public-key=Key", "--ignore-column", "Lot"]
    registry.run("enroll", path, *options, "--device-profile", "TI_CC32XX")
    assert list(registry.items()) == ["a0b1c2d3e4f5061728394a5b6c7d8e9f"]


def test_a_manifest_that_cannot_be_read_at_all_changes_nothing(registry: Registry) -> None:
    result = registry.run("enroll", manifest(header="Serial,Key\n"), code=1)
    assert "--column" in result.stderr
    assert registry.items() == {}


@pytest.mark.parametrize("format_name", ["microchip", "infineon", "pem", "espressif", "dynamodb", "jsonl"])
def test_a_sample_of_each_format_is_enrolled_through_the_commands(format_name: str, registry: Registry) -> None:
    sampled = CliRunner().invoke(main, ["sample-manifest", format_name, "s", "--count", "4", "--keys", "keys"])
    assert sampled.exit_code == 0, sampled.output
    needs = {"microchip": "--signer", "infineon": "--ca"}.get(format_name)
    registry.run("enroll", "s", *([needs, "s.authority.pem"] if needs else []))
    assert {f"{device_id}.key.pem" for device_id in registry.items()} == {path.name for path in Path("keys").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("csv", "there.csv"), "there.csv exists already"),
        (("csv", "new.csv", "--keys", "keys"), "keys/dev-00000000.key.pem cannot be written: File exists"),
        (("csv", "nowhere/new.csv"), "nowhere/new.csv cannot be written: No such file or directory"),
    ],
)
def test_a_sample_replaces_nothing(arguments: tuple[str, ...], said: str) -> None:
    Path("keys").mkdir()
    present = {Path("there.csv"): "a supplier's", Path("keys/dev-00000000.key.pem"): "a device's"}
    for path, content in present.items():
        path.write_text(content)
    result = CliRunner().invoke(main, ["sample-manifest", *arguments])
    assert result.exit_code == ExitCode.FAILURE
    assert f"error: {said}" in result.stderr
    assert {path: path.read_text() for path in present} == present


def test_a_large_manifest_is_checked_by_several_processes_in_its_order(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secretfree_cli.importing.checking._WORTH_PROCESSES", 1)
    monkeypatch.setattr("secretfree_cli.importing.checking._ENTRIES_AT_ONCE", 2)
    rows = [row(device) if number % 2 else f"bad/{number},x\n" for number, device in enumerate(DEVICES * 4)]
    summary = registry.json("enroll", manifest(*rows), "--report", "r.jsonl", code=ExitCode.PARTLY_REFUSED)
    assert (summary["rows"], summary["enrolled"]) == (20, 5)
    lines = [json.loads(line)["line"] for line in Path("r.jsonl").read_text().splitlines()]
    assert lines == sorted(lines)
    assert registry.keys() == fingerprints(*DEVICES)


@pytest.mark.parametrize("format_name", ["microchip", "infineon"])
def test_signed_manifests_are_checked_by_several_processes_too(
    format_name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secretfree_cli.importing.checking._WORTH_PROCESSES", 1)
    monkeypatch.setattr("secretfree_cli.importing.checking._ENTRIES_AT_ONCE", 1)
    CliRunner().invoke(main, ["sample-manifest", format_name, "s", "--count", "3"])
    needs = {"microchip": "--signer", "infineon": "--ca"}[format_name]
    assert registry.json("enroll", "s", needs, "s.authority.pem")["enrolled"] == 3


def test_an_import_that_fails_midway_resumes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "CHUNK", 2)
    calls = {"left": 1}
    original = RegistryTable.write

    def failing(self: RegistryTable, items: Any) -> None:
        if "pubkey" in items[0]:
            calls["left"] -= 1
            if calls["left"] < 0:
                raise RegistryBusy("took nothing")
        original(self, items)

    monkeypatch.setattr(RegistryTable, "write", failing)
    path = manifest(*map(row, DEVICES), "bad/id,x\n")
    registry.run("enroll", path, "--parallelism", "1", "--batch", "lot", code=1)
    assert 0 < len(registry.items()) < 5
    monkeypatch.setattr(RegistryTable, "write", original)
    summary = registry.json("enroll", path, "--batch", "lot", code=ExitCode.PARTLY_REFUSED)
    assert (summary["resumed"], summary["rows"], summary["enrolled"], summary["refused"]) == (True, 6, 5, 1)
    assert registry.keys() == fingerprints(*DEVICES)
    assert registry.json("batch", "show", "lot")["counts"]["enrolled"] == 5
    assert list(Path("state/secretfree/enrollment").iterdir()) == []


def test_a_cut_off_import_can_be_forgotten(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise RegistryBusy("took nothing")

    path = manifest(row(DEVICES[0]))
    with monkeypatch.context() as patched:
        patched.setattr(RegistryTable, "write", busy)
        with pytest.raises(RegistryBusy):  # the batch's own record is the first thing written
            registry.run("enroll", path)
    summary = registry.json("enroll", path, "--restart")
    assert (summary["resumed"], summary["enrolled"]) == (False, 1)


def test_resume_without_anything_to_resume_begins(registry: Registry) -> None:
    assert registry.json("enroll", manifest(row(DEVICES[0])), "--resume")["resumed"] is False


def test_objects_for_import_table_hold_the_good_rows_and_the_batch(registry: Registry) -> None:
    manifest(row(DEVICES[0]), "bad/id,x\n", row(DEVICES[1]))
    arguments = ["prepare-import", "m.csv", "out", "--batch", "lot", "--by", "me", "--json", "--report", "r.jsonl"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == ExitCode.PARTLY_REFUSED, result.output
    summary = json.loads(result.stdout)
    assert (summary["enrolled"], summary["refused"], summary["objects"]) == (2, 1, ["part-00000.json.gz"])
    with gzip.open("out/part-00000.json.gz", "rt") as lines:
        items = [json.loads(line)["Item"] for line in lines]
    assert [item["device-id"]["S"] for item in items] == ["batch#lot", "registry#state", "dev-0", "dev-1"]
    for item in items:  # as ImportTable would
        registry.client.put_item(TableName=TABLE, Item=item)
    assert registry.keys() == fingerprints(*DEVICES[:2])
    assert registry.json("batch", "show", "lot")["enrolledBy"] == "me"
    assert json.loads(Path("out/import-table.json").read_text())["InputFormat"] == "DYNAMODB_JSON"
    assert len(Path("r.jsonl").read_text().splitlines()) == 1
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1


def test_a_signer_file_without_a_certificate_is_said_to_be_none(registry: Registry) -> None:
    Path("signer.pem").write_text("rubbish")
    manifest(row(DEVICES[0]))
    result = registry.run("enroll", "m.csv", "--signer", "signer.pem", code=1)
    assert "signer.pem" in result.stderr


def test_rsa_devices_are_enrolled_as_well(registry: Registry) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = DevicePublicKey.from_key(rsa.generate_private_key(65537, 2048).public_key())
    p384 = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP384R1()).public_key())
    registry.run("enroll", manifest(f"a,{key.registry_text()}\n", f"b,{p384.registry_text()}\n"))
    assert registry.keys() == {"a": key.fingerprint, "b": p384.fingerprint}


@pytest.mark.parametrize("error", [ValueError, RecursionError, TypeError, KeyError, OverflowError, lzma.LZMAError])
def test_a_row_whose_parser_raises_anything_is_refused_and_stops_no_other(
    error: type[Exception], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CsvManifest.interpret

    def interpret(read: CsvManifest, entry: Entry) -> Row:
        if entry.line == 3:
            raise error("x")
        return original(read, entry)

    monkeypatch.setattr(CsvManifest, "interpret", interpret)
    summary = registry.json("enroll", manifest(*map(row, DEVICES[:3])), code=ExitCode.PARTLY_REFUSED)
    assert (summary["enrolled"], summary["refusals"]) == (2, {Refusal.MALFORMED_ROW: 1})
    assert error.__name__ in summary["firstRefused"][0]["detail"]


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_full_disk_is_an_error_with_what_to_do(
    options: tuple[str, ...], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Checkpoint, "stage", full)
    result = registry.run("enroll", manifest(row(DEVICES[0])), *options, code=1)
    assert "the checkpoint cannot be written: database or disk is full" in result.stderr
    assert "XDG_STATE_HOME" in result.stderr
    assert registry.items() == {}


def test_every_file_and_subfolder_of_a_folder_is_accounted_for(registry: Registry) -> None:
    Path("reel/sub").mkdir(parents=True)
    Path("reel/notes.txt").write_text("x")
    Path("reel/dev-0.pem").write_text(DEVICES[0].public_key.pem())
    Path("reel/broken.pem").write_text("x")
    result = registry.run("enroll", "reel", code=ExitCode.PARTLY_REFUSED)
    assert "2 not read: reel/notes.txt, reel/sub/" in result.stderr
    assert "broken.pem" in result.stderr
    assert list(registry.items()) == ["dev-0"]
