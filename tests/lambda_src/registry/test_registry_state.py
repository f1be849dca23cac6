"""What the registry knows of itself: which imports are open, and whether its index by key is complete."""

from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws
from secretfree.adapters.dynamodb.registry_items import is_device
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.batch import Batch, BatchState, find_batches, list_batches, save_batch
from secretfree.registry.registry_state import (
    STATE_ID,
    RegistryState,
    close_import,
    indexed_item,
    mark_indexed,
    mark_unindexed,
    open_import,
    read_state,
)

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def table() -> Iterator[RegistryTable]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(
            TableName="registry",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
        )
        yield RegistryTable(client, "registry", sleep=lambda _: None)


def batch(batch_id: str, state: BatchState) -> Batch:
    return Batch(batch_id, state, "arn:aws:iam::1:user/a", "2026-01-31T00:00:00Z")


def test_a_table_where_nobody_imported_yet_has_no_open_import_and_no_known_index(table: RegistryTable) -> None:
    assert read_state(table) == RegistryState()
    assert not read_state(table).is_indexed


def test_each_import_that_opens_sees_those_that_are_open_and_counts(table: RegistryTable) -> None:
    assert open_import(table, "a") == RegistryState(frozenset({"a"}), 1)
    assert open_import(table, "b") == RegistryState(frozenset({"a", "b"}), 2)
    assert close_import(table, "a") == RegistryState(frozenset({"b"}), 2)
    assert close_import(table, "b") == RegistryState(frozenset(), 2)
    assert close_import(table, "b") == RegistryState(frozenset(), 2)


def test_one_that_opened_and_closed_in_between_is_noticed_by_the_count(table: RegistryTable) -> None:
    opening = open_import(table, "a")
    open_import(table, "b")
    close_import(table, "b")
    assert read_state(table).open == opening.open
    assert read_state(table).opened != opening.opened


@pytest.mark.parametrize(
    ("state", "is_open"),
    [
        (BatchState.IMPORTING, True),
        (BatchState.REVERTING, True),
        (BatchState.COMPLETE, False),
        (BatchState.REVERTED, False),
    ],
)
def test_saving_a_batch_opens_or_closes_its_import(state: BatchState, is_open: bool, table: RegistryTable) -> None:
    save_batch(table, batch("a", BatchState.IMPORTING))
    assert ("a" in save_batch(table, batch("a", state)).open) is is_open
    assert ("a" in read_state(table).open) is is_open


def test_an_open_batch_has_its_record_first(table: RegistryTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secretfree.registry.batch.open_import", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_batch(table, batch("a", BatchState.IMPORTING))
    assert list(find_batches(table, ["a", "b"])) == ["a"]


def test_whether_the_index_is_complete_is_put_down_and_taken_back(table: RegistryTable) -> None:
    open_import(table, "a")
    assert mark_indexed(table, NOW) == RegistryState(frozenset({"a"}), 1, "2026-01-31T09:30:00Z")
    assert read_state(table).is_indexed
    assert not mark_unindexed(table).is_indexed


def test_a_registry_made_with_all_its_devices_can_say_so_itself(table: RegistryTable) -> None:
    table.write([indexed_item(NOW)])
    assert read_state(table) == RegistryState(indexed_at="2026-01-31T09:30:00Z")


def test_the_state_is_neither_a_device_nor_a_batch(table: RegistryTable) -> None:
    open_import(table, "a")
    assert not is_device(table.read_items([STATE_ID])[STATE_ID])
    assert list_batches(table) == []


def test_a_throttled_change_is_made_again() -> None:
    client = boto3.client("dynamodb", region_name="eu-central-1")
    pauses: list[float] = []
    table = RegistryTable(client, "registry", sleep=pauses.append)
    with Stubber(client) as stubber:
        stubber.add_client_error("update_item", "ProvisionedThroughputExceededException")
        stubber.add_response("update_item", {"Attributes": {"imports-opened": {"N": "3"}}})
        assert close_import(table, "a").opened == 3
        assert len(pauses) == 1
        stubber.add_client_error("update_item", "AccessDeniedException")
        with pytest.raises(ClientError, match="AccessDenied"):
            close_import(table, "a")
