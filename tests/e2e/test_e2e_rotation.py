"""A CA follows another: devices of both side by side, then the old one off, and every device on the new one."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from secretfree_cli.main import main
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError
from support.documents import ROOT, blocks

NAME = "Rotation"
PATIENCE_SECONDS = 20.0


@pytest.fixture
def commands(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Run every `secretfree` command of a runbook's step, in order, for this stack; what each said."""
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))

    def run(page: str, *begin: str, arn: str = "") -> list[Any]:
        lines = [line for block in blocks(ROOT / "docs" / "runbooks" / page, "sh") for line in block.splitlines()]
        chosen = [line.strip() for line in lines if line.strip().startswith(begin)]
        assert chosen, f"{page} has no command {begin}"
        said = []
        for line in dict.fromkeys(chosen):
            words = shlex.split(line.replace("ARN", arn))[1:]
            done = CliRunner().invoke(main, [*words, "--local", "--stack", NAME, "--json"])
            assert done.exit_code == 0, done.output
            said.append(json.loads(done.stdout))
        return said

    return run


def signer(answer: Any) -> str:
    """The common name of the CA that signed."""
    (name,) = x509.load_pem_x509_certificate(answer.json["certificate"].encode()).issuer
    return str(name.value)


def connection(cloud: Any, device: Any) -> DeviceConnection:
    broker = Broker(
        cloud.target.mqtt_host, cloud.target.mqtt_port, server_name="localhost", ca_file=cloud.target.broker_ca
    )
    return DeviceConnection(broker, client_id=device.device_id, certificate=device.certificate, private_key=device.key)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_a_fleet_moves_to_the_next_ca_without_a_visit(
    cloud: Any, workshop: Any, post: Callable[..., Any], commands: Callable[..., list[Any]]
) -> None:
    def deploy(generations: str) -> Any:
        return cloud.stack(NAME, product="rotation", issuers="private-ca", ca_arn="", ca_generations=generations)

    def devices_on(page: str) -> dict[tuple[str, str], int]:
        (said,) = commands(page, "secretfree ca status")
        return {(one["arn"], one["role"]): one["devices"] for one in said["authorities"]}

    line = deploy("1")
    first = line.target.authority_arn
    old, asks_early = workshop.enrolled(line), workshop.enrolled(line)
    issued = {device: post(f"{line.url}/new", device.csr()) for device in (old, asks_early)}
    for device, answer in issued.items():
        device.keep(answer)
    assert {signer(answer) for answer in issued.values()} == {"rotation device CA"}

    line = deploy("2,1")
    following = line.target.authority_arn
    new = workshop.enrolled(line)
    answer = post(f"{line.url}/new", new.csr())
    new.keep(answer)
    assert signer(answer) == "rotation device CA 2"
    again = post(f"{line.url}/new", old.csr())
    assert again.json["certificateId"] == issued[old].json["certificateId"], "good until its renewal window"
    with connection(cloud, old) as one, connection(cloud, new) as other:
        one.publish(f"rotation/{old.device_id}/temperature", "20")
        other.publish(f"rotation/{new.device_id}/temperature", "20")
    assert devices_on("rotating-a-ca.md") == {(following, "current"): 1, (first, "previous"): 2}

    line = deploy("2")
    replaced = post(f"{line.url}/new", asks_early.csr())
    asks_early.keep(replaced)
    assert signer(replaced) == "rotation device CA 2"
    assert devices_on("compromised-ca.md") == {(following, "current"): 2, (first, "distrusted"): 1}

    with connection(cloud, old) as session, connection(cloud, asks_early) as other:
        counted, done = commands("compromised-ca.md", "secretfree ca distrust", arn=first)
        assert counted["dryRun"]
        assert done["certificates"]["deactivated"] >= 1
        until(lambda: not session.is_connected)
        other.publish(f"rotation/{asks_early.device_id}/temperature", "20")
    with pytest.raises(MqttError), connection(cloud, old):
        pass
    moved = post(f"{line.url}/new", old.csr())
    old.keep(moved)
    assert signer(moved) == "rotation device CA 2"
    with connection(cloud, old) as session:
        session.publish(f"rotation/{old.device_id}/temperature", "21")
    assert devices_on("rotating-a-ca.md") == {(following, "current"): 3}
