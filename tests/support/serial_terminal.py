"""A pseudo-terminal between a bench and its devices, which know when the bench has opened the port."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from secretfree_cli.factory import serial_port


@dataclass(frozen=True)
class SerialTerminal:
    """The device's end, and the name of the operator's.

    `is_open`: set when the port is open. pyserial drops what came before.
    """

    device_end: int
    port: str
    is_open: threading.Event


@contextmanager
def serial_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[SerialTerminal]:
    """Open both ends, and close them afterwards."""
    device_end, operator_end = os.openpty()
    tty.setraw(operator_end)
    terminal = SerialTerminal(device_end, os.ttyname(operator_end), threading.Event())
    open_port = serial_port._open

    def opened(port: str, baud: int) -> Any:
        line = open_port(port, baud)
        terminal.is_open.set()
        return line

    monkeypatch.setattr(serial_port, "_open", opened)
    yield terminal
    terminal.is_open.set()
    os.close(device_end)
    os.close(operator_end)
