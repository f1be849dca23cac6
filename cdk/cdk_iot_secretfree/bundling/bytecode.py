"""The bytecode of a bundle. Lambda's code folder is read-only: without bytecode, every cold start compiles its modules.

Python reads these files from `__pycache__`. They have the unchecked-hash form of PEP 552: they hold no date of the
source, and import does not compare them with the source.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdk_iot_secretfree.bundling.errors import BundlingError

DEPLOYED_FOLDER: Final = "/var/task/"
"""Where Lambda unpacks the bundle. Tracebacks name it; import corrects the name if the folder is another."""

_PROBE: Final = """
import sys
print(sys.executable, sys.implementation.name, sys.version_info.releaselevel, sep="\\n")
print(*sys.version_info[:3], sep=".")
"""
# Prints the files that do not compile: some wheels carry templates that are not Python 3.
_COMPILE: Final = """
import importlib.util, os.path, py_compile, sys
target, prefix = sys.argv[1:]
for name in sys.stdin.read().split("\\0"):
    try:
        py_compile.compile(
            name,
            cfile=os.path.join(target, importlib.util.cache_from_source(name)),
            dfile=prefix + name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError:
        print(name)
"""
# No site-packages, no user site, no current folder on the path, no warnings. The compiler writes no bytecode of itself.
_BARE: Final = ("-s", "-S", "-P", "-B", "-W", "ignore")
_SECONDS_TO_START: Final = 30
# The setting also holds for versions of uv that lack the option of that name.
_ONLY_MANAGED: Final = {"UV_PYTHON_PREFERENCE": "only-managed"}


@dataclass(frozen=True)
class Compiler:
    """A CPython. `release`: its full version, such as 3.13.5."""

    executable: str
    release: str

    def compile(self, files: Sequence[str], *, source: Path, target: Path) -> None:
        """Write the bytecode of `files`, paths relative to `source`, below `target`.

        Equal sources give equal bytes. `marshal` marks objects with several references, and the interpreter's own
        references count. So every compilation uses a new process, one order, one hash seed and relative paths only.

        Raises: BundlingError
        """
        finished = subprocess.run(  # noqa: S603 - the interpreter was found and asked for its version
            [self.executable, *_BARE, "-c", _COMPILE, str(target), DEPLOYED_FOLDER],
            input="\0".join(files),
            cwd=source,
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            last_lines = "\n".join(finished.stderr.strip().splitlines()[-12:])
            raise BundlingError(f"{self.executable} could not compile the bundle:\n{last_lines}")


def running_compiler() -> Compiler:
    """Return the interpreter of this process."""
    return Compiler(sys.executable, ".".join(map(str, sys.version_info[:3])))


@functools.cache
def find_compiler(version: str) -> Compiler | None:
    """Return a released CPython of `version`, such as 3.13: this one, one on the PATH or one of uv's. Else None."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))) and _is_released():
        return running_compiler()
    return next(filter(None, (_probed(candidate, version) for candidate in _candidates(version))), None)


def find_uv() -> str | None:
    """Return uv: the one beside this interpreter, else the one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _is_released() -> bool:
    return sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final"


def _candidates(version: str) -> Iterator[str]:
    if (on_path := shutil.which(f"python{version}")) is not None:
        yield on_path
    if (uv := find_uv()) is not None:
        # Only interpreters that uv installed: a search for all others takes as long as the rest of a synth.
        found = _output([uv, "python", "find", "--no-python-downloads", "--no-project", version], _ONLY_MANAGED)
        if found:
            yield found[0]


def _probed(executable: str, version: str) -> Compiler | None:
    """The interpreter behind `executable`. None for a shim that starts no interpreter."""
    lines = _output([executable, "-I", "-S", "-B", "-c", _PROBE])
    if len(lines) != 4:
        return None
    path, implementation, level, release = lines
    is_fit = implementation == "cpython" and level == "final" and release.startswith(f"{version}.")
    return Compiler(path, release) if is_fit else None


def _output(command: Sequence[str], settings: Mapping[str, str] | None = None) -> list[str]:
    """The lines that a command prints; none if it fails."""
    try:
        # Run outside the project, because a project in the current folder may pin another version.
        finished = subprocess.run(  # noqa: S603
            command,
            cwd=tempfile.gettempdir(),
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(settings or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS_TO_START,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return finished.stdout.strip().splitlines() if finished.returncode == 0 else []
