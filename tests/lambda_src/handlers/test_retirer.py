"""The retirer's handler: each message of a batch is dealt with, and those that failed are named."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from secretfree.adapters import clients
from secretfree.contract import IssuerKind, Metric
from secretfree.handlers.retirer import build
from secretfree.issuance.model import IssuedCertificate
from support.environments import retirer_environment
from support.fake_cloud import Fault
from support.retiring import event_body
from support.world import World

ENVIRONMENT = retirer_environment()
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(IssuerKind.PRIVATE_CA)
    monkeypatch.setattr(clients, "client", world.cloud.client)
    return world


def batch(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(number), "body": body} for number, body in enumerate(bodies, start=1)]}


def renewed(world: World, *devices: str) -> list[str]:
    """The ids of the devices' new certificates."""
    new = []
    for device in devices:
        first = world.ask(device)
        assert isinstance(first, IssuedCertificate)
        world.clock.sleep_until(max(first.renew_after, world.clock.now()))
        second = world.ask(device)
        assert isinstance(second, IssuedCertificate)
        new.append(second.certificate_id)
    return new


def test_a_message_that_fails_stops_no_other_and_alone_comes_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = ("widget-1", "widget-2", "widget-3")
    new = renewed(world, *devices)
    world.cloud.faults[len(world.cloud.calls) + 11] = Fault.THROTTLED  # the second one's first call
    bodies = [event_body(certificate_id, device) for certificate_id, device in zip(new, devices, strict=True)]
    answer = build(ENVIRONMENT)(batch(*bodies), CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["deviceId"] for line in lines if line.get("event") == "retired"] == ["widget-1", "widget-3"]
    (counted,) = [line for line in lines if Metric.RETIRED in line]
    assert counted[Metric.CONNECTED] == 2
    assert (counted[Metric.RETIRED], counted[Metric.RETIREMENT_FAILED]) == (2, 1)
    assert build(ENVIRONMENT)(batch(bodies[1]), CONTEXT) == {"batchItemFailures": []}
    assert set(world.cloud.certificates) == set(new)


def test_what_the_rule_does_not_send_comes_again_and_ends_in_the_dead_letters(world: World) -> None:
    assert build(ENVIRONMENT)(batch("{}"), CONTEXT) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert world.cloud.calls == []


def test_clients_that_are_no_devices_cost_no_call(world: World) -> None:
    bodies = [event_body("AROAEXAMPLE:role"), event_body("a" * 64, "no device/id")]
    assert build(ENVIRONMENT)(batch(*bodies), CONTEXT) == {"batchItemFailures": []}
    assert world.cloud.calls == []


def test_what_does_not_fit_into_the_invocation_comes_again_untouched(world: World) -> None:
    (new,) = renewed(world, "widget-1")
    world.cloud.calls.clear()
    late = SimpleNamespace(get_remaining_time_in_millis=lambda: 9_000)
    assert build(ENVIRONMENT)(batch(event_body(new)), late) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert world.cloud.calls == []


def test_another_product_line_s_certificate_is_reported_and_not_tried_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (new,) = renewed(world, "widget-1")
    for certificate in world.cloud.certificates.values():
        certificate.policies.add("another-line")
    assert build(ENVIRONMENT)(batch(event_body(new)), CONTEXT) == {"batchItemFailures": []}
    assert "foreign-certificate" in capsys.readouterr().out
    assert len(world.cloud.certificates) == 2


def test_a_connect_counts_where_the_certificate_is_the_product_line_s(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    first = world.ask("widget-1")
    assert isinstance(first, IssuedCertificate)
    bodies = [event_body(first.certificate_id), event_body("a" * 64)]
    assert build(ENVIRONMENT)(batch(*bodies), CONTEXT) == {"batchItemFailures": []}
    (counted,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if f'"{Metric.CONNECTED}"' in line]
    assert counted[Metric.CONNECTED] == 1
