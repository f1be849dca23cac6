"""The local cloud's servers: ports, environment, readiness."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from secretfree_cli.local import servers
from secretfree_cli.local.processes import start_server
from secretfree_cli.local.state import StateFolder
from secretfree_cli.output import CliError


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.create()
    return made


def only_ports(folder: StateFolder) -> servers.Ports:
    (ports,) = servers.choose_ports([folder])
    return ports


def test_ports_are_free_distinct_and_the_same_next_time(folder):
    first = only_ports(folder)
    assert len({first.gateway, first.mqtt, first.private_ca}) == 3
    assert only_ports(folder) == first


def test_a_port_that_was_taken_meanwhile_is_replaced(folder):
    first = only_ports(folder)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.gateway))
        other.listen()
        second = only_ports(folder)
    assert second.gateway != first.gateway
    assert (second.mqtt, second.private_ca) == (first.mqtt, first.private_ca)


def test_a_memory_that_makes_no_sense_is_passed_over(folder):
    folder.remember(ports={"gateway": 1})
    assert only_ports(folder).mqtt > 0


def test_a_server_sees_nothing_of_the_operators_aws_settings(folder, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    monkeypatch.setenv("SECRETFREE_PRIVATE_CA_ISSUE_RATE", "5")
    seen = servers._base_environment(folder)
    assert "AWS_PROFILE" not in seen
    assert "AWS_SESSION_TOKEN" not in seen
    assert "DOCKER_HOST" not in seen
    assert seen["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert seen["SECRETFREE_PRIVATE_CA_ISSUE_RATE"] == "5"


def test_a_server_that_ends_while_starting_shows_its_log(tmp_path):
    process = start_server(
        "aws",
        [sys.executable, "-c", "print('port 1 is taken'); raise SystemExit(1)"],
        environment=os.environ,
        log=tmp_path / "log",
    )
    with pytest.raises(CliError, match="ended while starting") as failed:
        servers.await_ready(process, lambda: False)
    assert "port 1 is taken" in failed.value.message
    assert failed.value.hint


def test_a_server_that_is_never_ready_is_given_up(tmp_path):
    process = start_server(
        "aws", [sys.executable, "-c", "import time; time.sleep(60)"], environment=os.environ, log=tmp_path / "log"
    )
    try:
        with pytest.raises(CliError, match=r"not ready after 0 s"):
            servers.await_ready(process, lambda: False, seconds=0.1)
    finally:
        process.stop()


def test_nothing_is_ready_where_nothing_listens(folder):
    ports = only_ports(folder)
    assert not servers.private_ca_ready(ports)
    assert not servers.aws_emulator_ready(ports)


def test_the_end_of_a_log_is_its_last_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(str(number) for number in range(100)))
    assert servers.log_end(log, 2) == "98\n99"
    assert "No such file" in servers.log_end(tmp_path / "none", 2)
