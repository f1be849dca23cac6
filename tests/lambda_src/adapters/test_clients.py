"""The AWS clients of a function."""

from collections.abc import Iterator

import pytest
from secretfree.adapters import clients


@pytest.fixture(autouse=True)
def _fresh_clients() -> Iterator[None]:
    clients.client.cache_clear()
    yield
    clients.client.cache_clear()


def test_a_process_has_one_client_of_a_service() -> None:
    assert clients.dynamodb() is clients.client("dynamodb")


@pytest.mark.parametrize("service", ["dynamodb", "iot", "acm-pca", "sts"])
def test_all_the_tries_of_a_call_end_before_api_gateway_stops_waiting(service: str) -> None:
    settings = clients.client(service).meta.config
    assert settings.retries["total_max_attempts"] * (settings.connect_timeout + settings.read_timeout) < 29
    assert settings.tcp_keepalive


def test_each_client_is_of_its_service() -> None:
    made = (clients.dynamodb(), clients.iot(), clients.acm_pca())
    assert [client.meta.service_model.service_name for client in made] == ["dynamodb", "iot", "acm-pca"]
