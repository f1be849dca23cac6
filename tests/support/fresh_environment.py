"""Fresh virtual environments for tests, with what the given requirements ask for and nothing else.

To compile the CDK library takes longer than most tests. An environment of the same Python and the same versions takes
over the bytecode that the tests' own environment has.

`python -m support.fresh_environment ARGUMENT...` stands in for `pip ARGUMENT...` in the active environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

UV = Path(sys.executable).with_name("uv")


def new_environment(folder: Path, interpreter: str | Path = sys.executable) -> Path:
    """Make an empty virtual environment and return its Python."""
    subprocess.run([interpreter, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def install(python: Path, *arguments: str | Path) -> None:
    """Install into the environment of `python`, with the arguments of `pip install`."""
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *arguments], check=True)
    reuse_bytecode(python.parents[1])


def reuse_bytecode(environment: Path) -> None:
    """Link this environment's bytecode of the files that are the same in both.

    uv links the files of both from its cache, so that they have the same times. Python compares a source's time and
    size with its bytecode, and compiles it if they differ.
    """
    own = Path(sysconfig.get_path("purelib"))
    other = environment / own.relative_to(sys.prefix)
    if not other.is_dir():
        return  # of another Python
    for package in other.iterdir():
        for compiled in (own / package.name).rglob("__pycache__/*.pyc"):
            target = other / compiled.relative_to(own)
            source = target.parents[1] / f"{target.name.partition('.')[0]}.py"
            if not source.is_file() or target.exists():
                continue
            target.parent.mkdir(exist_ok=True)
            try:
                target.hardlink_to(compiled)
            except OSError:  # another file system
                shutil.copy(compiled, target)


def as_pip(options: str = "") -> str:
    """Return a shell function `pip` for a script. It installs with uv, which takes seconds.

    `options`: further arguments of `pip install`.
    """
    tests = Path(__file__).resolve().parents[1]
    return f'pip() {{ PYTHONPATH={tests} {sys.executable} -m support.fresh_environment "$@" {options}; }}'


if __name__ == "__main__":
    assert sys.argv[1] == "install", sys.argv
    install(Path(os.environ["VIRTUAL_ENV"], "bin", "python"), *sys.argv[2:])
