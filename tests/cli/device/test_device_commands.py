"""`secretfree device` from the shell's side: outputs for people and machines, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from secretfree_cli.device.commands import device
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_cli.output import ExitCode


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def invoke(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(device, [command, *arguments, "--dir", str(tmp_path)])

    return invoke


def test_new_prints_the_public_key_to_enrol(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("new", "sensor-1", "--key-type", "rsa-2048")

    assert result.exit_code == ExitCode.OK
    assert "secretfree enroll device sensor-1 --public-key" in result.stderr
    assert Path(result.stdout.strip()).read_text().startswith("-----BEGIN PUBLIC KEY-----")


def test_new_prints_all_paths_as_json(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("new", "AA BB CC DD EE FF 00 11 22 33 44 55 66 77 88 99", "--profile", "cc32xx", "--json")

    folder = tmp_path / "aabbccddeeff00112233445566778899"
    assert json.loads(result.stdout) == {
        "deviceId": "aabbccddeeff00112233445566778899",
        "keyType": "ec-p256",
        "profile": "cc32xx",
        "folder": str(folder),
        "publicKey": str(folder / "device.pub.pem"),
    }


def test_new_refuses_what_is_no_device_id_and_says_what_is(run: Callable[..., Result]) -> None:
    result = run("new", "sensor/1")

    assert result.exit_code == ExitCode.USAGE
    assert "1 to 64 characters" in result.stderr


def test_new_never_replaces_a_device(run: Callable[..., Result]) -> None:
    run("new", "sensor-1")

    result = run("new", "sensor-1")

    assert result.exit_code == ExitCode.FAILURE
    assert "exists already" in result.stderr


def test_a_cc32xx_with_an_rsa_key_is_a_usage_error(run: Callable[..., Result]) -> None:
    result = run("new", "00" * 16, "--profile", "cc32xx", "--key-type", "rsa-2048")

    assert result.exit_code == ExitCode.USAGE


def test_provision_keeps_the_certificate_and_needs_no_aws_credentials(
    *,
    run: Callable[..., Result],
    tmp_path: Path,
    service: Any,
    authority: Any,
    issued: Callable[[Any], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    made = SimulatedDevice.create_in(tmp_path, "sensor-1")
    service.script = [(200, {}, issued(made.private_key.public_key()))]

    result = run("provision", "sensor-1", "--url", service.url, "--ca-file", str(authority.file), "--json")

    assert result.exit_code == ExitCode.OK, result.stderr
    document = json.loads(result.stdout)
    assert document["deviceId"] == "sensor-1"
    assert document["renewAfter"] == "2029-12-05T03:41:07Z"
    assert Path(document["certificateFile"]).read_text() == document["certificate"]


def test_a_refused_provision_exits_5(run: Callable[..., Result], tmp_path: Path, service: Any, authority: Any) -> None:
    SimulatedDevice.create_in(tmp_path, "sensor-1")
    service.script = [(403, {}, b'{"code":"not-authorized"}')]

    result = run("provision", "sensor-1", "--url", service.url, "--ca-file", str(authority.file))

    assert result.exit_code == ExitCode.REFUSED
    assert "answered 403, not-authorized" in result.stderr


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, {"x-amzn-RequestId": "r-17"}, b'{"code":"not-authorized"}'),
        (403, {}, b'{"code":"not-authorized","requestId":"r-17"}'),
        (503, {"x-amzn-RequestId": "r-17", "Retry-After": "30"}, b""),
        (200, {"x-amzn-RequestId": "r-17"}, None),
    ],
)
def test_provision_prints_the_request_id_to_look_for_in_the_log(
    status: int,
    headers: dict[str, str],
    body: bytes | None,
    *,
    run: Callable[..., Result],
    tmp_path: Path,
    service: Any,
    authority: Any,
    issued: Callable[[Any], bytes],
) -> None:
    made = SimulatedDevice.create_in(tmp_path, "sensor-1")
    service.script = [(status, headers, body or issued(made.private_key.public_key()))]

    result = run("provision", "sensor-1", "--url", service.url, "--ca-file", str(authority.file), "--wait", "1")

    assert "r-17" in result.output


def test_an_unready_service_exits_1_when_the_wait_is_over(
    run: Callable[..., Result], tmp_path: Path, service: Any, authority: Any
) -> None:
    SimulatedDevice.create_in(tmp_path, "sensor-1")
    service.script = [(503, {"Retry-After": "30"}, b"")]

    result = run("provision", "sensor-1", "--url", service.url, "--ca-file", str(authority.file), "--wait", "1")

    assert result.exit_code == ExitCode.FAILURE


def test_provision_over_plain_http_elsewhere_is_a_usage_error(run: Callable[..., Result], tmp_path: Path) -> None:
    SimulatedDevice.create_in(tmp_path, "sensor-1")

    result = run("provision", "sensor-1", "--url", "http://example.com/prod")

    assert result.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("command", ["provision", "connect"])
def test_a_device_that_is_not_there_exits_4(run: Callable[..., Result], command: str) -> None:
    result = run(command, "sensor-1")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "secretfree device new sensor-1" in result.stderr


def test_connect_before_provision_exits_4(run: Callable[..., Result], tmp_path: Path) -> None:
    SimulatedDevice.create_in(tmp_path, "sensor-1")

    result = run("connect", "sensor-1")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "secretfree device provision sensor-1" in result.stderr


@pytest.fixture
def provisioned(
    run: Callable[..., Result], tmp_path: Path, service: Any, authority: Any, issued: Callable[[Any], bytes]
) -> SimulatedDevice:
    made = SimulatedDevice.create_in(tmp_path, "sensor-1")
    service.script = [(200, {}, issued(made.private_key.public_key()))]
    assert run("provision", "sensor-1", "--url", service.url, "--ca-file", str(authority.file)).exit_code == ExitCode.OK
    return made


def test_connect_prints_the_message_that_came_back(
    run: Callable[..., Result], provisioned: SimulatedDevice, broker: Any, authority: Any
) -> None:
    result = run(
        "connect", "sensor-1", "--broker", f"127.0.0.1:{broker.port}", "--broker-ca", str(authority.file),
        "--topic", "widget/sensor-1/hello", "--message", "21.5",
    )  # fmt: skip

    assert result.exit_code == ExitCode.OK, result.stderr
    assert result.stdout == "widget/sensor-1/hello  21.5\n"


def test_connect_on_a_topic_that_the_policy_refuses_exits_5(
    run: Callable[..., Result], provisioned: SimulatedDevice, broker: Any, authority: Any
) -> None:
    broker.denied = {"widget/other/hello"}

    result = run(
        "connect", "sensor-1", "--broker", f"127.0.0.1:{broker.port}", "--broker-ca", str(authority.file),
        "--topic", "widget/other/hello",
    )  # fmt: skip

    assert result.exit_code == ExitCode.REFUSED
    assert "Not authorized" in result.stderr


def test_a_broker_without_a_topic_is_a_usage_error(run: Callable[..., Result], provisioned: SimulatedDevice) -> None:
    result = run("connect", "sensor-1", "--broker", "127.0.0.1")

    assert result.exit_code == ExitCode.USAGE
    assert "--topic" in result.stderr


@pytest.mark.parametrize(
    "options", [["--token", "bench"], ["--key-label", "first"], ["--pkcs11", __file__], ["--pkcs11", "no-such-file"]]
)
def test_a_token_is_named_by_its_module_and_its_label(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(device, ["new", "sensor-1", *options, "--dir", str(tmp_path / "devices")])

    assert done.exit_code == 2
    assert not (tmp_path / "devices").exists()


def test_a_module_that_is_no_token_is_one_line_and_leaves_no_device(tmp_path: Path) -> None:
    place = ["--pkcs11", __file__, "--token", "bench", "--dir", str(tmp_path)]

    done = CliRunner().invoke(device, ["new", "sensor-1", *place])

    assert done.exit_code == 1
    assert "token 'bench'" in done.output
    assert not list((tmp_path / "sensor-1").glob("*"))
