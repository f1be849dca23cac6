"""Keys in hardware, in software: a SoftHSM2 token and a TPM 2.0 by swtpm."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "4711"
LABEL = "bench"


def softhsm_token(folder: Path) -> Mapping[str, str]:
    """Make a token, and return the environment in which it is found; skips where SoftHSM2 is absent."""
    if shutil.which("softhsm2-util") is None or not SOFTHSM.exists():
        pytest.skip("no SoftHSM2 (softhsm2) on this machine")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(configuration), "SECRETFREE_PKCS11_PIN": PIN}
    command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "0815"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return environment


@contextmanager
def software_tpm(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run a TPM, and give the environment in which tpm2-tools and OpenSSL's provider find it."""
    missing = [name for name in ("swtpm", "tpm2_createprimary", "tpm2_evictcontrol") if shutil.which(name) is None]
    libraries = [list(Path("/usr/lib").glob(name)) for name in ("*/ossl-modules/tpm2.so", "*/libtss2-tcti-swtpm.so*")]
    if missing or not all(libraries):
        pytest.skip("no software TPM (swtpm, libtss2-tcti-swtpm0, tpm2-tools, tpm2-openssl) on this machine")
    port = _two_free_ports()
    state = folder / "tpm"
    state.mkdir()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=tcp,port={port},bindaddr=127.0.0.1"]
    command += ["--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1"]
    tpm = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port + 1)
        where = f"swtpm:host=127.0.0.1,port={port}"
        yield {"TPM2TOOLS_TCTI": where, "TPM2OPENSSL_TCTI": where, "TSS2_LOG": "all+NONE"}
    finally:
        tpm.terminate()
        tpm.wait()


def _two_free_ports() -> int:
    """The swtpm back end of the TSS expects the control port beside the server's."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the TPM does not listen")
