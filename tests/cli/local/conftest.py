"""A local cloud without a deployment, shared by the tests that call it and do not stop it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from secretfree_cli.local.cloud import bring_down, bring_up
from secretfree_cli.local.state import CloudRecord, StateFolder


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRecord]:
    folder = StateFolder(tmp_path_factory.mktemp("shared"))
    record, _ = bring_up(folder)
    yield record
    bring_down(folder)
