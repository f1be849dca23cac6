"""Fresh virtual environments for tests, with what the given requirements ask for and nothing else.

To compile the CDK library takes longer than most tests. An environment of the same Python and the same versions takes
over the bytecode that the tests' own environment has.

`python -m support.fresh_environment ARGUMENT...` stands in for `pip ARGUMENT...` in the active environment.
"""

from __future__ import annotations

import filecmp
import os
import struct
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
    """Give an environment this one's bytecode of the sources that are the same in both.

    Bytecode names the time and the size of its source (PEP 552), and the two sources may have different times.
    """
    own = Path(sysconfig.get_path("purelib"))
    other = environment / own.relative_to(sys.prefix)
    if not other.is_dir():
        return  # of another Python
    for package in other.iterdir():
        for compiled in (own / package.name).rglob(f"__pycache__/*.{sys.implementation.cache_tag}.pyc"):
            name = f"{compiled.name.partition('.')[0]}.py"
            source, copy = compiled.parents[1] / name, other / compiled.parents[1].relative_to(own) / name
            content = compiled.read_bytes()
            target = copy.parent / "__pycache__" / compiled.name
            is_current = source.is_file() and content[4:16] == bytes(4) + _stamp(source)
            if is_current and copy.is_file() and not target.exists() and filecmp.cmp(source, copy):
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content[:8] + _stamp(copy) + content[16:])


def _stamp(source: Path) -> bytes:
    facts = source.stat()
    return struct.pack("<II", int(facts.st_mtime) & 0xFFFFFFFF, facts.st_size & 0xFFFFFFFF)


def as_pip(options: str = "") -> str:
    """Return a shell function `pip` for a script. It installs with uv, which takes seconds.

    `options`: further arguments of `pip install`.
    """
    tests = Path(__file__).resolve().parents[1]
    return f'pip() {{ PYTHONPATH={tests} {sys.executable} -m support.fresh_environment "$@" {options}; }}'


if __name__ == "__main__":
    assert sys.argv[1] == "install", sys.argv
    install(Path(os.environ["VIRTUAL_ENV"], "bin", "python"), *sys.argv[2:])
