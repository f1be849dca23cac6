"""A block cuts off: a connected device is dropped, and refused by the API and by the broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from secretfree_cli.main import main
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError

PATIENCE_SECONDS = 20.0


@pytest.fixture
def secretfree(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))

    def run(*arguments: str) -> None:
        done = CliRunner().invoke(main, [*arguments, "--local"])
        assert done.exit_code == 0, done.output

    return run


@pytest.fixture
def connect(cloud: Any) -> Callable[[Any], DeviceConnection]:
    def connection(device: Any) -> DeviceConnection:
        broker = Broker(
            cloud.target.mqtt_host, cloud.target.mqtt_port, server_name="localhost", ca_file=cloud.target.broker_ca
        )
        return DeviceConnection(
            broker, client_id=device.device_id, certificate=device.certificate, private_key=device.key
        )

    return connection


def seconds_until(condition: Callable[[], bool]) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE_SECONDS, "it did not come about"
        time.sleep(0.05)
    return time.monotonic() - start


def statuses(cloud: Any, device: Any) -> dict[str, str]:
    """The device's certificates at IoT Core, by id."""
    iot = cloud.target.client("iot")
    arns = iot.list_thing_principals(thingName=device.device_id)["principals"]
    described = (iot.describe_certificate(certificateId=arn.rsplit("/", 1)[-1]) for arn in arns)
    return {
        one["certificateDescription"]["certificateId"]: one["certificateDescription"]["status"] for one in described
    }


def revoker(cloud: Any) -> Mapping[str, Any]:
    (found,) = [f for f in cloud.functions() if f["Handler"].endswith("revoker.handler")]
    return found


def test_a_connected_device_is_dropped_then_refused_and_enrols_anew_after_an_unblock(
    cloud: Any,
    workshop: Any,
    post: Callable[..., Any],
    connect: Callable[[Any], DeviceConnection],
    secretfree: Callable[..., None],
) -> None:
    device, neighbour = workshop.enrolled(cloud), workshop.enrolled(cloud)
    answers = {path: post(f"{cloud.url}/{path}", device.csr()) for path in ("proto", "new")}
    device.keep(answers["new"])
    neighbour.keep(post(f"{cloud.url}/new", neighbour.csr()))

    with connect(device) as session, connect(neighbour) as other:
        secretfree("block", device.device_id, "--reason", "reported stolen")
        seconds_until(lambda: not session.is_connected)
        other.publish(f"widget/{neighbour.device_id}/temperature", "20")

    issued = {answer.json["certificateId"] for answer in answers.values()}
    seconds_until(lambda: set(statuses(cloud, device).values()) == {"REVOKED"})
    assert set(statuses(cloud, device)) == issued, "of both issuers"
    assert post(f"{cloud.url}/new", device.csr()).status == 403
    with pytest.raises(MqttError), connect(device):
        pass

    secretfree("unblock", device.device_id)
    anew = post(f"{cloud.url}/new", device.csr())
    device.keep(anew)
    assert anew.json["certificateId"] not in issued
    with connect(device) as session:
        session.publish(f"widget/{device.device_id}/temperature", "21")


def test_the_private_ca_revokes_too(
    cloud: Any, workshop: Any, post: Callable[..., Any], secretfree: Callable[..., None]
) -> None:
    device = workshop.enrolled(cloud)
    device.keep(post(f"{cloud.url}/new", device.csr()))
    secretfree("block", device.device_id, "--reason", "reported stolen")
    seconds_until(lambda: set(statuses(cloud, device).values()) == {"REVOKED"})
    authority = cloud.target.client("acm-pca")
    ledger = cloud.target.resource("dynamodb").Table(cloud.target.ledger_table)
    key = {"device-id": device.device_id, "record": "issuance#private-ca"}
    serial = ledger.get_item(Key=key)["Item"]["reference"].rsplit("/", 1)[-1]

    def is_revoked() -> bool:
        try:
            authority.revoke_certificate(
                CertificateAuthorityArn=cloud.target.authority_arn,
                CertificateSerial=f"{int(serial):040x}",
                RevocationReason="UNSPECIFIED",
            )
        except authority.exceptions.RequestAlreadyProcessedException:
            return True
        return False

    assert seconds_until(lambda: json.loads(_logged(cloud, device))["event"] == "revoked") < PATIENCE_SECONDS
    assert is_revoked()


def _logged(cloud: Any, device: Any) -> str:
    """The revoker's first line about the device, which it writes when all is done; `{"event": null}` before."""
    logs = cloud.target.client("logs")
    group = revoker(cloud)["LoggingConfig"]["LogGroup"]
    events = logs.filter_log_events(logGroupName=group)["events"]
    lines = [event["message"] for event in events if f'"deviceId":"{device.device_id}"' in event["message"]]
    return str(lines[0]) if lines else '{"event": null}'


@pytest.mark.parametrize("how", ["removed", "new key"])
def test_other_writers_of_the_registry_cut_off_as_well(
    cloud: Any,
    workshop: Any,
    post: Callable[..., Any],
    connect: Callable[[Any], DeviceConnection],
    how: str,
) -> None:
    device = workshop.enrolled(cloud)
    device.keep(post(f"{cloud.url}/new", device.csr()))
    with connect(device) as session:
        if how == "removed":
            cloud.target.client("dynamodb").delete_item(
                TableName=cloud.target.registry_table, Key={"device-id": {"S": device.device_id}}
            )
        else:
            cloud.put_item(device.device_id, workshop.device().public_key_pem())
        seconds_until(lambda: not session.is_connected)
    assert set(statuses(cloud, device).values()) == {"REVOKED"}
