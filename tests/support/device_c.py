"""The device in C of the examples, built with sanitizers, as a process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.documents import ROOT

SOURCES = ROOT / "examples" / "device-c"


@dataclass(frozen=True)
class Run:
    """The output of one run of the program."""

    code: int
    log: str

    @property
    def waits(self) -> list[int]:
        return [int(seconds) for seconds in re.findall(r"^wait (\d+)$", self.log, re.MULTILINE)]

    @property
    def certificate_id(self) -> str | None:
        found = re.search(r"^certificate ([0-9a-f]{64})$", self.log, re.MULTILINE)
        return found[1] if found else None


@dataclass(frozen=True)
class DeviceInC:
    """One board: its slots, its key and its settings."""

    binary: Path
    slots: Path
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, **settings: str) -> Run:
        """Run until it would wait for more than LONGEST_WAIT seconds."""
        environment = {"PATH": os.environ["PATH"], "SLOTS_FOLDER": str(self.slots), "LONGEST_WAIT": "0"}
        done = subprocess.run(
            [str(self.binary)],
            env={**environment, **self.settings, **settings},
            capture_output=True,
            timeout=60,
            check=False,
        )
        log = done.stderr.decode(errors="replace")
        assert "Sanitizer" not in log, log
        assert "runtime error" not in log, log
        return Run(done.returncode, log)


def build(folder: Path) -> Path:
    """Build the program with the sanitizers; skips if the machine lacks the tools."""
    compiler, make = shutil.which("cc"), shutil.which("make")
    if compiler is None or make is None or not Path("/usr/include/mbedtls/ssl.h").exists():
        pytest.skip("no C compiler with make and Mbed TLS (libmbedtls-dev) on this machine")
    done = subprocess.run(
        [make, "-C", str(SOURCES), "sanitized", f"BUILD={folder}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "device-sanitized"
