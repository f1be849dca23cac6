"""The commands of the documents, in the sample's cloud, page by page and in the order of the page."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from click.testing import CliRunner, Result
from secretfree_cli.main import main
from secretfree_cli.output import ExitCode
from support.documented_commands import ON_AWS, Command, commands, runs_elsewhere
from support.documents import ids

_HERE = [command for command in commands() if not command.text.startswith(ON_AWS) and runs_elsewhere(command) is None]
PAGES = {page: list(found) for page, found in groupby(_HERE, key=lambda command: ids(command.document))}
# What an operator looks for may not be there: a request of long ago, for example.
_EXPECTED = {ExitCode.OK, ExitCode.NOT_FOUND}


@pytest.fixture
def folder(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are typed. Their target is the running cloud."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: cloud.target)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, cloud: Any, workshop: Any, post: Any, folder: Path) -> None:
    device = workshop.enrolled(cloud)
    answer = post(f"{cloud.url}/new", device.csr()).json
    _files_of_the_reader(folder, workshop, device, page)
    batch = json.loads(_run(f"secretfree enroll files lot.csv --batch lot-{_mark(page)} --json").stdout)["batch"]
    values = {
        "DEVICE_ID": device.device_id,
        "REQUEST_ID": "00000000-0000-0000-0000-000000000000",
        "BATCH_ID": batch,
        "BATCH": batch,
        "AUTHORITY_ARN": cloud.target.authority_arn,
        "CERTIFICATE_ID": answer["certificateId"],
        "KEY_FILE": "replaced.pem",
        "STACK": cloud.target.stack_name,
    }
    for command in PAGES[page]:
        typed = _filled(command, values, page)
        if typed.startswith("secretfree "):
            done = _run(typed)
            assert done.exit_code in _EXPECTED, (command.where, typed, done.output, done.exception)
        else:
            own = {
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "SECRETFREE_PROJECT": str(cloud.folder.project),
                "URL": cloud.url,
            }
            shell = subprocess.run(["bash", "-euc", typed], env=own, capture_output=True, text=True, check=False)
            assert shell.returncode == 0, (command.where, typed, shell.stderr)


def _run(typed: str) -> Result:
    return CliRunner().invoke(main, shlex.split(typed)[1:], input="y\n")


def _mark(page: str) -> str:
    """By which the devices and batches of a page differ from those of another."""
    return f"{crc32(page.encode()):08x}"


def _filled(command: Command, values: dict[str, str], page: str) -> str:
    """The command with its placeholders filled in; ids of other pages' devices do not collide."""
    text = re.sub(r"\b(sensor|widget)-(\d+)", rf"\1-{_mark(page)}-\2", command.text)
    return re.sub(r"\b[A-Z]+(?:_[A-Z]+)*\b", lambda word: values.get(word[0], word[0]), text)


def _files_of_the_reader(folder: Path, workshop: Any, device: Any, page: str) -> None:
    """The files that the pages name."""
    mark = _mark(page)
    sensor, replaced, scrapped = (workshop.device() for _ in range(3))
    (folder / f"sensor-{mark}-1.pem").write_bytes(sensor.public_key_pem())
    (folder / "replaced.pem").write_bytes(replaced.public_key_pem())
    (folder / "device.csr").write_bytes(device.csr())
    (folder / "scrapped.txt").write_text(f"{scrapped.device_id}\n")
    for name, devices in (("lot.csv", [scrapped]), ("reel-17.csv", [workshop.device(), workshop.device()])):
        rows = [["device-id", "pubkey"]]
        rows += [[one.device_id, base64.b64encode(one.public_key_pem()).decode()] for one in devices]
        (folder / name).write_text("".join(",".join(row) + "\n" for row in rows))
