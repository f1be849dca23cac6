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
from secretfree_device import Device, IdentityStore, KeyFile, ProvisioningClient, ProvisioningRefusedError
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
def gateway(cloud: Any, tmp_path: Path) -> Callable[[Any, Path], subprocess.CompletedProcess[str]]:
    """The gateway's program of the library's page. It takes a device and the folder of its certificate."""
    page = (PAGE.parent / "device-library.md").read_text(encoding="utf-8")
    program = tmp_path / "gateway.py"
    program.write_text(next(block.text for block in code_blocks(page) if block.title == program.name), encoding="utf-8")
    target = cloud.target
    url, roots = target.device_url()
    trust = {"BROKER": f"{target.mqtt_host}:{target.mqtt_port}", "BROKER_CA": str(target.broker_ca)}

    def run(device: Any, folder: Path) -> subprocess.CompletedProcess[str]:
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, str(program), url, device.device_id, str(device.key), str(folder), target.product],
            env={**os.environ, **trust, "CA_FILE": str(roots)},
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


def test_a_gateway_gets_its_certificate_publishes_with_it_and_finds_it_again(
    gateway: Any, cloud: Any, workshop: Any, tmp_path: Path
) -> None:
    device = workshop.enrolled(cloud)

    first, second = gateway(device, tmp_path / "store"), gateway(device, tmp_path / "store")

    assert first.returncode == 0, first.stderr
    assert second.stdout == first.stdout
    kept = json.loads((tmp_path / "store" / "identity.json").read_text())
    assert kept["certificate_id"] == first.stdout.strip()


def test_a_clone_that_uses_the_library_is_refused(
    cloud: Any, workshop: Any, nothing_is_issued: None, tmp_path: Path
) -> None:
    clone = workshop.device(device_id=workshop.enrolled(cloud).device_id)
    url, roots = cloud.target.device_url()
    device = Device(clone.device_id, KeyFile(clone.key), IdentityStore(tmp_path))

    with pytest.raises(ProvisioningRefusedError, match="403, not-authorized"):
        device.provision(ProvisioningClient(url, ca_file=roots))

    assert device.identity is None
