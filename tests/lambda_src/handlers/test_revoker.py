"""The revoker's handler: every change of a batch is dealt with, and those that failed are named."""

import json
from typing import Any

import pytest
from secretfree.adapters import clients
from secretfree.config.environment import ConfigurationError
from secretfree.config.revocation import RevocationConfig
from secretfree.contract import Metric, Variable
from secretfree.handlers.revoker import build
from support.environments import revoker_environment
from support.revoking import Revoker
from support.world import World, verified_csr

ENVIRONMENT = revoker_environment()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    from secretfree.contract import IssuerKind

    world = World(IssuerKind.PRIVATE_CA)
    monkeypatch.setattr(clients, "client", world.cloud.client)
    return world


def batch(revoker: Revoker) -> dict[str, Any]:
    """What the stream holds, with sequence numbers from 1."""
    records = []
    for number, record in enumerate(revoker.stream, start=1):
        record["dynamodb"]["SequenceNumber"] = str(number)
        records.append(record)
    return {"Records": records}


def test_one_change_that_fails_stops_no_other_and_alone_comes_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    revoker = Revoker(world)
    for device in ("widget-1", "widget-2", "widget-3"):
        world.ask(device)
        revoker.block(device)
    world.items["widget-2", "issuance#damaged"] = {
        "device-id": {"S": "widget-2"},
        "record": {"S": "issuance#damaged"},
    }
    answer = build(ENVIRONMENT)(batch(revoker), None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert {certificate.status for certificate in world.cloud.certificates.values()} == {"REVOKED"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["deviceId"] for line in lines if line.get("event") == "revoked"] == ["widget-1", "widget-3"]
    assert [line["reason"] for line in lines if line.get("event") == "failed"] == ["ledger-record"]
    (counted,) = [line for line in lines if Metric.REVOKED in line and Metric.REVOCATION_FAILED in line]
    assert (counted[Metric.REVOKED], counted[Metric.REVOCATION_FAILED]) == (2, 1)


def test_what_is_no_device_s_item_is_passed_over(world: World) -> None:
    item = {"Keys": {"device-id": {"S": "key#" + "a" * 64}}, "ApproximateCreationDateTime": 1e9, "SequenceNumber": "1"}
    assert build(ENVIRONMENT)({"Records": [{"dynamodb": item}]}, None) == {"batchItemFailures": []}
    assert world.cloud.calls == []


@pytest.mark.parametrize(
    "damage",
    [
        {"Keys": {}},
        {"ApproximateCreationDateTime": "soon"},
        {"Keys": {"device-id": {"N": "1"}}},
        {"NewImage": "x"},
    ],
)
def test_what_is_no_stream_record_is_reported(world: World, damage: dict[str, Any]) -> None:
    stream = {"Keys": {"device-id": {"S": "widget-1"}}, "ApproximateCreationDateTime": 1e9, "SequenceNumber": "7"}
    answer = build(ENVIRONMENT)({"Records": [{"dynamodb": stream | damage}]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "7"}]}
    assert world.cloud.calls == []


def test_no_log_line_holds_a_key(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    revoker = Revoker(world)
    world.ask()
    revoker.block()
    build(ENVIRONMENT)(batch(revoker), None)
    assert verified_csr("widget-1").public_key.fingerprint not in capsys.readouterr().out


@pytest.mark.parametrize("given", ["", "{}", '["", 1]', "not JSON"])
def test_authorities_of_another_form_are_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="SECRETFREE_REVOKING_AUTHORITIES"):
        RevocationConfig.from_environment(ENVIRONMENT | {Variable.REVOKING_AUTHORITIES: given})
