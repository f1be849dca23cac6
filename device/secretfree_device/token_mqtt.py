"""The device on MQTT with its key in a token: the AWS IoT Device SDK for Python v2, MQTT 5.

Python's own TLS reads a key only from a file. This SDK signs the handshake in the token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from awscrt import exceptions, io, mqtt5
from awsiot import mqtt5_client_builder

from secretfree_device.session import Broker, Message, MqttError, MqttRefusedError

if TYPE_CHECKING:
    from secretfree_device.pkcs11 import TokenKey

_REFUSED_BY_TLS = ("TLS", "SOCKET_CLOSED")
_FIRST_REFUSAL = 0x80
"""Reason codes from here on are refusals (MQTT 5, section 2.4)."""


class TokenConnection:
    """One MQTT session, open within `with`, as `secretfree_device.mqtt.DeviceConnection`. It never reconnects."""

    def __init__(
        self,
        broker: Broker,
        key: TokenKey,
        *,
        client_id: str,
        certificate: Path,
        timeout: float,
        connected: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a session. `timeout`, in seconds, bounds each wait for the broker.

        The SDK connects to the name that it verifies, so `broker.server_name`, if given, is also the host.
        """
        self._broker = broker
        self._key = key
        self._client_id = client_id
        self._certificate = certificate
        self._timeout = timeout
        self._after_connect = connected
        self._received: SimpleQueue[Message] = SimpleQueue()
        self._outcome: Future[None] = Future()
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._client: Any = None

    def __enter__(self) -> Self:
        """Connect and await the CONNACK. Raises MqttError, MqttRefusedError."""
        self._client = self._new_client()
        self._client.start()
        try:
            self._outcome.result(self._timeout)
            if self._after_connect is not None:
                self._after_connect()
        except FutureTimeoutError as error:
            self._close()
            raise MqttError(f"no CONNACK within {self._timeout:g} s") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect and stop the network threads of the session."""
        self._close()

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1 and await the SUBACK. Raises MqttError, MqttRefusedError."""
        subscription = mqtt5.Subscription(topic_filter=topic_filter, qos=mqtt5.QoS.AT_LEAST_ONCE)
        what = f"subscribe to {topic_filter}"
        answer = self._await(what, lambda: self._client.subscribe(mqtt5.SubscribePacket(subscriptions=[subscription])))
        _require_success(what, answer.reason_codes[0])

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Publish with QoS 1 and await the PUBACK. Raises MqttError, MqttRefusedError."""
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        what = f"publish on {topic}"
        answer = self._await(what, lambda: self._client.publish(packet))
        _require_success(what, answer.puback.reason_code)

    def receive(self, timeout: float) -> Message | None:
        """Return the next message, or None if none arrives within `timeout` seconds."""
        try:
            return self._received.get(timeout=timeout)
        except Empty:
            return None

    @property
    def is_connected(self) -> bool:
        """Whether the session is open."""
        return self._outcome.done() and self._outcome.exception() is None and not self._ended.is_set()

    def _new_client(self) -> Any:
        try:
            return mqtt5_client_builder.mtls_with_pkcs11(
                pkcs11_lib=io.Pkcs11Lib(file=str(self._key.module)),
                user_pin=self._key.pin(),
                token_label=self._key.token,
                private_key_label=self._key.label,
                cert_filepath=str(self._certificate),
                ca_filepath=None if self._broker.ca_file is None else str(self._broker.ca_file),
                endpoint=self._broker.server_name or self._broker.host,
                port=self._broker.port,
                client_id=self._client_id,
                on_lifecycle_connection_success=self._on_success,
                on_lifecycle_connection_failure=self._on_failure,
                on_lifecycle_disconnection=self._on_disconnection,
                on_lifecycle_stopped=self._on_stopped,
                on_publish_received=self._on_message,
            )
        except exceptions.AwsCrtError as error:
            raise MqttError(f"the token cannot be used for TLS: {error.name}") from error

    def _await(self, what: str, send: Callable[[], Future[Any]]) -> Any:
        if not self.is_connected:
            raise MqttError(f"cannot {what}: the session has ended")
        try:
            return send().result(self._timeout)
        except FutureTimeoutError as error:
            raise MqttError(f"cannot {what}: no acknowledgement within {self._timeout:g} s") from error
        except exceptions.AwsCrtError as error:
            if self._ended.is_set():
                raise MqttRefusedError(
                    f"{what} refused: the broker closed the connection", reason=error.name, disconnected=True
                ) from error
            raise MqttError(f"cannot {what}: {error.name}") from error

    def _close(self) -> None:
        if self._client is not None:
            self._client.stop()
            self._stopped.wait(self._timeout)
            self._client = None

    def _on_success(self, _data: mqtt5.LifecycleConnectSuccessData) -> None:
        if not self._outcome.done():
            self._outcome.set_result(None)

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if self._outcome.done():
            return
        name = getattr(data.exception, "name", type(data.exception).__name__)
        if data.connack_packet is not None:
            reason = data.connack_packet.reason_code.name
            self._outcome.set_exception(
                MqttRefusedError(f"connect refused: {reason}", reason=reason, disconnected=True)
            )
        elif any(word in name for word in _REFUSED_BY_TLS):
            self._outcome.set_exception(MqttRefusedError(f"connect refused: {name}", reason=name, disconnected=True))
        else:
            where = f"{self._broker.host}:{self._broker.port}"
            self._outcome.set_exception(MqttError(f"cannot reach {where}: {name}"))

    def _on_disconnection(self, _data: mqtt5.LifecycleDisconnectData) -> None:
        self._ended.set()
        if self._client is not None:
            self._client.stop()  # The SDK would reconnect, but a refusal must stay visible.

    def _on_stopped(self, _data: mqtt5.LifecycleStoppedData) -> None:
        self._ended.set()
        self._stopped.set()

    def _on_message(self, data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        self._received.put(Message(packet.topic, bytes(packet.payload or b"")))


def _require_success(what: str, code: Any) -> None:
    if int(code) >= _FIRST_REFUSAL:
        raise MqttRefusedError(f"{what} refused: {code.name}", reason=code.name, disconnected=False)
