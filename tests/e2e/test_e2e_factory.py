"""From a UART to a certificate: a device prints its id and key, `enroll uart` enrols it, it provisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def test_a_device_read_off_a_pseudo_terminal_gets_its_certificate(
    cloud: Any, workshop: Any, post: Callable[..., Any]
) -> None:
    udid = "5ec2e7f4ee0000010203040506070809"
    device = workshop.device(device_id=udid)
    key = load_pem_public_key(device.public_key_pem())
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex(" ")
    spaced = " ".join(udid[at : at + 2] for at in range(0, 32, 2))
    transcript = f"\r\n*** boot ***\r\nUnique device ID = {spaced}\r\n[wifi] up\r\nPublic key = {point}\r\n"
    device_end, operator_end = os.openpty()
    tty.setraw(operator_end)
    os.set_blocking(device_end, False)
    ended = threading.Event()

    def print_at_every_reset() -> None:
        while not ended.wait(1):
            try:
                os.write(device_end, transcript.encode())
            except BlockingIOError:  # no reader yet
                time.sleep(0.1)

    board = threading.Thread(target=print_at_every_reset)
    board.start()
    try:
        enrolled = enroll(cloud, "uart", "--port", os.ttyname(operator_end), "--json")
    finally:
        ended.set()
        board.join()
        os.close(device_end)
        os.close(operator_end)

    assert enrolled.returncode == 0, enrolled.stderr
    assert json.loads(enrolled.stdout)["enrolled"] == 1
    assert "OK" in enrolled.stderr
    reply = post(f"{cloud.url}/proto", device.csr())
    assert (reply.status, reply.json["thingName"]) == (200, udid)


def enroll(cloud: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    target = ["--table", cloud.target.registry_table, "--region", cloud.target.region]
    target += ["--endpoint-url", cloud.target.endpoint_url]
    return subprocess.run(
        [sys.executable, "-m", "secretfree_cli.main", "enroll", *arguments, *target],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **cloud.folder.require_up().environment()},
    )
