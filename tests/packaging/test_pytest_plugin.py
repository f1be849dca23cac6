"""The guide "Test your own app", from the wheel in a fresh environment: its test file, and the steps of its CI file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import copy

import psutil
import pytest
import yaml
from support import fresh_environment
from support.documents import ROOT, code_blocks

PAGE = ROOT / "docs" / "guides" / "test-your-own-app.md"
_TIMEOUT = 900
DEPLOYS = """
import json, sys
from pathlib import Path
import boto3

outputs = {"ProvisioningUrl": "https://small.execute-api.region.example/stage", "RegistryTable": "Small"}
template = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {name: {"Value": value} for name, value in outputs.items()},
}
cloud = boto3.client("cloudformation")
cloud.create_stack(StackName="Small", TemplateBody=json.dumps(template))
cloud.get_waiter("stack_create_complete").wait(StackName="Small", WaiterConfig={"Delay": 1})
Path(sys.argv[sys.argv.index("--outputs-file") + 1]).write_text(json.dumps({"Small": outputs}))
"""

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def own_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest example, with the files of the guide beside it."""
    folder = tmp_path_factory.mktemp("own") / "app"
    folder.mkdir()
    for name in ("app.py", "cdk.json"):
        copy(ROOT / "examples" / "minimal" / name, folder)
    for block in code_blocks(PAGE.read_text(encoding="utf-8")):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
    # Where a warning is an error, the fixture must not cause any.
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(own_app: Path) -> Mapping[str, str]:
    """A fresh virtual environment, active, with a folder for temporary files of its own."""
    fresh_environment.new_environment(own_app / ".venv")
    (own_app / "tmp").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "VIRTUAL_ENV", "PYTEST_"))}
    path = os.pathsep.join([str(own_app / ".venv" / "bin"), kept["PATH"]])
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(own_app / ".venv"), "TMPDIR": str(own_app / "tmp")}


@pytest.fixture(scope="module")
def installed(
    own_app: Path, environment: Mapping[str, str], wheel: Path, constraints: Path
) -> subprocess.CompletedProcess[str]:
    """The run of the CI file's own steps.

    The wheel stands in for the package index's, uv for pip, and the locked Node.js tools for those that npm installs.
    """
    workflow = yaml.safe_load((own_app / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    pip = fresh_environment.as_pip(f"--constraint {constraints} pip")
    script = "\n".join(["set -euo pipefail", pip, *steps])
    script = script.replace("cdk-iot-secretfree[local]", f"cdk-iot-secretfree[local] @ {wheel.as_uri()}")
    script = script.replace("npm install aws-cdk", f"ln -s {ROOT / 'node_modules'} node_modules")
    return run(["bash", "-c", script], own_app, environment)


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )


def processes_below(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR", "").startswith(str(folder)):
                yield process


def nothing_runs_below(folder: Path, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while left := list(processes_below(folder)):
        if time.monotonic() > deadline:
            raise AssertionError(left)
        time.sleep(0.2)
    return True


def test_the_steps_of_the_guides_ci_file_pass_with_two_workers_on_one_cloud(
    installed: subprocess.CompletedProcess[str], own_app: Path
) -> None:
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "3 passed" in installed.stdout
    assert len(list((own_app / "tmp").rglob("cdk.log"))) == 1
    assert nothing_runs_below(own_app / "tmp")


@pytest.fixture
def small_app(own_app: Path) -> Path:
    """An app whose CDK CLI is a script. It deploys a stack with the outputs of a product line in a second."""
    folder = own_app / "small"
    command = folder / "node_modules" / ".bin" / "cdk"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{own_app / '.venv' / 'bin' / 'python'}\n{DEPLOYS}", encoding="utf-8")
    command.chmod(0o755)
    (folder / "cdk.json").write_text("{}", encoding="utf-8")
    copy(own_app / "pytest.ini", folder)
    return folder


def leaves_nothing_behind_after_sigterm(app: Path, environment: Mapping[str, str], *options: str) -> bool:
    """Start a test run that deploys the app and waits, and end it."""
    waits = app / "test_waits.py"
    waits.write_text(
        "from pathlib import Path\nimport time\n"
        "def test_waits(secretfree_cloud):\n    Path('waiting').touch()\n    time.sleep(300)\n",
        encoding="utf-8",
    )
    running = subprocess.Popen(
        ["pytest", *options, "test_waits.py"],
        cwd=app,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (app / "waiting").exists():
        assert running.poll() is None
        time.sleep(0.2)

    running.send_signal(signal.SIGTERM)
    running.wait(timeout=60)
    waits.unlink()
    return nothing_runs_below(Path(environment["TMPDIR"]))


def test_a_run_with_workers_that_is_ended_by_sigterm_leaves_nothing_behind(
    installed: subprocess.CompletedProcess[str], small_app: Path, environment: Mapping[str, str]
) -> None:
    assert installed.returncode == 0
    assert leaves_nothing_behind_after_sigterm(small_app, environment, "-n", "2")


@pytest.mark.nightly
def test_a_run_with_the_guides_app_that_is_ended_by_sigterm_leaves_nothing_behind(
    installed: subprocess.CompletedProcess[str], own_app: Path, environment: Mapping[str, str]
) -> None:
    assert installed.returncode == 0
    assert leaves_nothing_behind_after_sigterm(own_app, environment)


def test_without_the_extra_the_plugin_does_no_harm_and_names_the_extra(
    team_environment: Path, constraints: Path, tmp_path: Path
) -> None:
    fresh_environment.install(team_environment, "--constraint", constraints, "pytest")
    (tmp_path / "test_own.py").write_text(
        "import sys\n"
        "def test_of_something_else():\n"
        "    loaded = {name.split('.')[0] for name in sys.modules}\n"
        "    assert not loaded & {'aws_cdk', 'boto3', 'click', 'secretfree', 'cdk_iot_secretfree'}\n"
        "def test_with_the_cloud(secretfree_cloud):\n    pass\n",
        encoding="utf-8",
    )
    shown = run([str(team_environment), "-m", "pytest"], tmp_path, dict(os.environ))

    assert "1 passed, 1 error" in shown.stdout
    assert "hint: pip install 'cdk-iot-secretfree[local]'" in shown.stdout
