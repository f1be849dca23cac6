"""The page on renewing and retiring, its commands run: devices renew because a job asks them to, outside the window."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from click.testing import CliRunner, Result
from secretfree_cli.main import main
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError
from support.documents import ROOT, blocks

PATIENCE_SECONDS = 30.0
PAGE = ROOT / "docs" / "guides" / "renewing-and-retiring.md"


@pytest.fixture
def secretfree(cloud: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, [*arguments, "--local"])
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def device(secretfree: Callable[..., Result], request: pytest.FixtureRequest) -> str:
    """A provisioned device in `devices`, the folder that the page's commands take."""
    name = f"renewing-{abs(hash(request.node.name)) % 10**6}"
    secretfree_without_target("device", "new", name)
    secretfree("enroll", "device", name, "--public-key", f"devices/{name}/device.pub.pem")
    secretfree("device", "provision", name)
    return name


def secretfree_without_target(*arguments: str) -> None:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output


def of_the_page(line: str, **values: str) -> list[str]:
    """The words of a command that the page has, with values for its placeholders."""
    assert line in "\n".join(blocks(PAGE, "sh")), line
    words = line.removeprefix("secretfree ")
    for name, value in values.items():
        words = words.replace(name, value)
    return shlex.split(words)


def identity(device: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(f"devices/{device}/identity.json").read_text())
    return document


def test_a_device_that_a_job_asks_renews_connects_with_the_new_certificate_and_reports(
    cloud: Any, secretfree: Callable[..., Result], device: str
) -> None:
    before = identity(device)
    old = Path("old.pem")
    old.write_text(Path(f"devices/{device}/certificate.pem").read_text())
    secretfree("device", "provision", device)
    assert identity(device)["certificate_id"] == before["certificate_id"], "outside the window nothing is renewed"

    done = secretfree(*of_the_page('secretfree renew DEVICE_ID --reason "trial"', DEVICE_ID=device), "--json")
    (job_id,) = json.loads(done.stdout)["jobs"]
    obeyed = json.loads(secretfree(*of_the_page("secretfree device jobs DEVICE_ID", DEVICE_ID=device), "--json").stdout)
    assert (obeyed["jobId"], obeyed["status"]) == (job_id, "SUCCEEDED")
    assert obeyed["certificateId"] == identity(device)["certificate_id"] != before["certificate_id"]

    iot = cloud.target.client("iot")
    execution = iot.describe_job_execution(jobId=job_id, thingName=device)["execution"]
    assert execution["status"] == "SUCCEEDED"
    assert execution["statusDetails"]["detailsMap"] == {"certificateId": obeyed["certificateId"]}
    secretfree("device", "provision", device)
    assert identity(device)["certificate_id"] == obeyed["certificateId"], "the mark is consumed"
    secretfree(*of_the_page("secretfree show DEVICE_ID", DEVICE_ID=device))

    broker = Broker(
        cloud.target.mqtt_host, cloud.target.mqtt_port, server_name="localhost", ca_file=cloud.target.broker_ca
    )
    key = Path(f"devices/{device}/device.key.pem")

    def is_refused() -> bool:
        try:
            with DeviceConnection(broker, client_id=device, certificate=old, private_key=key):
                return False
        except MqttError:
            return True

    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_refused():
        assert time.monotonic() < deadline, "the connect with the new certificate did not retire the old one"
        time.sleep(0.2)


def test_devices_of_a_batch_and_of_a_ca_are_asked_and_none_twice(
    cloud: Any, secretfree: Callable[..., Result], device: str
) -> None:
    line = 'secretfree renew --authority AUTHORITY_ARN --reason "moved to the new CA" --rate 500'
    words = of_the_page(line, AUTHORITY_ARN=str(cloud.target.authority_arn))
    first = json.loads(secretfree(*words, "--name", "by-ca", "--json").stdout)
    assert first["devices"][device] == "asked"
    again = json.loads(secretfree(*words, "--name", "by-ca", "--json").stdout)
    assert set(again["devices"].values()) == {"already-asked"}
    batch = 'secretfree renew --batch BATCH_ID --reason "moved to the new CA"'
    secretfree(*of_the_page(batch, BATCH_ID="no-such-batch"), code=4)


def test_a_retired_device_is_gone_everywhere_but_in_the_history_and_its_id_stays_taken(
    cloud: Any, secretfree: Callable[..., Result], device: str
) -> None:
    iot = cloud.target.client("iot")
    broker = Broker(
        cloud.target.mqtt_host, cloud.target.mqtt_port, server_name="localhost", ca_file=cloud.target.broker_ca
    )
    files = {name: Path(f"devices/{device}/{name}.pem") for name in ("certificate", "device.key")}
    certificate_id = identity(device)["certificate_id"]
    line = 'secretfree retire DEVICE_ID --reason "scrapped"'
    with DeviceConnection(
        broker, client_id=device, certificate=files["certificate"], private_key=files["device.key"]
    ) as session:
        secretfree(*of_the_page(line, DEVICE_ID=device))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while session.is_connected:
            assert time.monotonic() < deadline, "the device is still connected"
            time.sleep(0.05)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=certificate_id)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName=device)
    ledger = cloud.target.resource("dynamodb").Table(cloud.target.ledger_table)
    records = ledger.query(KeyConditionExpression=Key("device-id").eq(device))["Items"]
    assert {f"certificate#{certificate_id}", "issuance#private-ca"} <= {one["record"] for one in records}
    assert all(float(one["expires-at"]) > time.time() + 89 * 86_400 for one in records)

    secretfree("device", "provision", device, "--wait", "0", code=5)
    secretfree(*of_the_page(line, DEVICE_ID=device))
    secretfree("block", device, "--reason", "x", code=1)
    key = f"devices/{device}/device.pub.pem"
    refused = secretfree("enroll", "device", device, "--public-key", key, code=5)
    assert "retired" in refused.output
    anew = 'secretfree enroll device DEVICE_ID --public-key KEY_FILE --replace --reason "refurbished"'
    secretfree(*of_the_page(anew, DEVICE_ID=device, KEY_FILE=key))
    secretfree("device", "provision", device)
    assert identity(device)["certificate_id"] != certificate_id
    iot.describe_thing(thingName=device)


def test_a_device_without_a_job_says_so(secretfree: Callable[..., Result], device: str) -> None:
    secretfree("device", "jobs", device, "--wait", "1", code=4)
