"""The counter of tickets on DynamoDB: atomic numbers, one step among several workers, and what cannot be read."""

from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.errors import Reason, SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.tickets import TicketPolicy, TicketQueue

POLICY = TicketPolicy(rate=10.0)
NOW = 1_790_000_000.123
KEY = {"device-id": {"S": "tickets#"}, "record": {"S": "tickets#private-ca"}}
OPENED = TicketQueue.opened(None, POLICY, NOW)
Counter = DynamoDbTicketCounter


def counter_of(client: Any, issuer: str = "private-ca") -> Counter:
    return Counter(client, table="ledger", issuer=issuer)


@pytest.fixture
def workers(tables: Any) -> tuple[Counter, Counter]:
    """Two workers of one issuer, whose queue is open."""
    one, other = counter_of(tables), counter_of(boto3.client("dynamodb"))
    assert one.change(None, OPENED)
    return one, other


def test_a_queue_comes_back_as_it_was_stored(workers: tuple[Counter, Counter]) -> None:
    one, other = workers
    step = replace(OPENED, first=3.5, since=NOW + 10, rate=9.876, missed=0, throttled_at=NOW + 5)
    assert one.change(OPENED, step)
    assert other.read() == step


def test_no_two_workers_give_one_number(workers: tuple[Counter, Counter]) -> None:
    one, other = workers
    assert [worker.take().given for worker in (one, other, other, one, other)] == [1, 2, 3, 4, 5]


def test_a_number_is_one_addition_of_the_table_without_a_read_before_it() -> None:
    client = boto3.client("dynamodb")
    item = {"given": "7", "since": "1", "first": "0", "throttled-at": "1", "rate": "10"}
    with Stubber(client) as stubber:
        stubber.add_response(
            "update_item",
            {"Attributes": {name: {"N": value} for name, value in item.items()}},
            {
                "TableName": "ledger",
                "Key": KEY,
                "UpdateExpression": "ADD #count :one",
                "ConditionExpression": "attribute_exists(#since)",
                "ExpressionAttributeNames": {"#count": "given", "#since": "since"},
                "ExpressionAttributeValues": {":one": {"N": "1"}},
                "ReturnValues": "ALL_NEW",
            },
        )
        assert counter_of(client).take().given == 7
        stubber.assert_no_pending_responses()


def test_a_number_whose_answer_was_lost_is_given_to_no_other_device(tables: Any, workers: Any) -> None:
    class Lost:
        def update_item(self, **arguments: Any) -> Any:
            tables.update_item(**arguments)
            raise ReadTimeoutError(endpoint_url="table")

    with pytest.raises(UnreachableError):
        counter_of(Lost()).take()
    assert workers[0].take().given == 2


def test_issuers_have_queues_of_their_own(tables: Any, workers: Any) -> None:
    other = counter_of(tables, "iot-core")
    assert other.read() is None
    assert other.change(None, OPENED)
    workers[0].take()
    assert other.take().given == 1


def test_a_missed_turn_gives_no_number(workers: tuple[Counter, Counter]) -> None:
    one, other = workers
    one.take()
    one.miss()
    counted = other.miss()
    assert (counted.given, counted.missed) == (1, 2)


def test_of_two_workers_that_make_a_step_the_first_wins(workers: tuple[Counter, Counter]) -> None:
    one, other = workers
    slower, faster = replace(OPENED, since=NOW + 10, rate=9.0), replace(OPENED, since=NOW + 10.5, rate=10.0)
    assert one.change(OPENED, slower)
    assert not other.change(OPENED, faster)
    assert other.read() == slower


def test_of_two_workers_that_open_the_queue_the_first_wins(tables: Any) -> None:
    assert counter_of(tables).change(None, OPENED)
    assert not counter_of(tables).change(None, replace(OPENED, since=NOW + 1))
    assert counter_of(tables).read() == OPENED


def test_a_step_leaves_the_numbers_that_were_given_meanwhile(workers: tuple[Counter, Counter]) -> None:
    one, other = workers
    for _ in range(3):
        other.take()
    assert one.change(OPENED, replace(OPENED, since=NOW + 10))
    assert other.take().given == 4


def test_without_an_item_there_is_no_queue_no_number_and_no_step(tables: Any) -> None:
    counter = counter_of(tables)
    assert counter.read() is None
    for call in (counter.take, counter.miss):
        with pytest.raises(SecretFreeError):
            call()
    assert not counter.change(OPENED, replace(OPENED, since=NOW + 10))
    assert "Item" not in tables.get_item(TableName="ledger", Key=KEY)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ProvisionedThroughputExceededException", 400, ThrottledError),
        ("ThrottlingException", 400, ThrottledError),
        ("InternalServerError", 500, UnreachableError),
        ("AccessDeniedException", 400, SecretFreeError),
    ],
)
def test_failures_are_distinguished(code: str, status: int, expected: type[Exception]) -> None:
    client = boto3.client("dynamodb")
    with Stubber(client) as stubber:
        counter = counter_of(client)
        stubber.add_client_error("get_item", code, http_status_code=status)
        for _ in range(3):
            stubber.add_client_error("update_item", code, http_status_code=status)
        for call in (counter.read, counter.take, counter.miss, lambda: counter.change(OPENED, OPENED)):
            with pytest.raises(expected):
                call()


@pytest.mark.parametrize(
    "damage",
    [
        {"rate": None},
        {"rate": {"S": "fast"}},
        {"first": {"S": "10"}},
        {"rate": {"N": "0"}},
        {"rate": {"N": "-1"}},
        {"given": {"N": "-5"}},
        {"given": {"N": "1.5"}},
        {"since": {"S": "now"}},
        {"missed": {"BOOL": True}},
    ],
    ids=str,
)
def test_a_damaged_item_is_named_as_such(tables: Any, workers: Any, damage: dict[str, Any]) -> None:
    item = tables.get_item(TableName="ledger", Key=KEY)["Item"] | damage
    tables.put_item(TableName="ledger", Item={name: value for name, value in item.items() if value is not None})
    with pytest.raises(SecretFreeError, match="cannot be read") as raised:
        workers[0].read()
    assert raised.value.reason is Reason.LEDGER_RECORD
