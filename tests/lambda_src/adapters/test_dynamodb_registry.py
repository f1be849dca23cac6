"""The registry and the bindings on DynamoDB: exact calls, tables by moto, failures by the Stubber."""

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber
from secretfree.adapters.dynamodb.registry import DynamoDbBindings, DynamoDbRegistry
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.registry.entry import DeviceStatus
from secretfree.request.device_id import DeviceId
from secretfree.request.keys import DevicePublicKey

WIDGET = DeviceId.parse("widget-1")
_ONE_TRY = Config(retries={"total_max_attempts": 1})
NAMES = {
    "#device": "device-id",
    "#pubkey": "pubkey",
    "#fingerprint": "key-fingerprint",
    "#status": "status",
    "#earliest": "not-before",
}


@pytest.fixture
def client(tables: Any) -> Any:
    return tables


@pytest.fixture
def registry(client: Any) -> DynamoDbRegistry:
    return DynamoDbRegistry(client, table="registry", key_index="key-fingerprint-index")


def _put(client: Any, table: str = "registry", **attributes: Any) -> None:
    values = {name.replace("_", "-"): value for name, value in attributes.items()}
    item = {name: value if isinstance(value, dict) else {"S": value} for name, value in values.items()}
    client.put_item(TableName=table, Item=item)


def test_an_enrolled_device_is_found_by_its_id(
    client: Any, registry: DynamoDbRegistry, public_key: DevicePublicKey
) -> None:
    _put(client, device_id="widget-1", pubkey=public_key.registry_text(), batch="b1", attributes={"M": {}})
    entry = registry.by_device_id(WIDGET)
    assert entry is not None
    assert (entry.public_key, entry.status) == (public_key, DeviceStatus.ALLOWED)


def test_there_is_no_entry_for_another_id(registry: DynamoDbRegistry) -> None:
    assert registry.by_device_id(WIDGET) is None


def test_devices_are_found_by_their_key(client: Any, registry: DynamoDbRegistry, public_key: DevicePublicKey) -> None:
    for device_id in ("widget-1", "widget-2"):
        _put(client, device_id=device_id, pubkey=public_key.pem(), key_fingerprint=public_key.fingerprint)
    _put(client, device_id="widget-3", key_fingerprint="0" * 64)
    found = registry.by_fingerprint(public_key.fingerprint)
    assert sorted(entry.device_id for entry in found) == ["widget-1", "widget-2"]
    assert all(entry.public_key == public_key for entry in found)
    assert registry.by_fingerprint("f" * 64) == []


def test_an_id_of_the_index_that_is_no_device_id_is_a_defect_of_the_registry(
    client: Any, registry: DynamoDbRegistry
) -> None:
    _put(client, device_id="widget/1", key_fingerprint="0" * 64)
    with pytest.raises(SecretFreeError) as caught:
        registry.by_fingerprint("0" * 64)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.REGISTRY_RECORD)


def test_an_attribute_of_another_type_is_not_taken_for_absent(client: Any, registry: DynamoDbRegistry) -> None:
    _put(client, device_id="widget-1", pubkey={"B": b"key"}, status={"BOOL": True})
    entry = registry.by_device_id(WIDGET)
    assert entry is not None
    assert entry.status is DeviceStatus.UNREADABLE
    assert entry.defect is not None


def test_an_entry_is_read_consistently_and_no_more_than_is_needed() -> None:
    client = boto3.client("dynamodb")
    registry = DynamoDbRegistry(client, table="registry", key_index="index")
    with Stubber(client) as stub:
        stub.add_response(
            "get_item",
            {},
            {
                "TableName": "registry",
                "Key": {"device-id": {"S": "widget-1"}},
                "ConsistentRead": True,
                "ProjectionExpression": "#device, #pubkey, #fingerprint, #status, #earliest",
                "ExpressionAttributeNames": NAMES,
            },
        )
        assert registry.by_device_id(WIDGET) is None


def test_the_index_is_asked_for_ids_alone_and_an_entry_gone_since_is_left_out() -> None:
    client = boto3.client("dynamodb")
    registry = DynamoDbRegistry(client, table="registry", key_index="index")
    with Stubber(client) as stub:
        stub.add_response(
            "query",
            {"Items": [{"device-id": {"S": "widget-1"}}]},
            {
                "TableName": "registry",
                "IndexName": "index",
                "KeyConditionExpression": "#fingerprint = :fingerprint",
                "ProjectionExpression": "#device",
                "ExpressionAttributeNames": {"#device": "device-id", "#fingerprint": "key-fingerprint"},
                "ExpressionAttributeValues": {":fingerprint": {"S": "0" * 64}},
                "Limit": 3,
            },
        )
        stub.add_response("get_item", {})
        assert registry.by_fingerprint("0" * 64) == []
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "AccessDeniedException", "InternalServerError"]
)
def test_a_table_that_cannot_be_read_is_our_failure(code: str) -> None:
    client = boto3.client("dynamodb", config=_ONE_TRY)
    registry = DynamoDbRegistry(client, table="registry", key_index="index")
    calls = {"get_item": lambda: registry.by_device_id(WIDGET), "query": lambda: registry.by_fingerprint("0" * 64)}
    for operation, call in calls.items():
        with Stubber(client) as stub:
            stub.add_client_error(operation, code, "table arn:aws:dynamodb:::secret")
            with pytest.raises(SecretFreeError) as caught:
                call()
        assert (caught.value.code, caught.value.reason) == (ErrorCode.UNAVAILABLE, Reason.REGISTRY_UNAVAILABLE)
        assert code in caught.value.detail
        assert "arn" not in caught.value.detail


def test_a_network_that_fails_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("dynamodb")

    def timing_out(**_parameters: Any) -> None:
        raise ConnectTimeoutError(endpoint_url="x")

    monkeypatch.setattr(client, "get_item", timing_out)
    with pytest.raises(SecretFreeError) as caught:
        DynamoDbBindings(client, table="ledger").bound_fingerprint(WIDGET)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.UNAVAILABLE, Reason.LEDGER_UNAVAILABLE)
    assert caught.value.detail == "ConnectTimeoutError"


def test_a_binding_is_the_fingerprint_of_the_first_key(client: Any) -> None:
    bindings = DynamoDbBindings(client, table="ledger")
    assert bindings.bound_fingerprint(WIDGET) is None
    _put(client, "ledger", device_id="widget-1", record="binding", key_fingerprint="0" * 64)
    assert bindings.bound_fingerprint(WIDGET) == "0" * 64


def test_a_binding_without_a_fingerprint_matches_no_key(client: Any) -> None:
    _put(client, "ledger", device_id="widget-1", record="binding")
    assert DynamoDbBindings(client, table="ledger").bound_fingerprint(WIDGET) == ""
