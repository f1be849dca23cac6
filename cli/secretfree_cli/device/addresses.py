"""The broker and the topics of a simulated device."""

from __future__ import annotations

import click
from secretfree_device import Identity
from secretfree_device.session import MQTT_TLS_PORT, Broker

from secretfree_cli.target import Target


def broker_of(target: Target, identity: Identity) -> Broker:
    """Return the broker at the device's endpoint: IoT Core, or the local cloud's broker on loopback."""
    host, _, _ = identity.endpoint.partition(":")
    if target.is_local:
        return Broker(target.mqtt_host or "127.0.0.1", target.mqtt_port, server_name=host, ca_file=target.broker_ca)
    return Broker(host, MQTT_TLS_PORT)


def own_topic(target: Target, identity: Identity, leaf: str = "hello") -> str:
    """Return a topic that the least-privilege policy allows to this device."""
    if target.product is None:
        raise click.UsageError("the stack has no output Product: --topic is required")
    return f"{target.product}/{identity.thing_name}/{leaf}"
