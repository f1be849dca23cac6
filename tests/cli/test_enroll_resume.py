"""Killed with SIGKILL wherever it may be and run again, an import ends with the table of an undisturbed one."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from secretfree_cli.enroll.prepare import import_table_request
from secretfree_cli.formats.generate import sample_devices

ROWS = 3_000
KILLS = 10
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "m.csv"
    with path.open("w") as file:
        file.write("device-id,public-key\n")
        for number, device in enumerate(sample_devices(ROWS, "dev-{}".format)):
            key = "rubbish!" if number % 50 == 7 else device.public_key.registry_text()
            file.write(f"{device.device_id},{key}\n")
    return path


def table(endpoint: str, name: str) -> Any:
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=ENVIRONMENT["AWS_DEFAULT_REGION"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_table(**import_table_request(name, "", "")["TableCreationParameters"])
    return client


def start(endpoint: str, name: str, manifest: Path, project: Path) -> subprocess.Popen[str]:
    command = [*(sys.executable, "-m", "secretfree_cli.main", "enroll", str(manifest), "--table", name)]
    options = ["--endpoint-url", endpoint, "--batch", "lot", "--resume", "--json", "--report", "report.jsonl"]
    environment = {**os.environ, **ENVIRONMENT, "SECRETFREE_PROJECT": str(project)}
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=project,
        env=environment,
        text=True,
        start_new_session=True,
    )


def devices(client: Any, name: str) -> dict[str, Mapping[str, Any]]:
    found = {}
    for page in client.get_paginator("scan").paginate(TableName=name):
        for item in page["Items"]:
            if "pubkey" in item:
                del item["enrolled-at"]  # when the batch began: it is another one
                found[item["device-id"]["S"]] = item
    return found


@pytest.mark.slow
def test_ten_kills_at_random_points_lose_and_double_nothing(endpoint: str, manifest: Path, tmp_path: Path) -> None:
    client = table(endpoint, "undisturbed")
    table(endpoint, "disturbed")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    began = time.monotonic()
    output, errors = start(endpoint, "undisturbed", manifest, tmp_path / "a").communicate()
    duration = time.monotonic() - began
    undisturbed = json.loads(output or errors)

    chance = random.Random(20260131)
    killed = 0
    while killed < KILLS:
        process = start(endpoint, "disturbed", manifest, tmp_path / "b")
        try:
            process.wait(timeout=chance.uniform(0.2, 0.6) * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:  # it came to its end between the kills: begin again, with an empty table
            client.delete_table(TableName="disturbed")
            table(endpoint, "disturbed")
    output, errors = start(endpoint, "disturbed", manifest, tmp_path / "b").communicate()
    assert output, errors
    disturbed = json.loads(output)

    assert devices(client, "disturbed") == devices(client, "undisturbed")
    assert {**disturbed, "resumed": None, "seconds": None} == {**undisturbed, "resumed": None, "seconds": None}
    assert (tmp_path / "b/report.jsonl").read_text() == (tmp_path / "a/report.jsonl").read_text()
    record = client.get_item(TableName="disturbed", Key={"device-id": {"S": "batch#lot"}})["Item"]
    assert record["counts"]["M"]["enrolled"] == {"N": str(disturbed["enrolled"])}
