"""A CA's chain is stored once for all its devices, and each device gets it whatever happens to that item."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import IssuerKind, LedgerRecord
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.chains import Chain
from secretfree.issuance.model import IssuedCertificate
from secretfree.request.device_id import DeviceId
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed, chain_of
from support.world import World, refused

CHAIN = chain_of(CA_ARN) + "\n"
KEY = (f"chain#{Chain.of(CHAIN).digest}", "chain#")


def new_worker(world: World) -> None:
    """Another worker, which knows no chain yet."""
    ledger = DynamoDbLedger(world.cloud.client("dynamodb"), table=world.ledger, announcing=world.announcing)
    world.ports = replace(world.ports, ledger=ledger)


def asked(world: World, device: str = "widget-1") -> tuple[IssuedCertificate, list[str]]:
    """The answer to a device, and the calls that it took."""
    before = len(world.cloud.calls)
    answer = world.ask(device)
    assert isinstance(answer, IssuedCertificate)
    return answer, world.cloud.calls[before:]


def chains(world: World) -> set[tuple[str, str]]:
    return {key for key in world.items if key[0].startswith(LedgerRecord.CHAIN)}


def in_the_record(world: World, device: str = "widget-1") -> dict[str, Any]:
    """Make the device's record one that was written before chains had items."""
    item = world.items[device, "issuance#private-ca"]
    del item["chain-digest"]
    item["certificate-chain"] = {"S": CHAIN}
    return item


def test_devices_of_one_ca_share_one_item_which_costs_a_worker_two_calls_once() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    first, calls_of_first = asked(world)
    second, calls_of_second = asked(world, "widget-2")
    assert first.chain_pem == second.chain_pem == CHAIN
    assert chains(world) == {KEY}
    assert sorted(calls_of_first) == sorted([*calls_of_second, "GetItem", "PutItem"])
    for device in ("widget-1", "widget-2"):
        assert "certificate-chain" not in world.record(device)
        assert world.record(device)["chain-digest"] == Chain.of(CHAIN).digest


def test_the_item_has_no_end_and_no_device_can_have_its_key() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    assert world.items[KEY].keys() == {"device-id", "record", "certificate-chain"}
    assert not DeviceId.is_valid(KEY[0])


def test_asking_again_costs_a_new_worker_one_read_once() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    for device in ("widget-1", "widget-2"):
        asked(world, device)
    _, known = asked(world)
    new_worker(world)
    answer, calls = asked(world)
    assert answer.chain_pem == CHAIN
    assert calls == [*known, "GetItem"]
    assert asked(world, "widget-2")[1] == known


def test_a_new_worker_reads_the_chain_before_it_would_store_it() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    _, with_both = asked(world)
    new_worker(world)
    _, calls = asked(world, "widget-2")
    assert (calls.count("GetItem"), calls.count("PutItem")) == (
        with_both.count("GetItem"),
        with_both.count("PutItem") - 1,
    )


def test_two_cas_side_by_side_have_an_item_each_and_each_device_gets_its_own() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    world.rotate(NEXT_CA_ARN, CA_ARN)
    new, _ = asked(world, "widget-2")
    new_worker(world)
    assert new.chain_pem == asked(world, "widget-2")[0].chain_pem == chain_of(NEXT_CA_ARN) + "\n"
    assert asked(world)[0].chain_pem == CHAIN
    assert len(chains(world)) == 2


@pytest.mark.parametrize("damage", ["removed", "other text", "no text"])
def test_an_item_that_is_gone_or_damaged_is_made_again_from_the_ca(damage: str) -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    whole = dict(world.items[KEY])
    if damage == "removed":
        del world.items[KEY]
    elif damage == "other text":
        world.items[KEY]["certificate-chain"] = {"S": CHAIN + CHAIN}
    else:
        del world.items[KEY]["certificate-chain"]
    new_worker(world)
    assert asked(world)[0].chain_pem == CHAIN
    assert world.items[KEY] == whole


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE])
@pytest.mark.parametrize("operation", ["GetItem", "GetCertificate"])
def test_a_certificate_is_never_given_out_without_its_chain(operation: str, fault: Fault) -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    del world.items[KEY]
    new_worker(world)
    world.cloud.always[operation] = fault
    error = refused(world.ask_as_enrolled)
    assert error.code is ErrorCode.UNAVAILABLE
    assert error.retry_after
    world.cloud.always.clear()
    assert asked(world)[0].chain_pem == CHAIN


def test_a_ca_that_cannot_give_the_certificate_again_is_a_defect_of_the_ledger_that_may_be_repaired() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    kept = world.items.pop(KEY)
    new_worker(world)
    world.cloud.failed_orders.update(world.cloud.orders)
    error = refused(world.ask_as_enrolled)
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, Reason.LEDGER_RECORD)
    world.items[KEY] = kept
    assert asked(world)[0].chain_pem == CHAIN


def test_a_record_that_has_the_text_itself_is_answered_without_an_item() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    _, known = asked(world)
    in_the_record(world)
    del world.items[KEY]
    new_worker(world)
    answer, calls = asked(world)
    assert answer.chain_pem == CHAIN
    assert calls == known


def test_a_record_that_has_the_text_keeps_it_through_a_renewal_and_the_next_one_names_the_item() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    in_the_record(world)
    del world.items[KEY]
    new_worker(world)
    world.clock.sleep(timedelta(days=350).total_seconds())
    world.cloud.always["IssueCertificate"] = Fault.THROTTLED
    kept, _ = asked(world)
    assert (kept.reused, kept.chain_pem) == (True, CHAIN)
    assert world.items["widget-1", "issuance#private-ca"]["in-use"]["M"]["certificate-chain"] == {"S": CHAIN}
    world.cloud.always.clear()
    world.clock.sleep(timedelta(days=1).total_seconds())
    renewed, _ = asked(world)
    assert (renewed.reused, renewed.chain_pem) == (False, CHAIN)
    assert world.record()["chain-digest"] == Chain.of(CHAIN).digest
    assert "in-use" not in world.record()


def test_the_certificate_in_use_during_a_renewal_names_the_item_too() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    world.clock.sleep(timedelta(days=350).total_seconds())
    world.cloud.always["IssueCertificate"] = Fault.THROTTLED
    new_worker(world)
    kept, _ = asked(world)
    assert (kept.reused, kept.chain_pem) == (True, CHAIN)
    assert "certificate-chain" not in world.items["widget-1", "issuance#private-ca"]["in-use"]["M"]


@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_happens_to_the_item_the_device_gets_its_certificate_with_its_chain(fault: Fault) -> None:
    """The two calls for the chain are the last but one, before the record becomes active."""
    calm = World(IssuerKind.PRIVATE_CA)
    asked(calm)
    assert calm.cloud.calls[-3:] == ["GetItem", "PutItem", "TransactWriteItems"]
    for number in (len(calm.cloud.calls) - 2, len(calm.cloud.calls) - 1):
        world = World(IssuerKind.PRIVATE_CA)
        world.cloud.faults[number] = fault
        answer, _ = world.ask_until_issued()
        assert answer.chain_pem == CHAIN
        new_worker(world)
        assert asked(world)[0].chain_pem == CHAIN
        assert len(world.cloud.issued) == 1


def test_a_worker_that_resumes_an_issuance_registers_it_with_the_chain_that_the_record_names() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    world.cloud.always["RegisterCertificate"] = Fault.KILLED_BEFORE
    with pytest.raises(Killed):
        world.ask("widget-2")
    world.cloud.always.clear()
    assert "chain-digest" in world.record("widget-2")
    new_worker(world)
    world.clock.sleep(60)
    assert asked(world, "widget-2")[0].chain_pem == CHAIN
    certificate = world.cloud.certificates[world.record("widget-2")["certificate-id"]]
    assert certificate.registered_with == CHAIN


def test_a_record_that_lost_its_chain_to_another_version_of_the_software_is_answered_with_it() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    del world.items["widget-1", "issuance#private-ca"]["chain-digest"]
    assert asked(world)[0].chain_pem == CHAIN


def test_aws_iot_cores_own_ca_has_no_chain() -> None:
    world = World(IssuerKind.IOT_CORE)
    answer, _ = asked(world)
    new_worker(world)
    assert answer.chain_pem is asked(world)[0].chain_pem is None
    assert chains(world) == set()


def test_the_sweeper_finishes_an_issuance_without_reading_the_chain() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    asked(world)
    world.cloud.always["AttachPolicy"] = Fault.KILLED_BEFORE
    with pytest.raises((Killed, SecretFreeError)):
        world.ask("widget-2")
    world.cloud.always.clear()
    new_worker(world)
    del world.items[KEY]
    world.quiesce()
    assert world.record("widget-2")["state"] == "active"
    assert asked(world, "widget-2")[0].chain_pem == CHAIN
