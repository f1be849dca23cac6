"""Fresh virtual environments for tests, with what the given requirements ask for and nothing else.

To compile the CDK library takes longer than most tests. An environment of the same Python and the same versions takes
over the bytecode that the tests' own environment has.

`python -m support.fresh_environment ARGUMENT...` stands in for `pip ARGUMENT...` in the active environment.
"""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import sys
import sysconfig
from contextlib import suppress
from importlib.util import cache_from_source
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
    other = environment / own.relative_to(sys.prefix)  # it does not exist if the environment is of another Python
    for record in other.glob("*.dist-info/RECORD"):
        with suppress(FileNotFoundError):
            in_both = _recorded(record) & _recorded(own / record.relative_to(other))
            for name in (name for name, _ in in_both if name.endswith(".py")):
                _copy_bytecode(own / name, other / name)


def _recorded(record: Path) -> set[tuple[str, str]]:
    """The files of an installed package, each with its hash."""
    with record.open(encoding="utf-8", newline="") as rows:
        return {(name, digest) for name, digest, _ in csv.reader(rows)}


def _copy_bytecode(source: Path, copy: Path) -> None:
    compiled, target = Path(cache_from_source(source)), Path(cache_from_source(copy))
    if not compiled.exists() or target.exists() or source.stat().st_size != copy.stat().st_size:
        return  # two packages may bring the same file: the size says whose it is
    content = compiled.read_bytes()
    if content[4:16] == bytes(4) + _stamp(source):  # zeros: by time and size, not by the source's hash
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
