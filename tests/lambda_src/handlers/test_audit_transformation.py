"""The function between the tables' changes and the bucket: what Firehose gives it, and what it gets back."""

import base64
import json
from typing import Any

import pytest
from secretfree.audit.event import shard_of
from secretfree.config.environment import ConfigurationError
from secretfree.handlers.audit_transformation import build
from support.environments import audit_environment

DEVICE = {"device-id": {"S": "widget-1"}, "key-fingerprint": {"S": "ab" * 32}, "tags": {"L": [{"S": "x"}]}}


def record(after: Any = DEVICE, *, before: Any = None, at: float = 1_777_636_800_250, **more: Any) -> dict[str, Any]:
    images = {name: image for name, image in (("OldImage", before), ("NewImage", after)) if image is not None}
    keys = {name: (after or before)[name] for name in ("device-id", "record") if name in (after or before)}
    change = {"ApproximateCreationDateTime": at, "Keys": keys, **images}
    return {"eventID": "e-1", "eventName": "INSERT", "tableName": "registry", "dynamodb": change, **more}


def transformed(*records: Any) -> list[dict[str, Any]]:
    event = {
        "records": [
            {"recordId": str(number), "data": base64.b64encode(_bytes(data)).decode()}
            for number, data in enumerate(records)
        ]
    }
    answers: list[dict[str, Any]] = build(audit_environment())(event, None)["records"]
    return answers


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else json.dumps(data).encode()


def event_in(answer: dict[str, Any]) -> dict[str, str]:
    document: dict[str, str] = json.loads(base64.b64decode(answer["data"]))
    return document


def test_each_record_is_answered_under_its_id_with_its_folder() -> None:
    answers = transformed(record(), record({"device-id": {"S": "batch#1"}}))
    assert [(answer["recordId"], answer["result"]) for answer in answers] == [("0", "Ok"), ("1", "Dropped")]
    assert answers[0]["metadata"] == {"partitionKeys": {"shard": shard_of("widget-1")}}
    assert event_in(answers[0])["event"] == "enrolled"


@pytest.mark.parametrize("at", [1_777_636_800.25, 1_777_636_800_250, 1_777_636_800_250_000])
def test_the_time_is_read_in_each_precision_that_a_stream_can_have(at: float) -> None:
    (answer,) = transformed(record(at=at))
    assert event_in(answer)["at"] == "2026-05-01T12:00:00.250Z"


def test_a_record_that_the_time_to_live_removed_is_dropped() -> None:
    item = {"device-id": {"S": "widget-1"}, "record": {"S": "certificate#c"}, "state": {"S": "superseded"}}
    by_time = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    (answer,) = transformed(record(None, before=item, userIdentity=by_time))
    assert answer["result"] == "Dropped"
    (answer,) = transformed(record(None, before=item))
    assert event_in(answer)["event"] == "ledger-record-removed"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b'{"dynamodb": {}}',
        b"[" * 100_000,
        json.dumps(record(at=float("1e300"))).encode(),
        json.dumps(record({"device-id": {"N": "1"}})).encode(),
        json.dumps(record({"device-id": {"S": 1}})).encode(),
        json.dumps(record({**DEVICE, "status": {}})).encode(),
        json.dumps(record({**DEVICE, "status": "blocked"})).encode(),
    ],
)
def test_what_is_no_change_fails_alone_and_is_kept_as_it_came(damaged: bytes, capsys: Any) -> None:
    failed, good = transformed(damaged, record())
    assert (failed["result"], good["result"]) == ("ProcessingFailed", "Ok")
    assert base64.b64decode(failed["data"]) == damaged
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines if "_aws" not in line] == ["failed"]


def test_no_value_of_an_item_is_logged(capsys: Any) -> None:
    transformed(json.dumps({"dynamodb": {"Keys": {"device-id": {"S": "secret-name"}}}}).encode())
    assert "secret-name" not in capsys.readouterr().out


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="SECRETFREE_PRODUCT"):
        build({})
