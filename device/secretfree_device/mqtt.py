"""The device on MQTT: mutual TLS to the broker. Each request waits for its answer, and a refusal has a reason.

It uses MQTT 5, which answers a refused publish with a reason code. MQTT 3.1.1 can only close the connection.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from secretfree_device.session import Broker, Message, MqttError, MqttRefusedError

_AT_LEAST_ONCE = 1
_KEEP_ALIVE_SECONDS = 60


class DeviceConnection:
    """One MQTT session, open within `with`. It never reconnects by itself, so that a refusal stays visible."""

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        certificate: Path | None,
        private_key: Path | None,
        timeout: float = 10.0,
        connected: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a session. `timeout`, in seconds, bounds each wait for the broker.

        `connected` is called after each successful connect.
        `certificate` and `private_key` are PEM files; both None makes a client that presents none.
        """
        self._broker = broker
        self._client_id = client_id
        self._timeout = timeout
        self._after_connect = connected
        self._changed = threading.Condition()
        self._connected: ReasonCode | None = None
        self._disconnected: ReasonCode | None = None
        self._acknowledged: dict[int, ReasonCode] = {}
        self._received: SimpleQueue[Message] = SimpleQueue()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = timeout
        self._client.tls_set_context(_tls_context(broker, certificate, private_key))
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect and await the CONNACK. Raises MqttError, MqttRefusedError."""
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=_KEEP_ALIVE_SECONDS)
        except ssl.SSLError as error:
            raise MqttRefusedError(f"TLS failed: {error}", reason="TLS", disconnected=True) from error
        except OSError as error:
            raise MqttError(f"cannot reach {self._broker.host}:{self._broker.port}: {error}") from error
        self._client.loop_start()
        try:
            self._await_connack()
            if self._after_connect is not None:
                self._after_connect()
        except BaseException:  # Ctrl-C too: the socket and the network thread must not outlive the attempt.
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect and stop the network thread."""
        self._close()

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1 and await the SUBACK. Raises MqttError, MqttRefusedError."""
        self._ask(f"subscribe to {topic_filter}", lambda: self._client.subscribe(topic_filter, qos=_AT_LEAST_ONCE))

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Publish with QoS 1 and await the PUBACK. Raises MqttError, MqttRefusedError."""

        def send() -> tuple[MQTTErrorCode, int]:
            handed_over = self._client.publish(topic, payload, qos=_AT_LEAST_ONCE)
            return handed_over.rc, handed_over.mid

        self._ask(f"publish on {topic}", send)

    def receive(self, timeout: float) -> Message | None:
        """Return the next message, or None if none arrives within `timeout` seconds."""
        try:
            return self._received.get(timeout=timeout)
        except Empty:
            return None

    @property
    def is_connected(self) -> bool:
        """Whether the session is open."""
        return self._connected is not None and self._disconnected is None

    def _close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _await_connack(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._disconnected, timeout=self._timeout)
            if self._connected is not None and not self._connected.is_failure:
                return
            if self._connected is not None:
                reason = self._connected.getName()
                raise MqttRefusedError(f"connect refused: {reason}", reason=reason, disconnected=True)
            if self._disconnected is not None:
                raise MqttRefusedError(
                    "connect refused: the broker closed the connection, as it does for a certificate "
                    "that it does not know or that is not active",
                    reason="connection closed",
                    disconnected=True,
                )
        raise MqttError(f"no CONNACK within {self._timeout:g} s")

    def _ask(self, what: str, send: Callable[[], tuple[MQTTErrorCode, int | None]]) -> None:
        if not self.is_connected:
            raise MqttError(f"cannot {what}: the session has ended")
        sent, message_id = send()
        # NO_CONN: the network thread sent the packet and saw the connection close before paho returned here.
        if sent not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN} or message_id is None:
            raise MqttError(f"cannot {what}: {sent.name}")
        with self._changed:
            self._changed.wait_for(
                lambda: message_id in self._acknowledged or self._disconnected, timeout=self._timeout
            )
            reason = self._acknowledged.pop(message_id, None)
            if reason is not None and not reason.is_failure:
                return
            if reason is not None:
                raise MqttRefusedError(
                    f"{what} refused: {reason.getName()}", reason=reason.getName(), disconnected=False
                )
            if self._disconnected is not None:
                name = self._disconnected.getName()
                raise MqttRefusedError(
                    f"{what} refused: the broker closed the connection ({name})", reason=name, disconnected=True
                )
        raise MqttError(f"cannot {what}: no acknowledgement within {self._timeout:g} s")

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._changed:
            self._connected = reason
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._changed:
            self._disconnected = reason
            self._changed.notify_all()

    def _on_subscribe(
        self, _client: Client, _data: Any, message_id: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        # Each request has one filter, so there is one reason.
        with self._changed:
            self._acknowledged[message_id] = reasons[0]
            self._changed.notify_all()

    def _on_publish(
        self, _client: Client, _data: Any, message_id: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._changed:
            self._acknowledged[message_id] = reason
            self._changed.notify_all()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._received.put(Message(message.topic, bytes(message.payload)))


class _NamedServerContext(ssl.SSLContext):
    """Sends and verifies a server name other than the connected host.

    IoT Core selects the account by SNI, so the name must be that of the endpoint, also for a broker on loopback. paho
    passes the connected host and has no option for another name.
    """

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, **options)


def _tls_context(broker: Broker, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    context = _NamedServerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_name = broker.server_name
    if broker.ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=str(broker.ca_file))
    if certificate is not None:
        context.load_cert_chain(str(certificate), str(private_key) if private_key else None)
    return context
