"""A device's connection on the local broker ends as AWS IoT Core ends it. The broker, the API and IAM are real."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-device-sessions")]  # one cloud for all of them

PATIENCE_SECONDS = 10
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'


@pytest.fixture
def connected(shared_cloud, aws, tmp_path) -> Callable:
    iot = aws("iot")

    @contextmanager
    def connect(client_id: str):
        made = iot.create_keys_and_certificate(setAsActive=True)
        if not any(policy["policyName"] == "all" for policy in iot.list_policies()["policies"]):
            iot.create_policy(policyName="all", policyDocument=POLICY)
        iot.attach_policy(policyName="all", target=made["certificateArn"])
        files = {}
        for name, text in (("certificate", made["certificatePem"]), ("key", made["keyPair"]["PrivateKey"])):
            files[name] = tmp_path / f"{client_id}.{name}.pem"
            files[name].write_text(text)
        broker = Broker(
            shared_cloud.mqtt_host,
            shared_cloud.mqtt_port,
            server_name="localhost",
            ca_file=Path(shared_cloud.broker_ca),
        )

        def connection() -> DeviceConnection:
            return DeviceConnection(
                broker, client_id=client_id, certificate=files["certificate"], private_key=files["key"]
            )

        with connection() as session:
            yield session, made["certificateId"], connection

    return connect


def require_dropped(session: DeviceConnection) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while session.is_connected:
        assert time.monotonic() < end, "the device is still connected"
        time.sleep(0.02)


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_leaves_active_disconnects_its_device_alone(aws, connected, status):
    with connected(f"one-{status}") as (one, certificate_id, again), connected(f"other-{status}") as (other, _, _):
        aws("iot").update_certificate(certificateId=certificate_id, newStatus=status)
        require_dropped(one)
        other.publish("topic", "still here")
    with pytest.raises(MqttError), again():
        pass


def test_a_deleted_connection_ends_and_may_come_back_with_an_active_certificate(aws, connected):
    with connected("one") as (one, _, again), connected("other") as (other, _, _):
        aws("iot-data").delete_connection(clientId="one", cleanSession=True, preventWillMessage=True)
        require_dropped(one)
        other.publish("topic", "still here")
        with again() as anew:
            anew.publish("topic", "back")


def test_a_client_that_is_not_connected_is_not_found(aws):
    with pytest.raises(ClientError) as raised:
        aws("iot-data").delete_connection(clientId="nobody")
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"
