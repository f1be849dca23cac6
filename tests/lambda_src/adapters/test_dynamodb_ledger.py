"""The ledger on DynamoDB: conditions, fencing, the sparse index, times to live."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from secretfree.adapters.dynamodb.dates import date_of, date_value
from secretfree.adapters.dynamodb.ending_certificates import count_ending
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.ledger_items import EMPTY_KEPT_FOR
from secretfree.errors import SecretFreeError
from secretfree.issuance.chains import Chain
from secretfree.issuance.other_certificates import Suspect
from secretfree.issuance.ports import CertificateRecordState, StaleLedgerError, ThrottledError, UnreachableError
from secretfree.issuance.record import Issuance
from secretfree.issuance.tickets import Ticket
from secretfree.request.device_id import DeviceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEVICE = DeviceId.parse("widget-1")


@pytest.fixture
def client(tables: Any) -> Any:
    return tables


@pytest.fixture
def ledger(client: Any) -> DynamoDbLedger:
    return DynamoDbLedger(client, table="ledger")


def first(device: str = "widget-1", owner: str = "worker-1") -> Issuance:
    return Issuance.first(DeviceId.parse(device), "private-ca", "a" * 64, owner=owner, now=NOW)


def issued(record: Issuance) -> Issuance:
    return record.requested("arn:1").issued(
        certificate_id="c" * 64, certificate_pem="PEM\n", chain=Chain.of("CHAIN\n"), not_after=NOW + timedelta(days=9)
    )


def test_a_record_comes_back_as_it_was_written(ledger: DynamoDbLedger) -> None:
    record = replace(
        issued(first()),
        admission=NOW,
        replaces_key=True,
        thing_ensured=True,
        certificate_arn="arn:cert",
        superseded=("d" * 64, "e" * 64),
        obsolete=("b" * 64,),
        suspects=(Suspect(fingerprint="f" * 64, requested_at=NOW),),
    )
    stored = ledger.write(record)
    assert stored == replace(record, version=1)
    assert ledger.unfinished("private-ca", due=NOW + timedelta(hours=1), limit=10) == [stored]


def test_the_first_writer_wins_and_the_second_learns_what_is_there(ledger: DynamoDbLedger) -> None:
    stored = ledger.write(first(owner="worker-1"))
    with pytest.raises(StaleLedgerError) as raised:
        ledger.write(first(owner="worker-2"))
    assert raised.value.current == stored


def test_a_worker_presumed_dead_cannot_write(ledger: DynamoDbLedger) -> None:
    late = ledger.write(first(owner="worker-1"))
    taken = ledger.write(late.taken("worker-2", NOW + timedelta(minutes=1)))
    with pytest.raises(StaleLedgerError) as raised:
        ledger.write(late.requested("arn:late"))
    assert raised.value.current == taken


def test_repeating_a_write_whose_answer_was_lost_is_success(ledger: DynamoDbLedger) -> None:
    stored = ledger.write(first())
    assert ledger.write(first()) == stored
    with_certificate = issued(stored).active(clear_at=None)
    once = ledger.write(with_certificate, certificate=CertificateRecordState.ACTIVE)
    assert ledger.write(with_certificate, certificate=CertificateRecordState.ACTIVE) == once


def test_a_record_that_vanished_is_reported_as_gone(ledger: DynamoDbLedger, client: Any) -> None:
    stored = ledger.write(first())
    client.delete_item(TableName="ledger", Key={"device-id": {"S": DEVICE}, "record": {"S": "issuance#private-ca"}})
    with pytest.raises(StaleLedgerError) as raised:
        ledger.write(stored.requested("arn"))
    assert raised.value.current is None


def test_the_certificate_s_record_is_written_with_the_issuance_or_not_at_all(
    ledger: DynamoDbLedger, client: Any
) -> None:
    stored = ledger.write(first())
    ledger.write(stored.taken("worker-2", NOW))
    with pytest.raises(StaleLedgerError):
        ledger.write(issued(stored), certificate=CertificateRecordState.ACTIVE)
    key = {"device-id": {"S": DEVICE}, "record": {"S": f"certificate#{'c' * 64}"}}
    assert "Item" not in client.get_item(TableName="ledger", Key=key)
    ledger.write(
        issued(ledger.unfinished("private-ca", due=NOW + timedelta(hours=1), limit=1)[0]),
        certificate=CertificateRecordState.ACTIVE,
    )
    item = client.get_item(TableName="ledger", Key=key)["Item"]
    assert item["state"] == {"S": "active"}
    assert item["key-fingerprint"] == {"S": "a" * 64}
    assert item["reference"] == {"S": "arn:1"}


def test_only_what_is_unfinished_and_due_is_found_oldest_first(ledger: DynamoDbLedger) -> None:
    ledger.write(issued(first("done")).active(clear_at=None))
    ledger.write(replace(first("later"), due=NOW + timedelta(minutes=3)))
    ledger.write(replace(first("sooner"), due=NOW + timedelta(minutes=1)))
    ledger.write(replace(first("not-yet"), due=NOW + timedelta(minutes=30)))
    found = ledger.unfinished("private-ca", due=NOW + timedelta(minutes=5), limit=10)
    assert [record.device_id for record in found] == ["sooner", "later"]
    assert len(ledger.unfinished("private-ca", due=NOW + timedelta(minutes=5), limit=1)) == 1
    assert ledger.unfinished("iot-core", due=NOW + timedelta(minutes=5), limit=10) == []


def test_the_index_lags_so_the_record_itself_decides(client: Any) -> None:
    ledger = DynamoDbLedger(_Lagging(client), table="ledger")  # type: ignore[arg-type]
    stored = ledger.write(first())
    ledger.write(stored.released(NOW + timedelta(hours=1)))
    assert ledger.unfinished("private-ca", due=NOW + timedelta(minutes=5), limit=10) == []


class _Lagging:
    """An index that still shows what is no longer so."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, **_: Any) -> Any:
        key = {"record": {"S": "issuance#private-ca"}, "lease-expires": {"N": "1"}}
        return {"Items": [{"device-id": {"S": "gone"}, **key}, {"device-id": {"S": DEVICE}, **key}]}


def test_the_first_key_is_bound_for_good(ledger: DynamoDbLedger, client: Any) -> None:
    assert ledger.bind(DEVICE, "a" * 64)
    assert ledger.bind(DEVICE, "a" * 64)
    assert not ledger.bind(DEVICE, "b" * 64)
    item = client.get_item(TableName="ledger", Key={"device-id": {"S": DEVICE}, "record": {"S": "binding"}})["Item"]
    assert item["key-fingerprint"] == {"S": "a" * 64}


def test_only_what_may_vanish_has_a_time_to_live(ledger: DynamoDbLedger, client: Any) -> None:
    ledger.write(issued(first("kept")).active(clear_at=None))
    ledger.write(first("given-up").abandoned(NOW))
    ledger.write(replace(first("owes"), superseded=("d" * 64,)).abandoned(NOW))
    ledger.close_certificate(DEVICE, "d" * 64, forget_after=NOW)
    ttl = {
        item["device-id"]["S"]: item["expires-at"]["N"]
        for item in client.scan(TableName="ledger")["Items"]
        if "expires-at" in item
    }
    assert ttl == {
        "given-up": str(int((NOW + EMPTY_KEPT_FOR).timestamp())),
        "widget-1": str(int(NOW.timestamp())),
    }


def time_to_live(client: Any, device: str) -> datetime | None:
    key = {"device-id": {"S": device}, "record": {"S": "issuance#private-ca"}}
    item = client.get_item(TableName="ledger", Key=key)["Item"]
    return datetime.fromtimestamp(int(item["expires-at"]["N"]), UTC) if "expires-at" in item else None


@pytest.mark.parametrize("missed", [False, True])
def test_a_ticket_comes_back_as_it_was_stored(ledger: DynamoDbLedger, missed: bool) -> None:
    ticket = Ticket(number=7, at=NOW, missed=missed)
    ledger.write(first().never_requested().parked().waiting(ticket))
    found = ledger.read(first().device_id, "private-ca")
    assert found is not None
    assert found.ticket == ticket


def test_the_record_of_a_device_that_waits_and_stays_away_is_forgotten(ledger: DynamoDbLedger, client: Any) -> None:
    turn = NOW + timedelta(hours=28)
    stored = ledger.write(first().never_requested().parked().waiting(Ticket(number=1_000_000, at=turn)))
    assert time_to_live(client, "widget-1") == turn + EMPTY_KEPT_FOR
    come = ledger.write(stored.taken("worker-2", turn).requesting(turn))
    assert time_to_live(client, "widget-1") is None
    ledger.write(come.never_requested().parked())
    assert time_to_live(client, "widget-1") == turn + EMPTY_KEPT_FOR


@pytest.mark.parametrize(
    "holding",
    [
        lambda waits: waits.requesting(NOW),
        lambda waits: waits.released(NOW),
        lambda waits: waits.held("worker-2", NOW),
        lambda waits: replace(waits, superseded=("d" * 64,)),
        lambda waits: replace(waits, obsolete=("d" * 64,)),
        lambda waits: replace(waits, suspects=(Suspect(fingerprint="f" * 64, requested_at=NOW),)),
        lambda waits: replace(waits, in_use=issued(first()).own_certificate()),
    ],
    ids=["asked", "unfinished", "held", "replaces", "obsolete", "suspect", "in-use"],
)
def test_a_record_that_accounts_for_a_certificate_is_kept_while_its_device_waits(
    ledger: DynamoDbLedger, client: Any, holding: Any
) -> None:
    waits = first().never_requested().parked().waiting(Ticket(number=1, at=NOW))
    ledger.write(holding(waits))
    assert time_to_live(client, "widget-1") is None


def test_a_transaction_that_meets_another_is_a_throttle() -> None:
    client = boto3.client("dynamodb")
    with Stubber(client) as stubber:
        stubber.add_client_error(
            "transact_write_items",
            "TransactionCanceledException",
            modeled_fields={"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]},
        )
        with pytest.raises(ThrottledError, match="TransactionConflict"):
            DynamoDbLedger(client, table="ledger").write(issued(first()), certificate=CertificateRecordState.ACTIVE)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ProvisionedThroughputExceededException", 400, ThrottledError),
        ("InternalServerError", 500, UnreachableError),
        ("AccessDeniedException", 400, SecretFreeError),
    ],
)
def test_failures_are_distinguished(code: str, status: int, expected: type[Exception]) -> None:
    client = boto3.client("dynamodb")
    with Stubber(client) as stubber:
        for method in ("put_item", "put_item"):
            stubber.add_client_error(method, code, http_status_code=status)
        ledger = DynamoDbLedger(client, table="ledger")
        with pytest.raises(expected):
            ledger.write(first())
        with pytest.raises(expected):
            ledger.bind(DEVICE, "a" * 64)


def test_no_answer_is_not_a_refusal() -> None:
    class Silent:
        def put_item(self, **_: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="table")

    with pytest.raises(UnreachableError):
        DynamoDbLedger(Silent(), table="ledger").write(first())  # type: ignore[arg-type]


def test_a_date_is_read_as_it_was_stored() -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 123000, tzinfo=UTC)

    assert date_of({"not-after": date_value(moment)}, "not-after") == moment


def test_devices_whose_certificate_ends_in_a_time_are_counted_until_they_have_renewed(
    client: Any, ledger: DynamoDbLedger
) -> None:
    def counted(after: timedelta, until: timedelta, issuer: str = "private-ca") -> int:
        return count_ending(client, table="ledger", issuer=issuer, after=NOW + after, until=NOW + until)

    week, fortnight = timedelta(days=7), timedelta(days=14)
    active = {
        device: ledger.write(issued(ledger.write(first(device))).active(clear_at=None)) for device in ("w-1", "w-2")
    }
    ledger.write(issued(ledger.write(first("w-3"))))  # no certificate yet that the device could connect with
    assert (counted(timedelta(), week), counted(week, fortnight), counted(fortnight, 2 * fortnight)) == (0, 2, 0)
    assert counted(week, fortnight, issuer="iot-core") == 0

    renewing = ledger.write(active["w-1"].next_generation("a" * 64, "worker", NOW))
    assert counted(week, fortnight) == 2
    renewed = renewing.requested("arn:2").issued(
        certificate_id="f" * 64, certificate_pem="PEM\n", chain=None, not_after=NOW + timedelta(days=90)
    )
    ledger.write(renewed.active(clear_at=NOW))
    ledger.write(active["w-2"].revoked(NOW))
    assert counted(week, fortnight) == 0
