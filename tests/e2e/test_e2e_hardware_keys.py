"""Devices whose key never leaves its hardware: a PKCS#11 token to MQTT, a TPM to the certificate, clones of both."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from secretfree_cli.main import main
from support import tokens

HANDLE = "0x81000001"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        environment = tokens.softhsm_token(tmp_path_factory.mktemp("softhsm"))
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture
def secretfree(
    cloud: Any, token: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, list(arguments))
        assert done.exit_code == code, done.output
        return done

    return run


def new_in_token(secretfree: Callable[..., Result], device_id: str, label: str, folder: str = "devices") -> Path:
    place = ["--pkcs11", str(tokens.SOFTHSM), "--token", tokens.LABEL, "--key-label", label]
    secretfree("device", "new", device_id, *place, "--dir", folder)
    return Path(folder) / device_id


def test_a_device_with_its_key_in_a_token_gets_its_certificate_and_talks_mqtt(
    secretfree: Callable[..., Result],
) -> None:
    device = new_in_token(secretfree, "token-1", "first")
    secretfree("enroll", "device", "token-1", "--public-key", str(device / "device.pub.pem"), "--local")

    secretfree("device", "provision", "token-1", "--local")
    heard = secretfree("device", "connect", "token-1", "--message", "by token", "--json", "--local")

    assert json.loads(heard.stdout.splitlines()[-1])["payload"] == "by token"
    assert not (device / "device.key.pem").exists()


def test_a_device_in_a_token_may_publish_on_its_own_topics_only(secretfree: Callable[..., Result]) -> None:
    device = new_in_token(secretfree, "token-2", "second")
    secretfree("enroll", "device", "token-2", "--public-key", str(device / "device.pub.pem"), "--local")
    secretfree("device", "provision", "token-2", "--local")

    secretfree("device", "connect", "token-2", "--topic", "widget/token-1/hello", "--local", code=5)


def test_a_clone_with_another_key_of_a_token_is_refused(
    secretfree: Callable[..., Result], nothing_is_issued: None
) -> None:
    genuine = new_in_token(secretfree, "token-3", "third")
    secretfree("enroll", "device", "token-3", "--public-key", str(genuine / "device.pub.pem"), "--local")
    new_in_token(secretfree, "token-3", "of-the-clone", folder="clones")

    secretfree("device", "provision", "token-3", "--dir", "clones", "--local", code=5)


def test_a_device_with_its_key_in_a_tpm_gets_its_certificate_and_a_clone_does_not(
    cloud: Any, post: Callable[..., Any], tmp_path: Path
) -> None:
    with tokens.software_tpm(tmp_path) as environment:

        def run(*command: str) -> bytes:
            done = subprocess.run(
                command, env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, check=False
            )
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout

        def csr(handle: str) -> bytes:
            provider = ["-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"]
            return run("openssl", "req", "-new", *provider, "-key", f"handle:{handle}", "-subj", "/CN=tpm-1")

        run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "primary.ctx")
        for handle in (HANDLE, "0x81000002"):
            attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
            key = ["-u", f"{handle}.pub", "-r", f"{handle}.priv"]
            run("tpm2_create", "-C", "primary.ctx", "-G", "ecc256:ecdsa-sha256", "-a", attributes, *key)
            run("tpm2_flushcontext", "-t")
            run("tpm2_load", "-C", "primary.ctx", *key, "-c", f"{handle}.ctx")
            run("tpm2_evictcontrol", "-C", "o", "-c", f"{handle}.ctx", handle)
            run("tpm2_flushcontext", "-t")
        run("tpm2_readpublic", "-c", HANDLE, "-f", "pem", "-o", "public.pem")
        public = (tmp_path / "public.pem").read_bytes()
        cloud.put_item("tpm-1", public)

        issued = post(f"{cloud.url}/new", csr(HANDLE))
        before = cloud.issued()
        refused = post(f"{cloud.url}/new", csr("0x81000002"))

    assert issued.status == 200, issued
    certificate = x509.load_pem_x509_certificate(issued.json["certificate"].encode())
    assert certificate.public_key() == load_pem_public_key(public)
    assert refused.status == 403
    assert cloud.issued() == before
