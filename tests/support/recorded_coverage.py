"""Records coverage while the tests of the gate's packages run: recording doubles a test's time."""

from __future__ import annotations

import os
from typing import Final

import coverage
import pytest

# The gate is for lambda_src and cdk, and these tests reach all of their lines that a test reaches.
_RECORDED: Final = ("tests/lambda_src/", "tests/cdk/")
# They walk the same lines thousands of times, and others reach those lines too.
_REPEATING: Final = frozenset(
    {
        "test_crash_injection",
        "test_issuing_model",
        "test_renewal",
        "test_requested_renewal",
        "test_revocation_model",
        "test_turns_model",
        "test_two_ledgers",
    }
)
# Has each Python process record that a test starts. `coverage` sets one of them.
_OF_PROCESSES: Final = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


class RecordedCoverage:
    """A plugin of pytest that pauses the recording where it gains nothing."""

    def __init__(self, recording: coverage.Coverage) -> None:
        self._recording = recording
        self._is_on = True
        self._variables = {name: os.environ[name] for name in _OF_PROCESSES if name in os.environ}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Before each test: switch where the test's module is of the other kind than the one before."""
        module = item.nodeid.partition("::")[0]
        wanted = module.startswith(_RECORDED) and module.rpartition("/")[2].removesuffix(".py") not in _REPEATING
        if wanted and not self._is_on:
            os.environ.update(self._variables)
            self._recording.start()
        elif self._is_on and not wanted:
            self._recording.stop()
            for name in self._variables:
                del os.environ[name]
        self._is_on = wanted


def plugin() -> RecordedCoverage | None:
    """The plugin, in a process whose coverage is recorded."""
    recording = coverage.Coverage.current()
    return None if recording is None else RecordedCoverage(recording)
