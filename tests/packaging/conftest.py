"""Builds the wheel once for the tests of what a team installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import fresh_environment
from support.own_app import synthesise

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
    python = fresh_environment.new_environment(tmp_path_factory.mktemp("team") / "venv")
    fresh_environment.install(python, "--constraint", constraints, wheel, "pip")
    return python


@pytest.fixture(scope="session")
def team_assembly(team_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud assembly of a team's app, in another folder than the environment's."""
    return synthesise(team_environment, tmp_path_factory.mktemp("app"))
