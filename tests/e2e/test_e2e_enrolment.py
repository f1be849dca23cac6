"""From a manifest to a certificate: `sample-manifest` makes it, `enroll` imports it, and its devices provision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# One format for each form of device id: formats with the same ids would meet in the one registry.
AUTHORITY_OPTION: Mapping[str, str | None] = {
    "csv": None,
    "dynamodb": None,
    "espressif": None,
    "infineon": "--ca",
    "microchip": "--signer",
}
COUNT = 3


@dataclass(frozen=True)
class Manifest:
    """A sample manifest, the authority behind it, and its devices' private keys."""

    folder: Path
    option: str | None

    @classmethod
    def sample(cls, form: str, folder: Path) -> Manifest:
        made = cls(folder, AUTHORITY_OPTION[form])
        done = secretfree("sample-manifest", form, made.file, "--count", COUNT, "--keys", made.keys)
        assert done.returncode == 0, done.stderr
        return made

    @property
    def file(self) -> Path:
        return self.folder / "manifest"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def authority(self) -> Path:
        return self.folder / "manifest.authority.pem"

    @property
    def devices(self) -> Mapping[str, Path]:
        """Each device's id and the file with its private key."""
        return {path.name.removesuffix(".key.pem"): path for path in sorted(self.keys.iterdir())}

    def enroll(self, cloud: Any, *, authority: Path | None = None) -> subprocess.CompletedProcess[str]:
        trusted = [] if self.option is None else [self.option, authority or self.authority]
        target = ["--table", cloud.target.registry_table, "--region", cloud.target.region]
        target += ["--endpoint-url", cloud.target.endpoint_url]
        return secretfree(
            "enroll",
            self.file,
            *trusted,
            *target,
            "--json",
            cwd=self.folder,
            environment=cloud.folder.require_up().environment(),
        )


def secretfree(
    *arguments: object, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secretfree_cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )


@pytest.mark.parametrize("form", list(AUTHORITY_OPTION))
def test_the_devices_of_an_imported_manifest_get_their_certificates(
    form: str, cloud: Any, tmp_path: Path, post: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    manifest = Manifest.sample(form, tmp_path)
    assert len(manifest.devices) == COUNT

    enrolled = manifest.enroll(cloud)

    assert enrolled.returncode == 0, enrolled.stderr
    summary = json.loads(enrolled.stdout)
    assert (summary["enrolled"], summary["refused"]) == (COUNT, 0)
    for device_id, key in manifest.devices.items():
        reply = post(f"{cloud.url}/new", openssl("req", "-new", "-key", key, "-subj", f"/CN={device_id}"))
        assert (reply.status, reply.json["thingName"]) == (200, device_id)
        certified = openssl("x509", "-noout", "-pubkey", stdin=reply.json["certificate"].encode())
        assert certified == openssl("pkey", "-in", key, "-pubout")


@pytest.mark.parametrize("form", [form for form, option in AUTHORITY_OPTION.items() if option is not None])
@pytest.mark.usefixtures("nothing_is_issued")
def test_no_device_of_a_manifest_by_a_stranger_gets_a_certificate(
    form: str, cloud: Any, tmp_path: Path, post: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "strangers").mkdir()
    ours = Manifest.sample(form, tmp_path / "ours")
    strangers = Manifest.sample(form, tmp_path / "strangers")

    refused = strangers.enroll(cloud, authority=ours.authority)

    assert refused.returncode == 5, refused.stderr
    assert json.loads(refused.stdout)["refused"] == COUNT
    device_id, key = next(iter(strangers.devices.items()))
    reply = post(f"{cloud.url}/new", openssl("req", "-new", "-key", key, "-subj", f"/CN={device_id}"))
    assert (reply.status, reply.json["code"]) == (403, "not-authorized")
