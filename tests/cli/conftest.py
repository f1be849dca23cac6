"""Fixtures of the command line's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from support.quick_aws import quicken_moto

quicken_moto()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Call a function until it returns something true, for a minute at most: a busy machine takes its time."""

    def wait(probe: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while True:
            found = probe()
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    return wait


@pytest.fixture
def moto_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An account on moto, and a folder of the test's own to work in: the project's, and that for checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRETFREE_PROJECT", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield
