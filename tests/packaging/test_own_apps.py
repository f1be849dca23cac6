"""Apps of other people, from the wheel in a fresh environment: the README's, typed as it stands, and each example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import fresh_environment
from support.documents import ROOT, code_blocks

README = ROOT / "README.md"
_BEFORE = "## Embed it"
_AFTER = "## Read on"
_URL_OF = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"url\"])'"
_TIMEOUT = 1500

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path, constraints: Path) -> Mapping[str, str]:
    """A fresh virtual environment, active, with the wheel's extra `local` and pytest."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    python = fresh_environment.new_environment(folder)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTEST_"))}
    active = {**kept, "PATH": os.pathsep.join([str(folder / "bin"), kept["PATH"]]), "VIRTUAL_ENV": str(folder)}
    requirement = f"cdk-iot-secretfree[local] @ {wheel.as_uri()}"
    fresh_environment.install(python, "--constraint", constraints, requirement, "pytest", "pip")
    return active


@pytest.mark.nightly
def test_the_readmes_app_is_deployed_as_it_stands_and_provisions_a_device(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The commands are the README's. The local cloud stands in for AWS, and what it lists for the stack's outputs."""
    section = README.read_text(encoding="utf-8").partition(_BEFORE)[2].partition(_AFTER)[0]
    (install, app, device) = code_blocks(section)
    assert (install.language, app.language, device.language) == ("sh", "python", "sh")
    assert "pip install cdk-iot-secretfree" in install.text
    (tmp_path / "app.py").write_text(app.text, encoding="utf-8")
    (tmp_path / "cdk.json").write_text('{"app": "python3 app.py"}', encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    script = "\n".join(
        [
            "set -euo pipefail",
            "secretfree local up",
            'eval "$(secretfree local env)"',
            f"URL=$(secretfree local status --json | {_URL_OF})",
            *(line for line in device.text.splitlines() if not line.startswith("pip install")),
        ]
    )

    try:
        ended = run(["bash", "-c", script], tmp_path, environment)
    finally:
        run(["secretfree", "local", "down", "--forget"], tmp_path, environment)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    answer = json.loads(ended.stdout[ended.stdout.index('{"') :])
    assert answer["thingName"] == "sensor-0001"
    assert answer["certificate"].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.nightly
def test_each_example_is_deployed_as_it_stands_and_provisions_a_device(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("cdk.out", "__pycache__"))
    shutil.copy(Path(__file__).parent / "outside" / "examples_in_the_local_cloud.py", tmp_path / "test_examples.py")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    examples = {folder.name.replace("-", "_") for folder in (ROOT / "examples").iterdir() if folder.is_dir()}
    examples -= {"two_regions"}  # it needs a cloud of two Regions: tests/e2e/test_e2e_regions.py deploys such a line

    ended = run(["pytest", "-v", "--basetemp", str(tmp_path / "tmp"), "test_examples.py"], tmp_path, environment)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = {line.split("::test_")[1].split()[0] for line in ended.stdout.splitlines() if "PASSED" in line}
    assert passed == examples


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
