"""The device's MQTT session against a broker on a real TLS socket that demands a client certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from secretfree_cli.device.simulator import PRIVATE_KEY_FILE, SimulatedDevice
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, Message, MqttError, MqttRefusedError

ENDPOINT = "device-endpoint.iot.example.com"


@pytest.fixture
def device(tmp_path: Path, authority: Any) -> SimulatedDevice:
    made = SimulatedDevice.create(tmp_path / "device", "sensor-1")
    certificate = authority.sign("sensor-1", made.private_key.public_key())
    made.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return made


def _connection(
    device: SimulatedDevice, broker: Any, authority: Any, *, timeout: float = 5.0, **changes: Any
) -> DeviceConnection:
    place = {"server_name": ENDPOINT, "ca_file": authority.file, **changes}
    return DeviceConnection(
        Broker("127.0.0.1", broker.port, **place),
        client_id="sensor-1",
        certificate=device.certificate_file,
        private_key=device.folder / PRIVATE_KEY_FILE,
        timeout=timeout,
    )


def test_a_message_published_comes_back(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    with _connection(device, broker, authority) as session:
        session.subscribe("widget/sensor-1/hello")
        session.publish("widget/sensor-1/hello", "21.5")

        assert session.receive(timeout=5) == Message("widget/sensor-1/hello", b"21.5")


def test_the_endpoints_name_is_sent_and_the_certificate_shown(
    device: SimulatedDevice, broker: Any, authority: Any
) -> None:
    with _connection(device, broker, authority):
        pass

    assert broker.server_names == [ENDPOINT]
    assert broker.peers == ["sensor-1"]
    assert broker.client_ids == ["sensor-1"]


def test_a_refused_publish_has_the_reason_and_keeps_the_session(
    device: SimulatedDevice, broker: Any, authority: Any
) -> None:
    broker.denied = {"widget/other/hello"}
    with _connection(device, broker, authority) as session:
        with pytest.raises(MqttRefusedError, match="Not authorized") as refusal:
            session.publish("widget/other/hello", "mine")

        assert not refusal.value.disconnected
        session.publish("widget/sensor-1/hello", "still here")


def test_a_publish_answered_by_hanging_up_is_a_refusal(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    broker.hang_up_on = {"widget/other/hello"}
    with _connection(device, broker, authority) as session:
        with pytest.raises(MqttRefusedError, match="closed the connection") as refusal:
            session.publish("widget/other/hello", "mine")

        assert refusal.value.disconnected
        assert not session.is_connected
        with pytest.raises(MqttError, match="the session has ended"):
            session.publish("widget/sensor-1/hello", "too late")


def test_a_refused_subscription_has_the_reason(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    broker.denied = {"#"}
    with (
        _connection(device, broker, authority) as session,
        pytest.raises(MqttRefusedError, match="subscribe to # refused: Not authorized"),
    ):
        session.subscribe("#")


def test_a_refused_connect_has_the_reason(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    broker.connect_code = 0x87

    with (
        pytest.raises(MqttRefusedError, match="connect refused: Not authorized"),
        _connection(device, broker, authority),
    ):
        pass


def test_a_connect_answered_by_hanging_up_is_a_refusal(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    broker.hang_up_on_connect = True

    with pytest.raises(MqttRefusedError, match="closed the connection"), _connection(device, broker, authority):
        pass


def test_without_a_certificate_the_broker_refuses(broker: Any, authority: Any) -> None:
    nobody = DeviceConnection(
        Broker("127.0.0.1", broker.port, server_name=ENDPOINT, ca_file=authority.file),
        client_id="sensor-1",
        certificate=None,
        private_key=None,
    )

    with pytest.raises(MqttRefusedError), nobody:
        pass

    assert broker.client_ids == []


def test_a_broker_of_another_name_is_not_trusted(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    with (
        pytest.raises(MqttRefusedError, match="TLS failed"),
        _connection(device, broker, authority, server_name="impostor.example.com"),
    ):
        pass


def test_a_broker_of_another_authority_is_not_trusted(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    with (
        pytest.raises(MqttRefusedError, match="TLS failed"),
        _connection(device, broker, authority, ca_file=None),
    ):
        pass


def test_a_silent_broker_is_waited_for_no_longer_than_the_timeout(
    device: SimulatedDevice, broker: Any, authority: Any
) -> None:
    broker.silent = True

    with pytest.raises(MqttError, match="no CONNACK within"), _connection(device, broker, authority, timeout=0.3):
        pass


def test_a_broker_that_is_not_there_is_an_error(device: SimulatedDevice, authority: Any) -> None:
    class Nowhere:
        port = 9

    with pytest.raises(MqttError, match="cannot reach"), _connection(device, Nowhere(), authority):
        pass


def test_no_message_is_none(device: SimulatedDevice, broker: Any, authority: Any) -> None:
    with _connection(device, broker, authority) as session:
        assert session.receive(timeout=0.05) is None
