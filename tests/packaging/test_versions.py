"""The wheel under the other Pythons of this machine, and with the oldest aws-cdk-lib that it allows."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import botocore
import pytest
from cdk_iot_secretfree.bundling import service_models
from support import fresh_environment
from support.cdk_assembly import Assembly
from support.documents import ROOT
from support.own_app import synthesise

pytestmark = pytest.mark.packaging

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
Install = Callable[..., Path]


TRIM = """
import runpy, sys
from pathlib import Path
runpy.run_path(sys.argv[1])["reduce_to_called_operations"](Path(sys.argv[2]))
"""
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
NEWEST = max(INTERPRETERS, key=lambda version: int(version.partition(".")[2]), default=None)


def floor_of(package: str) -> str:
    """The oldest version that pyproject.toml allows, as a requirement."""
    (declared,) = [line for line in PYPROJECT["project"]["dependencies"] if line.startswith(package)]
    return f"{package}=={declared.partition('>=')[2].partition(',')[0]}.0"


@pytest.fixture
def install(wheel: Path, constraints: Path, tmp_path: Path) -> Install:
    """Make an environment of a Python with the wheel, at the locked versions but for those given."""

    def make(interpreter: Path, *requirements: str) -> Path:
        python = fresh_environment.new_environment(tmp_path / "venv", interpreter)
        locked = [] if requirements else ["--constraint", constraints]
        fresh_environment.install(python, *locked, *requirements, wheel, "pip")  # bundling needs pip
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
def assets(team_assembly: Path) -> Assets:
    """The assets that this Python makes with the locked aws-cdk-lib."""
    return Assets.of(team_assembly)


@pytest.mark.parametrize(
    "version",
    [pytest.param(one, marks=[] if one == NEWEST else pytest.mark.nightly) for one in INTERPRETERS],
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


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The oldest aws-cdk-lib that pyproject.toml allows."""
    folder = tmp_path_factory.mktemp("oldest")
    command = [fresh_environment.UV, "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*command, floor_of("aws-cdk-lib")], check=True)
    return Assembly.of(folder)


def test_the_oldest_aws_cdk_lib_has_each_type_member_and_argument_that_the_construct_names(oldest: Assembly) -> None:
    sources = sorted((ROOT / "cdk" / "cdk_iot_secretfree").rglob("*.py"))
    missing = {file.name: list(oldest.missing(file.read_text(encoding="utf-8"))) for file in sources}

    assert {name: names for name, names in missing.items() if names} == {}


@pytest.mark.parametrize(
    ("use", "missing"),
    [
        ("sqs.Later", "aws-cdk-lib.aws_sqs.Later"),
        ("sqs.QueueEncryption.LATER", "aws-cdk-lib.aws_sqs.QueueEncryption.LATER"),
        ("sqs.Queue.from_later", "aws-cdk-lib.aws_sqs.Queue.from_later"),
        ("sqs.Queue(later=1, queue_name='a')", "aws-cdk-lib.aws_sqs.Queue(later=)"),
        ("sqs.Queue.from_queue_attributes(a, 'b', later=1)", "aws-cdk-lib.aws_sqs.Queue.from_queue_attributes(later=)"),
    ],
)
def test_a_name_that_a_version_lacks_is_found(oldest: Assembly, use: str, missing: str) -> None:
    assert list(oldest.missing(f"from aws_cdk import aws_sqs as sqs\n{use}")) == [missing]


@pytest.mark.parametrize("version", INTERPRETERS)
def test_another_python_compiles_the_wheel_and_trims_the_aws_models_to_the_same_bytes(
    wheel: Path, tmp_path: Path, version: str
) -> None:
    """What of the bundle a Python writes by itself, and not by copying: the models of the AWS services."""
    data = Path(botocore.__file__).parent / "data"
    digests = []
    for name, interpreter in (("this", Path(sys.executable)), ("other", INTERPRETERS[version])):
        folder = tmp_path / name
        for service in service_models.AWS_SERVICES:
            shutil.copytree(data / service, folder / "botocore" / "data" / service)
        shutil.copy(data / "endpoints.json", folder / "botocore" / "data")
        subprocess.run([interpreter, "-I", "-c", TRIM, service_models.__file__, folder], check=True)
        digests.append(digest_of(folder, bytecode=True))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
    compiled = subprocess.run([INTERPRETERS[version], "-m", "compileall", "-q", tmp_path / "wheel"], check=False)

    assert digests[0] == digests[1]
    assert compiled.returncode == 0
