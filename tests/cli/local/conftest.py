"""A local cloud without a deployment, shared by the tests that call it and do not stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from secretfree_cli.local.cloud import bring_down, bring_up
from secretfree_cli.local.state import CloudRecord, StateFolder


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRecord]:
    folder = StateFolder(tmp_path_factory.mktemp("shared"))
    record, _ = bring_up(folder)
    yield record
    bring_down(folder)


@pytest.fixture(scope="session")
def aws(shared_cloud: CloudRecord) -> Callable[[str], Any]:
    """Clients of the shared cloud."""

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=shared_cloud.endpoint_url,
            region_name=shared_cloud.region,
            aws_access_key_id=shared_cloud.access_key_id,
            aws_secret_access_key=shared_cloud.secret_access_key,
        )

    return client
