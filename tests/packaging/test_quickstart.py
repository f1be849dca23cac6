"""The quickstart's own commands, typed by a script that is taken from the page, with the wheel and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import fresh_environment
from support.documents import ROOT, code_blocks

PAGE = ROOT / "docs" / "tutorials" / "quickstart.md"
_CLONE_REFUSED = "refused"

pytestmark = pytest.mark.packaging


def script_of(page: Path) -> str:
    """Return the page's commands in their order; a block with a title becomes that file."""
    parts = ["set -euo pipefail"]
    for block in code_blocks(page.read_text(encoding="utf-8")):
        if block.title:
            parts.append(f"cat > {block.title} <<'END-OF-FILE'\n{block.text}END-OF-FILE")
        elif block.language == "sh":
            parts.append(block.text)
    return "\n".join(parts)


def test_the_quickstart_runs_to_its_end_from_the_wheel(wheel: Path, constraints: Path, tmp_path: Path) -> None:
    """The wheel stands in for the package index's, and uv for pip, because it installs in seconds.

    pip is the locked one, not Python's own, which takes longer than all other packages. The Node.js tools come from the
    locked folder.
    """
    script = script_of(PAGE).replace("cdk-iot-secretfree[local]", f"cdk-iot-secretfree[local] @ {wheel.as_uri()}")
    script = script.replace("npm install aws-cdk", f"ln -s {ROOT / 'node_modules'} node_modules")
    script = script.replace("python3 -m venv", "python3 -m venv --without-pip")
    pip = fresh_environment.as_pip(f"--constraint {constraints} pip")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "VIRTUAL_ENV"))}

    try:
        ended = subprocess.run(
            ["bash", "-c", f"{pip}\n{script}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    finally:
        command = tmp_path / "widgets" / ".venv" / "bin" / "secretfree"
        if command.exists():  # ended early: nothing may stay behind
            subprocess.run([command, "local", "down", "--forget"], cwd=tmp_path / "widgets", check=False)
        shutil.rmtree(tmp_path / "widgets", ignore_errors=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines().count(_CLONE_REFUSED) == 1, ended.stdout
