"""The wheel under the other Pythons of this machine, and with the oldest aws-cdk-lib that it allows."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.documents import ROOT
from support.own_app import synthesise

pytestmark = pytest.mark.packaging

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
UV = Path(sys.executable).with_name("uv")
Install = Callable[..., Path]


THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreters() -> Mapping[str, Path]:
    """An interpreter of each version of the classifiers but this one, as far as it is on PATH or pyenv has it."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for version in re.findall(r"Python :: (3\.\d+)'", str(PYPROJECT["project"]["classifiers"])):
        on_path = shutil.which(f"python{version}")
        for candidate in (*([Path(on_path)] if on_path else []), *root.glob(f"versions/{version}.*/bin/python")):
            # A shim of pyenv may be there for a version that is not selected: it fails.
            if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
                found[version] = candidate
    return {version: path for version, path in found.items() if version != THIS}


INTERPRETERS = interpreters()


def floor_of(package: str) -> str:
    """The oldest version that pyproject.toml allows, as a requirement."""
    (declared,) = [line for line in PYPROJECT["project"]["dependencies"] if line.startswith(package)]
    return f"{package}=={declared.partition('>=')[2].partition(',')[0]}.0"


@pytest.fixture
def install(wheel: Path, constraints: Path, tmp_path: Path) -> Install:
    """Make an environment of a Python with the wheel, at the locked versions but for those given."""

    def make(interpreter: Path, *requirements: str) -> Path:
        folder = tmp_path / "venv"
        subprocess.run([interpreter, "-m", "venv", folder], check=True)  # with pip, which bundling needs
        python = folder / "bin" / "python"
        locked = [] if requirements else ["--constraint", constraints]
        subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *locked, *requirements, wheel], check=True)
        return python

    return make


def asset_digests(assembly: Path) -> Mapping[str, str]:
    """The digest over paths and bytes of each asset, by the asset's name, which has its hash."""
    digests = {}
    for asset in assembly.glob("asset.*"):
        digest = hashlib.sha256()
        for file in sorted(path for path in asset.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(asset)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        digests[asset.name] = digest.hexdigest()
    return digests


@pytest.fixture(scope="session")
def bundles(team_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The assets that this Python makes with the locked aws-cdk-lib."""
    return asset_digests(synthesise(team_environment, tmp_path_factory.mktemp("bundles") / "app"))


@pytest.mark.parametrize("version", INTERPRETERS)
def test_another_python_makes_bundles_of_the_same_bytes(
    install: Install, bundles: Mapping[str, str], tmp_path: Path, version: str
) -> None:
    made = asset_digests(synthesise(install(INTERPRETERS[version]), tmp_path / "app"))

    assert made == bundles


def test_the_oldest_aws_cdk_lib_of_pyproject_synthesises_the_same_bundles(
    install: Install, bundles: Mapping[str, str], tmp_path: Path
) -> None:
    made = asset_digests(synthesise(install(Path(sys.executable), floor_of("aws-cdk-lib")), tmp_path / "app"))

    assert made == bundles
