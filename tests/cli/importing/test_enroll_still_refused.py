"""What must hold after a device was blocked: no undoing allows it again, and no certificate of it is overlooked."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.batch import Batch, BatchState
from secretfree.registry.entry import DeviceStatus
from secretfree_cli.devices import enrolled as devices
from secretfree_cli.devices.ledger_view import CertificateRecord, LedgerView
from secretfree_cli.importing.progress import Silent
from secretfree_cli.importing.revert import Undone, revert
from secretfree_cli.target import Target

BATCH = Batch(
    "b2", BatchState.COMPLETE, "arn:aws:iam::111122223333:user/o", "2026-01-31T09:30:00Z", counts={"replaced": 1}
)
FORMER = {"device-id": "sensor-1", "key-fingerprint": "a" * 64, "status": "allowed", "batch": "b1"}
REPLACING = {**FORMER, "key-fingerprint": "b" * 64, "batch": "b2"}


def item(texts: dict[str, str]) -> dict[str, Any]:
    return {name: {"S": text} for name, text in texts.items()}


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A stack's two tables, in moto."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        session = boto3.Session(region_name="eu-central-1")
        for name, keys in {"registry": ["device-id", "batch"], "ledger": ["device-id", "record"]}.items():
            index = {
                "IndexName": "batch-index",
                "KeySchema": [
                    {"AttributeName": "batch", "KeyType": "HASH"},
                    {"AttributeName": "device-id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            schema = [{"AttributeName": "device-id", "KeyType": "HASH"}]
            session.client("dynamodb").create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                **(
                    {"KeySchema": schema, "GlobalSecondaryIndexes": [index]}
                    if name == "registry"
                    else {"KeySchema": [*schema, {"AttributeName": "record", "KeyType": "RANGE"}]}
                ),
            )
        yield Target(
            session=session,
            endpoint_url=None,
            region="eu-central-1",
            stack_name="Widgets",
            registry_table="registry",
            ledger_table="ledger",
        )


@pytest.fixture
def registry(target: Target) -> DynamoDbRegistryStore:
    return DynamoDbRegistryStore.of(target.client("dynamodb"), "registry")


def record(target: Target, name: str, **texts: str) -> None:
    ledger = target.client("dynamodb")
    ledger.put_item(TableName="ledger", Item=item({"device-id": "sensor-1", "record": name, **texts}))


def test_a_device_blocked_under_its_replaced_key_stays_blocked_under_its_former_one(
    target: Target, registry: DynamoDbRegistryStore
) -> None:
    registry.table.write([{**item(REPLACING), "replaced": {"M": item(FORMER)}}])
    devices.set_status(registry, "sensor-1", DeviceStatus.BLOCKED, reason="stolen")
    undone = revert(registry, LedgerView(target), BATCH, Silent())
    assert undone.counts[Undone.RESTORED] == 1
    restored = registry.read(["sensor-1"])["sensor-1"]
    assert (restored.fingerprint, restored.status) == ("a" * 64, DeviceStatus.BLOCKED)
    assert restored.blocked_reason == "stolen"


def test_a_device_that_is_allowed_gets_its_former_item_back_as_it_was(
    target: Target, registry: DynamoDbRegistryStore
) -> None:
    registry.table.write([{**item(REPLACING), "replaced": {"M": item(FORMER)}}])
    revert(registry, LedgerView(target), BATCH, Silent())
    assert registry.table.read_items(["sensor-1"]) == {"sensor-1": item(FORMER)}


def test_a_forced_revert_costs_a_call_for_twenty_five_devices(target: Target) -> None:
    client = target.client("dynamodb")
    calls = Counter[str]()
    client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.update([model.name]))
    registry = DynamoDbRegistryStore.of(client, "registry")
    registry.table.write([item({"device-id": f"sensor-{number}", "batch": "b2"}) for number in range(200)])
    calls.clear()
    # One at a time: moto copies its tables for each transaction.
    undone = revert(registry, LedgerView(target), BATCH, Silent(), force=True, parallelism=1)
    assert undone.counts[Undone.REMOVED] == 200
    assert calls["TransactWriteItems"] == 200 / 25
    assert calls["DeleteItem"] == 0
    assert calls["BatchGetItem"] <= 200 / 100 + 3


def test_a_certificate_of_an_unconfirmed_issuance_is_reported_and_counts_as_usable(
    target: Target, registry: DynamoDbRegistryStore
) -> None:
    registry.table.write([item(FORMER)])
    record(target, "issuance#private-ca", state="issued", **{"certificate-id": "c" * 64})
    record(target, "issuance#iot-core", state="requesting")
    record(target, "binding", **{"key-fingerprint": "a" * 64})
    ledger = LedgerView(target)
    assert ledger.certificates("sensor-1") == [CertificateRecord("c" * 64, "issued", "private-ca", None)]
    assert devices.remove(registry, ledger, "sensor-1", force=False) is devices.Removal.HAS_CERTIFICATE


def test_a_certificate_with_a_record_of_its_own_is_reported_once(target: Target) -> None:
    record(target, "issuance#private-ca", state="active", **{"certificate-id": "c" * 64})
    record(target, f"certificate#{'c' * 64}", state="superseded", issuer="private-ca")
    ledger = LedgerView(target)
    assert ledger.certificates("sensor-1") == [CertificateRecord("c" * 64, "superseded", "private-ca", None)]
    assert not ledger.active_certificates("sensor-1")


@pytest.mark.parametrize(
    "kept",
    [
        {"replaced": {"S": "rubbish"}},
        {"replaced": {"L": [{"M": {"pubkey": {"S": "x"}}}]}},
        {"replaced": {"L": [{"M": item({**FORMER, "status": "?"})}]}},
    ],
)
def test_an_unreadable_record_is_left_and_named_and_the_others_are_reverted(
    kept: dict[str, Any], target: Target, registry: DynamoDbRegistryStore
) -> None:
    broken, other = {**item(REPLACING), **kept}, item({**REPLACING, "device-id": "sensor-2"})
    registry.table.write([broken, other])
    undone = revert(registry, LedgerView(target), BATCH, Silent())
    assert (undone.counts[Undone.REMOVED], undone.unreadable) == (1, ["sensor-1"])
    assert registry.table.read_items(["sensor-1", "sensor-2"]) == {"sensor-1": broken}


def test_a_former_record_of_an_unreadable_batch_does_not_come_back(
    target: Target, registry: DynamoDbRegistryStore
) -> None:
    replacing = {**item(REPLACING), "replaced": {"L": [{"M": item(FORMER)}]}}
    registry.table.write([replacing, {"device-id": {"S": "batch#b1"}, "state": {"S": "?"}}])
    assert revert(registry, LedgerView(target), BATCH, Silent()).unreadable == ["sensor-1"]
    assert registry.table.read_items(["sensor-1"]) == {"sensor-1": replacing}


def test_a_device_whose_former_record_is_no_longer_kept_is_removed_and_counted(
    target: Target, registry: DynamoDbRegistryStore
) -> None:
    registry.table.write([{**item(REPLACING), "replaced-forgotten": {"N": "3"}}])
    undone = revert(registry, LedgerView(target), BATCH, Silent())
    assert undone.counts[Undone.REMOVED_FORGOTTEN] == 1
    assert registry.read(["sensor-1"]) == {}
