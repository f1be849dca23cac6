"""A renewal on real MQTT: the old certificate is good before the new one connects, and refused after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def renewing(cloud: Any) -> Iterator[None]:
    """Every certificate is in its renewal window, so that each request brings a new one."""
    lambda_ = cloud.target.client("lambda")
    function = cloud.function_of_issuer("private-ca")
    variables = function["Environment"]["Variables"]

    def set_window(changed: dict[str, str]) -> None:
        lambda_.update_function_configuration(
            FunctionName=function["FunctionName"], Environment={"Variables": {**variables, **changed}}
        )

    set_window({"SECRETFREE_RENEWAL_WINDOW_HOURS": "17500"})
    yield
    set_window({})


@pytest.fixture
def connect(cloud: Any) -> Callable[[Any, Path], DeviceConnection]:
    def connection(device: Any, certificate: Path) -> DeviceConnection:
        broker = Broker(
            cloud.target.mqtt_host, cloud.target.mqtt_port, server_name="localhost", ca_file=cloud.target.broker_ca
        )
        return DeviceConnection(
            broker, client_id=device.device_id, certificate=certificate, private_key=device.key, timeout=5.0
        )

    return connection


def test_the_old_certificate_is_good_before_and_refused_after_the_new_one_connected(
    cloud: Any,
    workshop: Any,
    post: Callable[..., Any],
    connect: Callable[[Any, Path], DeviceConnection],
    renewing: None,
) -> None:
    device = workshop.enrolled(cloud)
    first = post(f"{cloud.url}/new", device.csr())
    device.keep(first)
    old = device.certificate.rename(device.folder / "old.pem")
    with connect(device, old) as session:
        session.publish(f"widget/{device.device_id}/temperature", "20")

    second = post(f"{cloud.url}/new", device.csr())
    device.keep(second)
    assert second.json["certificateId"] != first.json["certificateId"]
    with connect(device, old) as session:  # the device has not used the new one yet
        session.publish(f"widget/{device.device_id}/temperature", "21")
    assert certificate_ids(cloud, device) == {first.json["certificateId"], second.json["certificateId"]}

    with connect(device, device.certificate) as session:
        session.publish(f"widget/{device.device_id}/temperature", "22")
        wait_until(lambda: certificate_ids(cloud, device) == {second.json["certificateId"]})
        session.publish(f"widget/{device.device_id}/temperature", "23")
    with pytest.raises(MqttError), connect(device, old):
        pass
    with connect(device, device.certificate):
        pass
    wait_until(lambda: "pending" not in ledger_record(cloud, device))
    assert "superseded" not in ledger_record(cloud, device)
    assert [line["certificateId"] for line in retired(cloud, device)] == [first.json["certificateId"]]


def test_a_device_that_lost_the_new_certificate_connects_with_the_old_one_and_gets_the_new_one_again(
    cloud: Any,
    workshop: Any,
    post: Callable[..., Any],
    connect: Callable[[Any, Path], DeviceConnection],
    renewing: None,
) -> None:
    device = workshop.enrolled(cloud)
    first = post(f"{cloud.url}/new", device.csr())
    device.keep(first)
    lost = post(f"{cloud.url}/new", device.csr())
    with connect(device, device.certificate) as session:
        session.publish(f"widget/{device.device_id}/temperature", "20")
    wait_until(lambda: queue_is_empty(cloud))
    with connect(device, device.certificate):
        pass
    assert certificate_ids(cloud, device) == {first.json["certificateId"], lost.json["certificateId"]}


def test_a_message_that_no_device_caused_reaches_the_dead_letters_queue_only_through_the_rule(cloud: Any) -> None:
    """No principal but the rule's role may send, so no one can pretend that a device connected."""
    policy = json.loads(
        cloud.target.client("sqs").get_queue_attributes(QueueUrl=queue_url(cloud), AttributeNames=["Policy"])[
            "Attributes"
        ]["Policy"]
    )
    assert [s["Effect"] for s in policy["Statement"] if s["Action"] == "sqs:SendMessage"] == ["Deny"]


def wait_until(condition: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE_SECONDS, "it did not come about"
        time.sleep(0.1)


def certificate_ids(cloud: Any, device: Any) -> set[str]:
    """The certificates of the device's thing at IoT Core."""
    principals = cloud.target.client("iot").list_thing_principals(thingName=device.device_id)["principals"]
    return {arn.rsplit("/", 1)[-1] for arn in principals}


def ledger_record(cloud: Any, device: Any) -> dict[str, Any]:
    table = cloud.target.resource("dynamodb").Table(cloud.target.ledger_table)
    item: dict[str, Any] = table.get_item(Key={"device-id": device.device_id, "record": "issuance#private-ca"})["Item"]
    return item


def retirer(cloud: Any) -> Any:
    return next(f for f in cloud.functions() if f["Handler"].endswith("retirer.handler"))


def retired(cloud: Any, device: Any) -> list[dict[str, Any]]:
    """What the retirer says that it did for the device."""
    group = retirer(cloud)["LoggingConfig"]["LogGroup"]
    events = cloud.target.client("logs").filter_log_events(logGroupName=group)["events"]
    lines = [json.loads(event["message"]) for event in events if f'"{device.device_id}"' in event["message"]]
    return [line for line in lines if line.get("event") == "retired"]


def queue_url(cloud: Any) -> str:
    (source,) = cloud.target.client("lambda").list_event_source_mappings(FunctionName=retirer(cloud)["FunctionName"])[
        "EventSourceMappings"
    ]
    name = source["EventSourceArn"].rsplit(":", 1)[-1]
    return str(cloud.target.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def queue_is_empty(cloud: Any) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counted = cloud.target.client("sqs").get_queue_attributes(QueueUrl=queue_url(cloud), AttributeNames=names)
    return {counted["Attributes"][name] for name in names} == {"0"}
