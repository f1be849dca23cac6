"""The follower's handler, on the stream and on the queue: what cannot be done yet is done later and stops no other."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from secretfree.adapters import clients, single_try_clients
from secretfree.config.environment import ConfigurationError
from secretfree.config.follower import FollowerConfig
from secretfree.contract import Metric, Variable
from secretfree.handlers.follower import build
from support.environments import follower_environment
from support.fake_cloud import Fault
from support.two_regions import TwoRegions

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


class Queue:
    """SQS, as far as the follower sends to it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.fails = False

    def send_message(self, **message: Any) -> None:
        if self.fails:
            raise ConnectionError
        self.sent.append(message)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, queue: Queue) -> TwoRegions:
    """Two devices have asked in the first Region; the announcements are in the second, where the handler runs."""
    both = TwoRegions(one_ca=True)
    cloud = both.there.world.cloud

    def client(service: str, _region: str | None = None) -> Any:
        return queue if service == "sqs" else cloud.client(service)

    monkeypatch.setattr(clients, "client", client)
    monkeypatch.setattr(single_try_clients, "iot", lambda: cloud.client("iot"))
    monkeypatch.setattr(single_try_clients, "acm_pca", lambda _arn: cloud.client("acm-pca"))
    for device in ("widget-1", "widget-2"):
        both.enrol(device)
        both.here.world.ask_as_enrolled(device)
    both.replicate()
    return both


def stream(*devices: str) -> dict[str, Any]:
    def record(number: int, device: str) -> dict[str, Any]:
        keys = {"device-id": {"S": device}, "record": {"S": "eu-central-1#private-ca"}}
        return {"eventSource": "aws:dynamodb", "dynamodb": {"Keys": keys, "SequenceNumber": str(number)}}

    return {"Records": [record(number, device) for number, device in enumerate(devices, start=1)]}


def messages(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": f"m{number}", "body": body}
            for number, body in enumerate(bodies, start=1)
        ]
    }


def test_it_registers_what_the_stream_announces_and_measures_the_lag(
    both: TwoRegions, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(follower_environment())(stream("widget-1", "widget-2"), CONTEXT) == {"batchItemFailures": []}
    assert len(both.there.active()) == 2
    assert queue.sent == []
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["deviceId"] for line in lines if line.get("event") == "followed"] == ["widget-1", "widget-2"]
    (metrics,) = [line for line in lines if Metric.FOLLOWED in line]
    assert metrics[Metric.FOLLOWED] == 2
    assert len(metrics[Metric.REPLICATION_LAG]) == 2
    units = {m["Name"]: m["Unit"] for m in metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units[Metric.REPLICATION_LAG] == "Milliseconds"


def test_what_cannot_be_done_yet_goes_to_the_queue_and_holds_up_no_other(both: TwoRegions, queue: Queue) -> None:
    registered = both.there.world.cloud.registry.pop("widget-1")
    both.there.world.cloud.other_ledgers["announcements"] = {
        key: item | {"announced-at": {"N": "99999999999999"}}
        for key, item in both.there.world.cloud.other_ledgers["announcements"].items()
    }
    handler = build(follower_environment())
    assert handler(stream("widget-1", "widget-2"), CONTEXT) == {"batchItemFailures": []}
    assert len(both.there.active()) == 1
    (sent,) = queue.sent
    assert sent["QueueUrl"] == "https://sqs.example/later"
    again = messages(sent["MessageBody"])
    assert handler(again, CONTEXT) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    both.there.world.cloud.registry["widget-1"] = registered
    assert handler(again, CONTEXT) == {"batchItemFailures": []}
    assert len(both.there.active()) == 2


def test_a_chain_in_the_stream_is_passed_over(both: TwoRegions, queue: Queue) -> None:
    (chain,) = both.there.world.cloud.other_ledgers["announcements"].keys() - both.there.announced()
    event = stream(chain[0])
    event["Records"][0]["dynamodb"]["Keys"]["record"]["S"] = chain[1]
    assert build(follower_environment())(event, CONTEXT) == {"batchItemFailures": []}
    assert queue.sent == []


def test_where_the_queue_does_not_take_it_the_stream_delivers_it_again(both: TwoRegions, queue: Queue) -> None:
    both.there.world.cloud.always["RegisterCertificate"] = Fault.REFUSED
    queue.fails = True
    answer = build(follower_environment())(stream("widget-1"), CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}


@pytest.mark.parametrize("body", ["no JSON", "{}", '{"device": "no id!", "issuer": "private-ca"}'])
def test_a_message_of_another_form_comes_again_until_it_is_a_dead_letter(both: TwoRegions, body: str) -> None:
    assert build(follower_environment())(messages(body), CONTEXT) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert both.there.active() == set()


def test_an_issuer_that_the_product_line_no_longer_has_is_passed_over(both: TwoRegions) -> None:
    body = json.dumps({"device": "widget-1", "issuer": "former-ca"})
    assert build(follower_environment())(messages(body), CONTEXT) == {"batchItemFailures": []}
    assert both.there.active() == set()


@pytest.mark.parametrize("missing", [Variable.ANNOUNCEMENTS_TABLE, Variable.REGION, Variable.LATER_QUEUE_URL])
def test_a_missing_setting_is_named(missing: Variable) -> None:
    with pytest.raises(ConfigurationError, match=missing.value):
        FollowerConfig.from_environment(follower_environment({missing: ""}))
