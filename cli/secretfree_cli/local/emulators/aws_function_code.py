"""A function's code, unpacked once. ministack 1.5.33 unpacks it at each start of a process of a function.

The functions of a stack share one bundle of a thousand files. A test run starts a hundred processes.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = "function-code"
_WRITTEN_INTO = "node_modules"  # ministack links the packages of layers into this folder


def install() -> None:
    """Share the unpacked code in this process."""
    from ministack.core import lambda_runtime

    lambda_runtime.zipfile = _with_shared_code()


class SharedCode(zipfile.ZipFile):
    """An archive that is unpacked once for each content; every further folder gets links to its entries."""

    _turn = threading.Lock()

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        if path is None or members is not None or self.filename is None or self._is_written_into():
            super().extractall(path, members, pwd)
            return
        digest = hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()
        shared = Path(tempfile.gettempdir()) / _FOLDER / digest
        with self._turn:
            if not shared.exists():
                shared.parent.mkdir(mode=0o700, exist_ok=True)
                # The folder has its name only when it is complete: unpacking may fail.
                unfinished = tempfile.mkdtemp(dir=shared.parent)
                super().extractall(unfinished, None, pwd)
                Path(unfinished).rename(shared)
        for entry in shared.iterdir():
            (Path(path) / entry.name).symlink_to(entry)

    def _is_written_into(self) -> bool:
        return any(name.split("/")[0] == _WRITTEN_INTO for name in self.namelist())


def _with_shared_code() -> ModuleType:
    """The module `zipfile` with the class above."""
    module = ModuleType(zipfile.__name__)
    module.__dict__.update(zipfile.__dict__)
    module.__dict__["ZipFile"] = SharedCode
    return module
