"""The stack of the tests in this folder."""

import pytest
from support.stack_on_moto import Stack


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Stack:
    return Stack(monkeypatch)
