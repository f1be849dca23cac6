"""The device clients of the reference page, as they stand there, against the local cloud behind TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from support.documents import ROOT, code_blocks
from support.tls_front import TlsFront, tls_front

PAGE = ROOT / "docs" / "reference" / "device-clients.md"
PROGRAMS = {block.title: block.text for block in code_blocks(PAGE.read_text(encoding="utf-8"))}
Client = Callable[[str, str, Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def front(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    parts = urlsplit(cloud.url)
    with tls_front(parts.hostname, parts.port, tmp_path_factory.mktemp("tls")) as made:
        yield made


@pytest.fixture(params=["provision.sh", "provision.py", "provision.c"])
def client(request: pytest.FixtureRequest, front: TlsFront, cloud: Any, tmp_path: Path) -> Client:
    """One of the programs. It takes the API's path, the device id and the key's file."""
    program = tmp_path / request.param
    program.write_text(PROGRAMS[request.param], encoding="utf-8")
    command = {".sh": ["sh"], ".py": [sys.executable]}.get(program.suffix, [])
    if program.suffix == ".c":
        compiler = shutil.which("cc")
        if compiler is None or not Path("/usr/include/openssl/ssl.h").exists():
            pytest.skip("no C compiler with OpenSSL's headers (libssl-dev) on this machine")
        binary = tmp_path / "provision"
        flags = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([compiler, *flags, str(program), "-o", str(binary), "-lssl", "-lcrypto"], check=True)
        command = [str(binary)]

    def run(path: str, device_id: str, key: Path) -> subprocess.CompletedProcess[str]:
        where = ["localhost", str(front.port), path]
        if program.suffix != ".c":
            where = [f"https://localhost:{front.port}{path}"]
            command_line = [*command, str(program), *where, device_id, str(key)]
        else:
            command_line = [*command, *where, device_id, str(key)]
        return subprocess.run(
            command_line,
            env={**os.environ, "CA_FILE": str(front.ca_file)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def path(cloud: Any) -> str:
    return urlsplit(cloud.url).path


def certificate_of(output: str) -> x509.Certificate:
    text = json.loads(output)["certificate"] if output.startswith("{") else output
    return x509.load_pem_x509_certificate(text.encode())


def test_an_enrolled_device_gets_its_certificate(client: Client, cloud: Any, workshop: Any, path: str) -> None:
    device = workshop.enrolled(cloud)
    done = client(path, device.device_id, device.key)
    assert done.returncode == 0, done.stderr
    certificate = certificate_of(done.stdout)
    assert certificate.subject.rfc4514_string().endswith(f"CN={device.device_id}")


def test_an_unknown_device_is_refused_with_the_status(client: Client, workshop: Any, path: str) -> None:
    device = workshop.device()
    done = client(path, device.device_id, device.key)
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "not-authorized" in done.stderr
