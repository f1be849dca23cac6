"""Devices on the local IoT Core's broker by mutual TLS, each held to the policy that the template gave it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, Message, MqttRefusedError

SILENCE_SECONDS = 0.5


@pytest.fixture(scope="module")
def device(cloud: Any, workshop: Any, post: Callable[..., Any]) -> Any:
    made = workshop.enrolled(cloud)
    made.keep(post(f"{cloud.url}/new", made.csr()))
    return made


@pytest.fixture(scope="module")
def neighbour(cloud: Any, workshop: Any, post: Callable[..., Any]) -> Any:
    """A device of the other issuer and another kind of key."""
    made = workshop.enrolled(cloud, "rsa-2048")
    made.keep(post(f"{cloud.url}/proto", made.csr()))
    return made


@pytest.fixture
def connect(cloud: Any) -> Callable[..., DeviceConnection]:
    def connection(device: Any, *, client_id: str | None = None, with_certificate: bool = True) -> DeviceConnection:
        endpoint = cloud.target.iot_endpoint.partition(":")[0]
        return DeviceConnection(
            Broker(
                cloud.target.mqtt_host, cloud.target.mqtt_port, server_name=endpoint, ca_file=cloud.target.broker_ca
            ),
            client_id=client_id or device.device_id,
            certificate=device.certificate if with_certificate else None,
            private_key=device.key if with_certificate else None,
        )

    return connection


@pytest.fixture
def session(connect: Callable[..., DeviceConnection], device: Any) -> Iterator[DeviceConnection]:
    with connect(device) as opened:
        yield opened


def test_a_device_hears_itself_on_its_own_topic(session: DeviceConnection, device: Any) -> None:
    topic = f"widget/{device.device_id}/temperature"

    session.subscribe(topic)
    session.publish(topic, "21.5")

    assert session.receive(timeout=5) == Message(topic, b"21.5")


def test_a_device_of_iot_cores_own_ca_does_too(connect: Callable[..., DeviceConnection], neighbour: Any) -> None:
    topic = f"widget/{neighbour.device_id}/temperature"

    with connect(neighbour) as session:
        session.subscribe(topic)
        session.publish(topic, "40.0")

        assert session.receive(timeout=5) == Message(topic, b"40.0")


def test_a_device_reads_its_own_shadow(session: DeviceConnection, device: Any) -> None:
    shadow = f"$aws/things/{device.device_id}/shadow"

    session.subscribe(f"{shadow}/update/accepted")
    session.publish(f"{shadow}/update", '{"state":{"reported":{"on":true}}}')

    message = session.receive(timeout=5)
    assert message is not None
    assert message.topic == f"{shadow}/update/accepted"


def test_a_device_that_had_no_certificate_publishes_within_seconds(
    cloud: Any, workshop: Any, post: Callable[..., Any], connect: Callable[..., DeviceConnection]
) -> None:
    device = workshop.enrolled(cloud)
    topic = f"widget/{device.device_id}/hello"

    began = time.monotonic()
    device.keep(post(f"{cloud.url}/new", device.csr()))
    with connect(device) as session:
        session.subscribe(topic)
        session.publish(topic, "hello")
        message = session.receive(timeout=5)

    assert message == Message(topic, b"hello")
    # Two seconds on an idle machine; the bound is for one that other tests keep busy.
    assert time.monotonic() - began < 10


def test_a_message_on_another_devices_topic_is_refused_and_never_delivered(
    connect: Callable[..., DeviceConnection], session: DeviceConnection, neighbour: Any
) -> None:
    topic = f"widget/{neighbour.device_id}/temperature"
    with connect(neighbour) as listening:
        listening.subscribe(topic)

        with pytest.raises(MqttRefusedError, match="Not authorized"):
            session.publish(topic, "99.9")

        assert listening.receive(timeout=SILENCE_SECONDS) is None
        listening.publish(topic, "40.0")
        assert listening.receive(timeout=5) == Message(topic, b"40.0")


@pytest.mark.parametrize(
    "topic_filter", ["#", "widget/#", "widget/+/temperature", "$aws/things/+/shadow/update", "other/{device}/x"]
)
def test_a_device_cannot_listen_to_others(session: DeviceConnection, device: Any, topic_filter: str) -> None:
    with pytest.raises(MqttRefusedError):
        session.subscribe(topic_filter.format(device=device.device_id))


def test_a_device_cannot_touch_another_devices_shadow(session: DeviceConnection, neighbour: Any) -> None:
    with pytest.raises(MqttRefusedError):
        session.publish(f"$aws/things/{neighbour.device_id}/shadow/update", '{"state":{}}')


@pytest.mark.parametrize("client_id", ["somebody-else", "{neighbour}"])
def test_a_client_id_that_is_not_the_devices_own_is_refused(
    connect: Callable[..., DeviceConnection], device: Any, neighbour: Any, client_id: str
) -> None:
    named = client_id.format(neighbour=neighbour.device_id)

    with pytest.raises(MqttRefusedError, match="Not authorized"), connect(device, client_id=named):
        pass


def test_without_a_certificate_nobody_connects(connect: Callable[..., DeviceConnection], device: Any) -> None:
    with pytest.raises(MqttRefusedError), connect(device, with_certificate=False):
        pass


def test_a_certificate_that_the_ca_signed_but_nobody_registered_does_not_connect(
    cloud: Any, workshop: Any, connect: Callable[..., DeviceConnection]
) -> None:
    device = workshop.device()
    private_ca = cloud.target.client("acm-pca")
    arn = private_ca.issue_certificate(
        CertificateAuthorityArn=cloud.target.authority_arn,
        Csr=device.csr(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn="arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1",
        Validity={"Type": "DAYS", "Value": 1},
    )["CertificateArn"]
    device.certificate.write_text(_certificate(private_ca, cloud.target.authority_arn, arn))

    with pytest.raises(MqttRefusedError), connect(device):
        pass


def test_a_certificate_that_was_deactivated_no_longer_connects(
    cloud: Any, workshop: Any, post: Callable[..., Any], connect: Callable[..., DeviceConnection]
) -> None:
    device = workshop.enrolled(cloud)
    reply = post(f"{cloud.url}/new", device.csr())
    device.keep(reply)
    with connect(device):
        pass

    cloud.target.client("iot").update_certificate(certificateId=reply.json["certificateId"], newStatus="INACTIVE")

    with pytest.raises(MqttRefusedError), connect(device):
        pass


def _certificate(private_ca: Any, authority: str, arn: str) -> str:
    deadline = time.monotonic() + 10
    while True:
        try:
            return str(private_ca.get_certificate(CertificateAuthorityArn=authority, CertificateArn=arn)["Certificate"])
        except private_ca.exceptions.RequestInProgressException:
            assert time.monotonic() < deadline
            time.sleep(0.05)
