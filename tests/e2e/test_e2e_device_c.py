"""The device in C of the examples, under sanitizers, in the local cloud: certificate, MQTT, renewal, and a clone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from secretfree_cli.main import main
from support.device_c import DeviceInC, build


@pytest.fixture(scope="module")
def board(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], DeviceInC]:
    binary = build(tmp_path_factory.mktemp("device-c"))
    url, roots = cloud.target.device_url()
    api = urlsplit(url)

    def make(device: Any) -> DeviceInC:
        settings = {
            "DEVICE_ID": device.device_id,
            "KEY_FILE": str(device.key),
            "API_HOST": str(api.hostname),
            "API_PORT": str(api.port),
            "API_PATH": api.path.rstrip("/"),
            "API_ROOTS": str(roots),
            "BROKER_HOST": cloud.target.mqtt_host,
            "BROKER_PORT": str(cloud.target.mqtt_port),
            "BROKER_ROOTS": str(cloud.target.broker_ca),
            "TOPIC_PREFIX": cloud.target.product,
        }
        return DeviceInC(binary, Path(device.folder), settings)

    return make


def test_a_device_in_c_gets_its_certificate_publishes_and_renews(
    board: Callable[[Any], DeviceInC], cloud: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = workshop.enrolled(cloud)
    mine = board(device)

    first = mine.run()
    assert first.code == 0, first.log
    assert "published" in first.log
    iot = cloud.target.client("iot")
    assert iot.describe_certificate(certificateId=first.certificate_id)["certificateDescription"]["status"] == "ACTIVE"

    again = mine.run()
    assert (again.code, again.certificate_id) == (0, None), again.log

    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))
    asked = CliRunner().invoke(main, ["renew", device.device_id, "--reason", "trial", "--local"])
    assert asked.exit_code == 0, asked.output
    renewed = mine.run(CLOCK=str(int(time.time()) + 10 * 365 * 86_400))
    assert renewed.code == 0, renewed.log
    assert renewed.certificate_id not in (None, first.certificate_id)
    assert "published" in renewed.log


def test_a_clone_in_c_is_refused_and_waits_for_an_hour(
    board: Callable[[Any], DeviceInC], cloud: Any, workshop: Any, nothing_is_issued: None
) -> None:
    clone = workshop.device(device_id=workshop.enrolled(cloud).device_id)

    done = board(clone).run()

    assert "status 403 not-authorized" in done.log
    assert done.certificate_id is None
    assert min(done.waits) >= 3600
