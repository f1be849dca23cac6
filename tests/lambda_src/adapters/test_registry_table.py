"""The registry table as enrolment uses it: on moto what ends there, on the Stubber what is sent and sent again."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws
from secretfree.adapters.dynamodb.ready_bodies import send_items_as_they_are
from secretfree.adapters.dynamodb.registry_items import device_item
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.dynamodb.registry_table import RegistryTable, chunks
from secretfree.registry.admission import Refusal, admit
from secretfree.registry.batch import (
    Batch,
    BatchState,
    ManifestFile,
    derived_batch_id,
    derived_import_id,
    is_batch_id,
    new_batch_id,
)
from secretfree.registry.decision import Outcome
from secretfree.registry.device import EnrolledDevice, Provenance
from secretfree.registry.enrollment import enroll_devices
from secretfree.registry.key_holders import KnownHolders
from secretfree.registry.store import ChangedMeanwhile, RegistryBusy, find_batch, list_batches, save_batch
from secretfree.request.keys import DevicePublicKey

TABLE = "registry"
NOW = datetime(2026, 1, 31, tzinfo=UTC)
KEYS = [DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(4)]
THROTTLED = "ProvisionedThroughputExceededException"


def new_device(number: int, key: DevicePublicKey | None = None, *, batch: str = "b1") -> EnrolledDevice:
    return EnrolledDevice.newly(admit(f"dev-{number}", key or KEYS[number]), Provenance(batch, NOW, "csv"))


def new_item(number: int, key: DevicePublicKey | None = None, *, batch: str = "b1") -> dict[str, Any]:
    return dict(device_item(new_device(number, key, batch=batch)))


def plain_item(number: int) -> dict[str, Any]:
    return {"device-id": {"S": f"dev-{number}"}, "pubkey": {"S": f"key-{number}"}}


def puts(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {TABLE: [{"PutRequest": {"Item": item}} for item in items]}


@pytest.fixture(params=[True, False], ids=["indexed", "of-an-existing-deployment"])
def indexed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def table(indexed: bool) -> Iterator[RegistryTable]:
    def index(name: str, *keys: str) -> dict[str, Any]:
        schema = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)]
        return {"IndexName": name, "KeySchema": schema, "Projection": {"ProjectionType": "KEYS_ONLY"}}

    with mock_aws():
        client = boto3.client("dynamodb")
        names = ("device-id", "key-fingerprint", "batch") if indexed else ("device-id",)
        indexes = [index("key-fingerprint-index", "key-fingerprint"), index("batch-index", "batch", "device-id")]
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
            **({"GlobalSecondaryIndexes": indexes} if indexed else {}),
        )
        send_items_as_they_are(client)
        yield RegistryTable(client, TABLE, sleep=lambda _: None)


@pytest.fixture
def store(table: RegistryTable) -> DynamoDbRegistryStore:
    return DynamoDbRegistryStore(table)


class Stubbed:
    """A table whose client answers as told, and that notes how long it paused."""

    def __init__(self) -> None:
        client = boto3.client("dynamodb", region_name="eu-central-1")
        self.stubber = Stubber(client)
        self.pauses: list[float] = []
        self.table = RegistryTable(client, TABLE, sleep=self.pauses.append, chance=lambda: 1.0)


@pytest.fixture
def stubbed() -> Iterator[Stubbed]:
    made = Stubbed()
    with made.stubber:
        yield made
        made.stubber.assert_no_pending_responses()


def test_items_go_out_twenty_five_at_a_time(stubbed: Stubbed) -> None:
    items = [plain_item(number) for number in range(30)]
    for part in (items[:25], items[25:]):
        stubbed.stubber.add_response("batch_write_item", {"UnprocessedItems": {}}, {"RequestItems": puts(part)})
    stubbed.table.write(items)
    assert stubbed.pauses == []


def test_unprocessed_items_alone_are_sent_again_after_a_pause(stubbed: Stubbed) -> None:
    items = [plain_item(number) for number in range(3)]
    answers = [(items, items[1:]), (items[1:], items[2:]), (items[2:], [])]
    for sent, left in answers:
        answer = {"UnprocessedItems": puts(left) if left else {}}
        stubbed.stubber.add_response("batch_write_item", answer, {"RequestItems": puts(sent)})
    stubbed.table.write(items)
    assert len(stubbed.pauses) == 2


def test_a_throttled_call_is_made_again_with_growing_pauses(stubbed: Stubbed) -> None:
    for _ in range(3):
        stubbed.stubber.add_client_error("batch_write_item", THROTTLED)
    stubbed.stubber.add_response("batch_write_item", {"UnprocessedItems": {}}, {"RequestItems": puts([plain_item(1)])})
    stubbed.table.write([plain_item(1)])
    assert stubbed.pauses == sorted(stubbed.pauses)
    assert len(set(stubbed.pauses)) == 3


def test_a_table_that_takes_nothing_is_given_up_in_the_end(stubbed: Stubbed) -> None:
    for _ in range(12):
        stubbed.stubber.add_client_error("batch_write_item", THROTTLED)
    with pytest.raises(RegistryBusy, match=TABLE):
        stubbed.table.write([plain_item(1)])


def test_a_table_that_takes_little_at_a_time_is_not_given_up(stubbed: Stubbed) -> None:
    items = [plain_item(number) for number in range(25)]
    for number in range(25):
        left = items[number + 1 :]
        answer = {"UnprocessedItems": puts(left) if left else {}}
        stubbed.stubber.add_response("batch_write_item", answer, {"RequestItems": puts(items[number:])})
    stubbed.table.write(items)


def test_an_error_that_is_no_throttling_is_not_tried_again(stubbed: Stubbed) -> None:
    stubbed.stubber.add_client_error("batch_write_item", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        stubbed.table.write([plain_item(1)])


def test_unprocessed_keys_are_read_again_and_reads_are_consistent(stubbed: Stubbed) -> None:
    def request(*numbers: int) -> dict[str, Any]:
        return {TABLE: {"Keys": [{"device-id": {"S": f"dev-{n}"}} for n in numbers], "ConsistentRead": True}}

    left = {TABLE: {"Keys": [{"device-id": {"S": "dev-2"}}]}}
    answer = {"Responses": {TABLE: [plain_item(1)]}, "UnprocessedKeys": left}
    stubbed.stubber.add_response("batch_get_item", answer, {"RequestItems": request(1, 2)})
    stubbed.stubber.add_response(
        "batch_get_item", {"Responses": {TABLE: [plain_item(2)]}}, {"RequestItems": request(2)}
    )
    assert set(stubbed.table.read_items(["dev-1", "dev-2", "dev-1"])) == {"dev-1", "dev-2"}


def test_what_is_written_is_read_back_as_it_is(table: RegistryTable) -> None:
    table.write([new_item(number) for number in range(3)])
    found = table.read_items(["dev-0", "dev-2", "dev-9"])
    assert {device_id: item["key-fingerprint"]["S"] for device_id, item in found.items()} == {
        "dev-0": KEYS[0].fingerprint,
        "dev-2": KEYS[2].fingerprint,
    }
    assert found["dev-0"] == new_item(0)


def test_an_item_with_binary_attributes_is_written_as_well(table: RegistryTable) -> None:
    item = {**plain_item(1), "blob": {"B": b"\x00\xff"}}
    table.write([item])
    assert table.read_items(["dev-1"])["dev-1"] == item


def test_conditional_changes_notice_what_changed_meanwhile(table: RegistryTable) -> None:
    table.put_new(new_item(0))
    before = table.read_items(["dev-0"])["dev-0"]
    with pytest.raises(ChangedMeanwhile):
        table.put_new(new_item(0, KEYS[1]))
    table.update(before, {"status": {"S": "blocked"}, "blocked-reason": {"S": "x"}}, ["source"])
    after = table.read_items(["dev-0"])["dev-0"]
    assert (after["status"], "source" in after) == ({"S": "blocked"}, False)
    for change in (
        lambda: table.update(before, {"status": {"S": "allowed"}}),
        lambda: table.put_over(new_item(0, KEYS[1]), before),
        lambda: table.delete_exactly(before),
    ):
        with pytest.raises(ChangedMeanwhile):
            change()
    table.delete_exactly(after)
    assert table.read_items(["dev-0"]) == {}


def test_exact_changes_leave_alone_what_changed_meanwhile(table: RegistryTable) -> None:
    table.write([new_item(number) for number in range(4)])
    before = table.read_items([f"dev-{number}" for number in range(4)])
    table.update(before["dev-1"], {"status": {"S": "blocked"}})
    table.delete(["dev-2"])
    taking = {"dev-3": new_item(3, KEYS[0]), "dev-1": new_item(1, KEYS[0])}
    pairs = [(before[f"dev-{number}"], taking.get(f"dev-{number}")) for number in range(4)]
    assert table.change_exactly(pairs) == {"dev-1", "dev-2"}
    left = table.read_items(list(before))
    assert {name: (item["key-fingerprint"]["S"], item["status"]["S"]) for name, item in left.items()} == {
        "dev-1": (KEYS[1].fingerprint, "blocked"),
        "dev-3": (KEYS[0].fingerprint, "allowed"),
    }


def cancelled(stubbed: Stubbed, *codes: str) -> None:
    stubbed.stubber.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": code} for code in codes]},
    )


def test_exact_changes_go_out_twenty_five_at_a_time(stubbed: Stubbed) -> None:
    for _ in range(3):
        stubbed.stubber.add_response("transact_write_items", {})
    assert stubbed.table.change_exactly([(plain_item(number), None) for number in range(75)]) == set()


def test_what_cancels_a_transaction_is_left_out_and_what_passes_is_tried_again(stubbed: Stubbed) -> None:
    cancelled(stubbed, "None", "TransactionConflict", "ConditionalCheckFailed")
    cancelled(stubbed, "TransactionConflict", "None")
    stubbed.stubber.add_response("transact_write_items", {})
    assert stubbed.table.change_exactly([(plain_item(number), None) for number in range(3)]) == {"dev-2"}
    assert len(stubbed.pauses) == 2


def test_a_transaction_that_is_refused_for_another_reason_is_an_error(stubbed: Stubbed) -> None:
    cancelled(stubbed, "ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded")
    with pytest.raises(ClientError, match="TransactionCanceled"):
        stubbed.table.change_exactly([(plain_item(number), None) for number in range(2)])


def test_other_errors_of_conditional_calls_are_not_swallowed(stubbed: Stubbed) -> None:
    stubbed.stubber.add_client_error("put_item", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        stubbed.table.put_new(plain_item(1))


def test_pages_are_followed_to_the_end(table: RegistryTable, indexed: bool) -> None:
    table.write([new_item(number) for number in range(4)])
    pages = list(table.scan(attributes=("device-id",), page_size=1))
    assert sorted(item["device-id"]["S"] for page in pages for item in page) == [f"dev-{n}" for n in range(4)]
    assert all(set(item) == {"device-id"} for page in pages for item in page)
    assert table.item_count() == 4
    assert ("batch-index" in table.indexes()) is indexed


def test_a_consistent_scan_asks_for_it_on_each_page_and_another_does_not(stubbed: Stubbed) -> None:
    page = {"Items": [plain_item(1)], "LastEvaluatedKey": {"device-id": {"S": "dev-1"}}}
    first = {"TableName": TABLE, "ConsistentRead": True}
    stubbed.stubber.add_response("scan", page, first)
    stubbed.stubber.add_response("scan", {"Items": []}, {**first, "ExclusiveStartKey": page["LastEvaluatedKey"]})
    stubbed.stubber.add_response("scan", {"Items": []}, {"TableName": TABLE})
    assert len(list(stubbed.table.scan(consistent=True))) == 2
    assert len(list(stubbed.table.scan())) == 1


def test_an_index_that_is_still_being_built_is_none_to_ask(stubbed: Stubbed) -> None:
    for status, expected in (("CREATING", False), ("ACTIVE", True)):
        index = {"IndexName": "key-fingerprint-index", "IndexStatus": status}
        described = {"Table": {"TableName": TABLE, "GlobalSecondaryIndexes": [index]}}
        stubbed.stubber.add_response("describe_table", described, {"TableName": TABLE})
        assert DynamoDbRegistryStore(stubbed.table).has_key_index() is expected


def test_the_index_by_key_may_have_another_name() -> None:
    client = boto3.client("dynamodb", region_name="eu-central-1")
    table = RegistryTable(client, TABLE, key_index="by-key")
    with Stubber(client) as stubber:
        request = {
            "TableName": TABLE,
            "IndexName": "by-key",
            "KeyConditionExpression": "#fingerprint = :fingerprint",
            "ExpressionAttributeNames": {"#fingerprint": "key-fingerprint"},
            "ExpressionAttributeValues": {":fingerprint": {"S": "f" * 64}},
        }
        stubber.add_response("query", {"Items": [{"device-id": {"S": "dev-1"}}]}, request)
        assert table.holders_of(["f" * 64]) == {"f" * 64: {"dev-1"}}


def test_a_chunk_is_enrolled_and_accounted_for_in_its_order(store: DynamoDbRegistryStore) -> None:
    legacy = {"device-id": {"S": "dev-2"}, "pubkey": {"S": KEYS[2].registry_text()}}
    store.table.write([new_item(0, KEYS[3], batch="b0"), new_item(1, batch="b0"), legacy])
    devices = [new_device(number) for number in range(3)] + [new_device(9, KEYS[3])]
    verdicts = enroll_devices(devices, store=store, holders=KnownHolders({KEYS[3].fingerprint: {"dev-0"}}))
    assert [verdict.outcome for verdict in verdicts] == [
        Outcome.REFUSED,
        Outcome.UNCHANGED,
        Outcome.INDEXED,
        Outcome.REFUSED,
    ]
    assert [verdict.reason for verdict in verdicts][::3] == [
        Refusal.ENROLLED_WITH_OTHER_KEY,
        Refusal.KEY_OF_OTHER_DEVICE,
    ]
    assert store.read(["dev-2"])["dev-2"].fingerprint_recorded
    assert "dev-9" not in store.read(["dev-9"])


def test_a_dry_run_says_the_same_and_writes_nothing(store: DynamoDbRegistryStore) -> None:
    verdicts = enroll_devices([new_device(0)], store=store, holders=KnownHolders({}), dry_run=True)
    assert verdicts[0].outcome is Outcome.ENROLLED
    assert store.read(["dev-0"]) == {}


def test_a_replacement_is_written_with_the_former_record(store: DynamoDbRegistryStore) -> None:
    store.write([new_device(0, KEYS[1], batch="b0")])
    enroll_devices([new_device(0)], store=store, holders=KnownHolders({}), replace_reason="swap")
    device = store.read(["dev-0"])["dev-0"]
    assert device.fingerprint == KEYS[0].fingerprint
    assert device.former == (new_device(0, KEYS[1], batch="b0"),)


def test_a_replacement_of_what_another_writer_changes_just_then_is_refused(
    store: DynamoDbRegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([new_device(0, KEYS[1], batch="b0")])
    seen = store.read(["dev-0"])
    monkeypatch.setattr(store, "read", lambda _: seen)
    store.write([new_device(0, KEYS[2], batch="b9")])
    verdict = enroll_devices([new_device(0)], store=store, holders=KnownHolders({}), replace_reason="swap")[0]
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.CHANGED_MEANWHILE)
    monkeypatch.undo()
    assert store.read(["dev-0"])["dev-0"].fingerprint == KEYS[2].fingerprint


def test_unknown_attributes_of_an_item_are_kept(store: DynamoDbRegistryStore) -> None:
    item = {**new_item(0), "colour": {"S": "red"}, "size": {"N": "4"}, "data": {"B": b"x"}}
    store.table.write([item])
    (device,) = store.read(["dev-0"]).values()
    store.put_over(device, device)
    assert store.table.read_items(["dev-0"]) == {"dev-0": item}


def test_holders_are_found_by_the_index(store: DynamoDbRegistryStore, indexed: bool) -> None:
    if not indexed:
        pytest.skip("there is no index to ask")
    store.write([new_device(0), new_device(1, KEYS[0])])
    assert store.holders_of([KEYS[0].fingerprint, KEYS[1].fingerprint]) == {KEYS[0].fingerprint: {"dev-0", "dev-1"}}


def batch(batch_id: str = "b1", **fields: Any) -> Batch:
    files = (ManifestFile("a.csv", "0" * 64, "csv"),)
    return Batch(batch_id, BatchState.IMPORTING, "arn:aws:iam::1:user/a", "2026-01-31T00:00:00Z", files, **fields)


def test_a_batch_is_kept_with_who_what_when_and_how_it_ended(store: DynamoDbRegistryStore) -> None:
    begun = batch(replace_reason="swap")
    save_batch(store, begun)
    assert find_batch(store, "b1") == begun
    ended = begun.finished(BatchState.COMPLETE, NOW, {"enrolled": 3})
    save_batch(store, ended)
    assert find_batch(store, "b1") == ended
    assert find_batch(store, "b2") is None


def test_batches_are_listed_latest_first_and_know_their_members(store: DynamoDbRegistryStore) -> None:
    save_batch(store, batch("b1"))
    save_batch(store, Batch("b2", BatchState.COMPLETE, "x", "2026-02-01T00:00:00Z"))
    store.write([new_device(0), new_device(1, batch="b2")])
    assert [one.id for one in list_batches(store)] == ["b2", "b1"]
    assert [device_id for page in store.members("b1") for device_id in page] == ["dev-0"]


def test_batch_ids_sort_by_time_and_have_a_form() -> None:
    first, second = new_batch_id(NOW), new_batch_id(NOW)
    assert first != second
    assert first.startswith("20260131T000000Z-")
    assert is_batch_id(first)
    assert not any(is_batch_id(text) for text in ("", "a#b", "a b", "x" * 65, "a\n"))


def test_a_batch_record_that_cannot_be_read_does_not_hide_the_others(store: DynamoDbRegistryStore) -> None:
    save_batch(store, batch("b1"))
    broken = {"device-id": {"S": "batch#b2"}, "batch": {"S": "#batches"}, "state": {"S": "?"}}
    store.table.write([broken])
    assert [(one.id, one.state) for one in list_batches(store)] == [
        ("b1", BatchState.IMPORTING),
        ("b2", BatchState.UNREADABLE),
    ]


def test_the_id_of_an_import_derives_from_its_files_and_options_alone() -> None:
    files = [ManifestFile("a.csv", "1" * 64, "csv"), ManifestFile("b.csv", "2" * 64, "csv")]
    renamed = [ManifestFile("z.csv", "2" * 64, "csv"), ManifestFile("y.csv", "1" * 64, "csv")]
    options = {"--slot": "0", "--column": {"device-id": "Serial"}}
    first = derived_import_id(files, options)
    assert derived_import_id(renamed, dict(reversed(options.items()))) == first
    others = [derived_import_id(files[:1], options), derived_import_id(files, {**options, "--slot": "1"})]
    assert len({first, *others}) == 3
    ids = [derived_batch_id(first), derived_batch_id(first, attempt=2)]
    assert all(map(is_batch_id, ids))
    assert len(set(ids)) == 2


def test_work_is_cut_into_runs() -> None:
    assert [list(part) for part in chunks([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(chunks([], 2)) == []
