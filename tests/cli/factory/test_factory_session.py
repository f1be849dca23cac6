"""`secretfree enroll --serial`, `--scan`, `--image`: what ends in the table, and what the shell sees."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import zxingcpp
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws
from PIL import Image
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.batch import BatchState
from secretfree.registry.store import list_batches
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.factory import commands
from secretfree_cli.importing.commands import enroll
from secretfree_cli.output import ExitCode
from support.serial_terminal import serial_terminal

KEYS = [DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(3)]
UDIDS = [f"{number:02x}" * 16 for number in (0xA1, 0xB2, 0xC3)]
INDEX = {
    "IndexName": "key-fingerprint-index",
    "KeySchema": [{"AttributeName": "key-fingerprint", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield


@pytest.fixture(params=["with-index", "without-index"])
def registry(request: pytest.FixtureRequest) -> DynamoDbRegistryStore:
    """The registry as this product makes it, and as existing deployments have it."""
    indexed = request.param == "with-index"
    names = ["device-id", "key-fingerprint"] if indexed else ["device-id"]
    boto3.client("dynamodb").create_table(
        TableName="registry",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        **({"GlobalSecondaryIndexes": [INDEX]} if indexed else {}),
    )
    return DynamoDbRegistryStore.of(boto3.client("dynamodb"), "registry")


@dataclass
class Board:
    """Devices at the far end of a pseudo-terminal; they are powered once the operator has opened the port."""

    port: str
    powered: threading.Event
    device_end: int

    def prints(self, *chunks: bytes) -> None:
        def write() -> None:
            self.powered.wait(60)
            for chunk in chunks:
                os.write(self.device_end, chunk)

        threading.Thread(target=write, daemon=True).start()


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    with serial_terminal(monkeypatch) as terminal:
        yield Board(terminal.port, terminal.is_open, terminal.device_end)


def run(*arguments: str, typed: str = "") -> Result:
    source = [arguments[0]] if arguments and not arguments[0].startswith("-") else []
    return CliRunner().invoke(enroll, [*source, "--table", "registry", *arguments[len(source) :]], input=typed)


def devices(registry: DynamoDbRegistryStore) -> dict[str, Mapping[str, Any]]:
    items = [item for page in registry.table.scan() for item in page]
    return {item["device-id"]["S"]: item for item in items if "#" not in item["device-id"]["S"]}


def printed(udid: str, key: DevicePublicKey) -> bytes:
    spaced = " ".join(udid[at : at + 2] for at in range(0, 32, 2))
    return f"Unique device ID = {spaced}\r\n{key.pem()}\r\n".encode()


def manifest(folder: Path) -> Path:
    path = folder / "reel.csv"
    rows = [f"{udid},{key.registry_text()}" for udid, key in zip(UDIDS, KEYS, strict=True)]
    path.write_text("\n".join(["device-id,public-key", *rows, "bad id,zz"]))
    return path


def test_devices_on_a_port_become_rows_of_one_batch(registry: DynamoDbRegistryStore, board: Board) -> None:
    board.prints(printed(UDIDS[0], KEYS[0]), printed(UDIDS[1], KEYS[1]))
    result = run("--serial", board.port, "--count", "2", "--json")
    assert result.exit_code == ExitCode.OK, result.output
    account = json.loads(result.stdout)
    assert (account["accepted"], account["enrolled"]) == (2, 2)
    assert result.stderr.count("\a") == 2
    rows = devices(registry)
    assert {udid: row["key-fingerprint"]["S"] for udid, row in rows.items()} == {
        UDIDS[0]: KEYS[0].fingerprint,
        UDIDS[1]: KEYS[1].fingerprint,
    }
    assert {row["batch"]["S"] for row in rows.values()} == {account["batch"]}
    assert {row["source"]["S"] for row in rows.values()} == {"uart"}
    (batch,) = list_batches(registry)
    assert batch.state is BatchState.COMPLETE
    assert batch.counts == {"enrolled": 2}
    assert batch.files[0].name == board.port


def test_one_key_on_two_devices_of_the_line_is_refused_for_the_second(
    registry: DynamoDbRegistryStore, board: Board
) -> None:
    board.prints(printed(UDIDS[0], KEYS[0]), printed(UDIDS[1], KEYS[0]))
    result = run("--serial", board.port, "--count", "2", "--no-bell")
    assert result.exit_code == ExitCode.PARTLY_REFUSED
    assert "key-of-other-device" in result.stderr
    assert "\a" not in result.stderr
    assert set(devices(registry)) == {UDIDS[0]}


def test_a_device_that_is_enrolled_already_is_ok_and_not_written(registry: DynamoDbRegistryStore, board: Board) -> None:
    run("--scan", "--keys", str(manifest(Path())), "--batch", "first", typed=f"{UDIDS[0]}\n")
    board.prints(printed(UDIDS[0], KEYS[0]))
    result = run("--serial", board.port)
    assert result.exit_code == ExitCode.OK
    assert "enrolled before" in result.stderr
    assert devices(registry)[UDIDS[0]]["batch"]["S"] == "first"


def test_scanned_devices_are_enrolled_with_the_manifests_keys_and_the_others_are_not(
    registry: DynamoDbRegistryStore,
) -> None:
    result = run("--scan", "--keys", str(manifest(Path())), typed=f"{UDIDS[2]}\n{UDIDS[0]}\nunknown-9\n")
    assert result.exit_code == ExitCode.PARTLY_REFUSED
    assert "reel.csv: 1 rows would be refused" in result.stderr
    assert {udid: row["key-fingerprint"]["S"] for udid, row in devices(registry).items()} == {
        UDIDS[2]: KEYS[2].fingerprint,
        UDIDS[0]: KEYS[0].fingerprint,
    }


def test_nothing_but_refusals_is_an_exit_code_of_its_own_and_leaves_no_batch(registry: DynamoDbRegistryStore) -> None:
    result = run("--scan", typed="pump-1\n")
    assert result.exit_code == ExitCode.REFUSED
    assert devices(registry) == {}
    assert list_batches(registry) == []


def test_a_picture_of_a_code_enrols_its_device(registry: DynamoDbRegistryStore) -> None:
    barcode = zxingcpp.create_barcode(f"{UDIDS[1]} {KEYS[1].fingerprint}", zxingcpp.BarcodeFormat.QRCode)
    Image.fromarray(zxingcpp.write_barcode_to_image(barcode, scale=4)).save("label.png")
    result = run("--image", "label.png", "--keys", str(manifest(Path())))
    assert result.exit_code == ExitCode.OK, result.output
    assert set(devices(registry)) == {UDIDS[1]}


@pytest.mark.parametrize("typed", ["", "\n \n"])
def test_a_session_without_a_code_is_a_failure(typed: str, registry: DynamoDbRegistryStore) -> None:
    result = run("scan", "--keys", str(manifest(Path())), typed=typed)
    assert result.exit_code == ExitCode.FAILURE
    assert "no code was read" in result.stderr
    assert list_batches(registry) == []


@pytest.mark.parametrize("when", ["before-any-device", "after-one"])
def test_ctrl_c_with_nothing_enrolled_is_a_failure(
    when: str, registry: DynamoDbRegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(lines: Any) -> Iterator[str]:
        if when == "after-one":
            yield UDIDS[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_typed_codes", lambda: interrupted(None))
    result = run("scan", "--keys", str(manifest(Path())))
    assert result.exit_code == (ExitCode.OK if when == "after-one" else ExitCode.FAILURE)


def test_a_time_out_before_the_devices_asked_for_is_a_failure(registry: DynamoDbRegistryStore, board: Board) -> None:
    board.prints(printed(UDIDS[0], KEYS[0]))
    result = run("uart", "--port", board.port, "--count", "2", "--timeout", "1.5", "--no-bell")
    assert result.exit_code == ExitCode.FAILURE
    assert set(devices(registry)) == {UDIDS[0]}


def test_a_gs1_label_enrols_the_device_of_its_serial_number(registry: DynamoDbRegistryStore) -> None:
    Path("keys.csv").write_text(f"device-id,public-key\nSN4711,{KEYS[0].registry_text()}\n")
    result = run("scan", "--keys", "keys.csv", typed="]d2010401234567890121SN4711\n")
    assert result.exit_code == ExitCode.OK, result.output
    assert set(devices(registry)) == {"SN4711"}
    assert run("scan", "--gs1-identifier", "x", typed="").exit_code == ExitCode.USAGE


def test_a_dry_run_of_a_line_gives_verdicts_and_writes_nothing(registry: DynamoDbRegistryStore, board: Board) -> None:
    run("--scan", "--keys", str(manifest(Path())), typed=f"{UDIDS[2]}\n")
    before, batches = [item for page in registry.table.scan() for item in page], list_batches(registry)
    board.prints(printed(UDIDS[0], KEYS[0]), printed(UDIDS[1], KEYS[0]), printed(UDIDS[2], KEYS[2]))
    result = run("uart", "--port", board.port, "--count", "3", "--dry-run", "--json")
    assert result.exit_code == ExitCode.PARTLY_REFUSED, result.output
    account = json.loads(result.stdout)
    assert (account["dryRun"], account["batch"]) == (True, None)
    assert (account["enrolled"], account["unchanged"], account["refused"]) == (1, 1, 1)
    for said in ("would be enrolled", "key-of-other-device", "enrolled before"):
        assert said in result.stderr
    assert [item for page in registry.table.scan() for item in page] == before
    assert list_batches(registry) == batches


def test_a_dry_run_of_scanned_codes_gives_verdicts_and_writes_nothing(registry: DynamoDbRegistryStore) -> None:
    result = run("scan", "--keys", str(manifest(Path())), "--dry-run", typed=f"{UDIDS[0]}\nunknown-9\n")
    assert result.exit_code == ExitCode.PARTLY_REFUSED
    assert "would be enrolled" in result.stderr
    assert "dry run: nothing was written" in result.stderr
    assert list(registry.table.scan()) in ([], [[]])


def test_a_batch_id_in_use_is_refused(registry: DynamoDbRegistryStore) -> None:
    keys = str(manifest(Path()))
    run("--scan", "--keys", keys, "--batch", "lot-7", typed=f"{UDIDS[0]}\n")
    result = run("--scan", "--keys", keys, "--batch", "lot-7", typed=f"{UDIDS[1]}\n")
    assert result.exit_code == ExitCode.FAILURE
    assert "'lot-7'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--serial", "/dev/null", "--scan"],
        ["--serial", "/dev/null", "--keys", "."],
        ["--keys", "."],
        ["--scan", "manifest.csv"],
        [],
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitCode.USAGE, result.output
