"""Builds the wheel once for the tests of what a team installs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution's wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)],
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked versions, as a file of constraints."""
    file = tmp_path_factory.mktemp("locked") / "constraints.txt"
    locked = (REPOSITORY / "requirements" / "dev.txt").read_text(encoding="utf-8")
    pinned = [line.rstrip(" \\") for line in locked.splitlines() if "==" in line]
    file.write_text("\n".join(pinned) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def team_environment(wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and its run-time dependencies at the locked versions: what a team has.

    Returns the path of its Python.
    """
    folder = tmp_path_factory.mktemp("team") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "VIRTUAL_ENV": str(folder)},
    )
    return python
