"""The wheel under the other Pythons of this machine, and with the oldest aws-cdk-lib that it allows."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Assets:
    """The assets of a cloud assembly."""

    whole: Mapping[str, str]
    """The digest over paths and bytes by the asset's name, which has its hash."""
    without_bytecode: Collection[str]
    """The digests without bytecode, which is there if a Python of the function's version is at hand."""

    @classmethod
    def of(cls, assembly: Path) -> Assets:
        folders = sorted(path for path in assembly.glob("asset.*") if path.is_dir())
        return cls(
            {folder.name: digest_of(folder, bytecode=True) for folder in folders},
            sorted(digest_of(folder, bytecode=False) for folder in folders),
        )


def digest_of(folder: Path, *, bytecode: bool) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if bytecode or file.suffix != ".pyc":
            digest.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def assets(team_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Assets:
    """The assets that this Python makes with the locked aws-cdk-lib."""
    return Assets.of(synthesise(team_environment, tmp_path_factory.mktemp("assets") / "app"))


@pytest.mark.parametrize(
    "version",
    [
        *list(INTERPRETERS)[-1:],
        *(pytest.param(version, marks=pytest.mark.nightly) for version in list(INTERPRETERS)[:-1]),
    ],
)
def test_another_python_makes_assets_of_the_same_bytes(
    install: Install, assets: Assets, tmp_path: Path, version: str
) -> None:
    made = Assets.of(synthesise(install(INTERPRETERS[version]), tmp_path / "app"))

    assert made.without_bytecode == assets.without_bytecode
    for name in made.whole.keys() & assets.whole.keys():
        assert made.whole[name] == assets.whole[name]


def test_the_oldest_aws_cdk_lib_of_pyproject_synthesises_the_same_bundle(
    install: Install, assets: Assets, tmp_path: Path
) -> None:
    """An asset of aws-cdk-lib's own may differ from version to version."""
    made = Assets.of(synthesise(install(Path(sys.executable), floor_of("aws-cdk-lib")), tmp_path / "app"))

    bundles = {name for name in assets.whole if name in made.whole}
    assert bundles
    assert {name: made.whole[name] for name in bundles} == {name: assets.whole[name] for name in bundles}
