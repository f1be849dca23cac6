"""A device's MQTT session: the interface of all implementations, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

MQTT_TLS_PORT = 8883


@dataclass(frozen=True)
class Broker:
    """Address of a broker, and how its certificate is verified."""

    host: str
    port: int = MQTT_TLS_PORT
    server_name: str | None = None
    """Name for SNI and for the verification of the broker's certificate; None means `host`."""
    ca_file: Path | None = None
    """PEM of the CA of the broker; None means the system's roots, which include Amazon's."""


@dataclass(frozen=True)
class Message:
    """One message received."""

    topic: str
    payload: bytes


class MqttError(Exception):
    """The broker could not be reached, or did not answer in time."""


class MqttRefusedError(MqttError):
    """The broker refused a request of the device, by a reason code or by closing the connection."""

    def __init__(self, message: str, *, reason: str, disconnected: bool) -> None:
        super().__init__(message)
        self.reason = reason
        """Name of the MQTT 5 reason code, or another description."""
        self.disconnected = disconnected


class DeviceSession(Protocol):
    """One MQTT session, open within `with`. Entering it raises MqttError or MqttRefusedError."""

    def __enter__(self) -> Self:
        """Connect."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        ...

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1 and await the answer. Raises MqttError, MqttRefusedError."""
        ...

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Publish with QoS 1 and await the answer. Raises MqttError, MqttRefusedError."""
        ...

    def receive(self, timeout: float) -> Message | None:
        """Return the next message, or None if none arrives within `timeout` seconds."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether the session is open."""
        ...
