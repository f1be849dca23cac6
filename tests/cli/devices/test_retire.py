"""The end of a device's life: all of it goes, whatever call fails and however often the command runs; history stays."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from secretfree.adapters.authority_revocation import RevokingAuthorities
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import IssuerKind
from secretfree.errors import SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree_cli.devices.retire import Retired, Retiring
from support.fake_cloud import Fault, Killed
from support.fake_store import FakeStore
from support.retiring import Retirer
from support.revoking import Revoker
from support.world import World, verified_csr

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))
FAILURES = (Killed, SecretFreeError, ThrottledError, UnreachableError)
DEVICE = "widget-1"


def connected_device(kind: IssuerKind) -> tuple[World, Revoker, Retiring]:
    """A connected device in the middle of a renewal: it has two certificates."""
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep_until(first.renew_after)
    assert isinstance(world.ask(), IssuedCertificate)
    world.clock.sleep(3600)
    world.cloud.connected.add(DEVICE)
    world.items[DEVICE, "binding"] = {"device-id": {"S": DEVICE}, "record": {"S": "binding"}}
    revoker = Revoker(world)
    world.cloud.calls.clear()
    retiring = Retiring(
        store=FakeStore(world.cloud),  # type: ignore[arg-type]
        ledger=DynamoDbLedger(world.cloud.client("dynamodb"), table="ledger"),
        things=world.things,
        ports=replace(revoker.ports, authorities=RevokingAuthorities(lambda _arn: world.cloud.client("acm-pca"), ())),
        clock=world.clock,
        history=timedelta(days=90),
    )
    return world, revoker, retiring


def require_nothing_left(world: World) -> None:
    assert world.cloud.certificates == {}
    assert world.cloud.things == {}
    assert world.cloud.connected == set()
    entry = world.cloud.registry[DEVICE]
    assert {"pubkey", "key-fingerprint"}.isdisjoint(entry)
    assert entry["status"] == {"S": "retired"}
    history = {record: item for (owner, record), item in world.items.items() if not owner.startswith("chain#")}
    assert "binding" not in history
    assert all("expires-at" in item for item in history.values()), "all of it is history"


@BOTH
def test_certificates_connection_thing_and_entry_go_and_the_history_stays(kind: IssuerKind) -> None:
    world, _, retiring = connected_device(kind)
    assert retiring.retire(DEVICE, "scrapped") == (Retired.RETIRED, None)
    require_nothing_left(world)
    end = world.clock.now() + timedelta(days=90)
    assert int(world.record()["expires-at"]) == int(end.timestamp())
    assert world.cloud.registry[DEVICE]["retired-reason"] == {"S": "scrapped"}
    certificates = [record for _, record in world.items if record.startswith("certificate#")]
    assert len(certificates) == 2


@BOTH
def test_a_retired_device_is_refused(kind: IssuerKind) -> None:
    world, _, retiring = connected_device(kind)
    retiring.retire(DEVICE, "scrapped")
    with pytest.raises(SecretFreeError) as refused:
        world.ask_as_enrolled()
    assert refused.value.detail == "the device is retired"
    require_nothing_left(world)


@BOTH
def test_the_command_again_changes_nothing_and_the_sweeper_keeps_the_date(kind: IssuerKind) -> None:
    world, _, retiring = connected_device(kind)
    retiring.retire(DEVICE, "scrapped")
    before = world.record()["expires-at"]
    world.clock.sleep(86_400)
    assert retiring.retire(DEVICE, "again")[0] is Retired.RETIRED
    assert world.cloud.registry[DEVICE]["retired-reason"] == {"S": "scrapped"}
    world.quiesce()
    assert world.record()["expires-at"] == before
    require_nothing_left(world)


def calls_of(kind: IssuerKind) -> int:
    world, _, retiring = connected_device(kind)
    retiring.retire(DEVICE, "scrapped")
    return len(world.cloud.calls)


@BOTH
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_call_fails_the_command_again_ends_it(kind: IssuerKind, fault: Fault) -> None:
    for number in range(1, calls_of(kind) + 1):
        world, _, retiring = connected_device(kind)
        world.cloud.faults[number] = fault
        with suppress(*FAILURES, Exception):
            retiring.retire(DEVICE, "scrapped")
        world.cloud.faults.clear()
        outcome, left = retiring.retire(DEVICE, "scrapped")
        assert outcome is Retired.RETIRED, (number, left)
        require_nothing_left(world)
        world.quiesce()
        require_nothing_left(world)


@BOTH
def test_a_command_that_dies_after_its_first_write_leaves_nothing_that_can_connect(kind: IssuerKind) -> None:
    for number in range(3, calls_of(kind) + 1):
        world, revoker, retiring = connected_device(kind)
        before = world.cloud.registry[DEVICE]
        world.cloud.faults[number] = Fault.KILLED_BEFORE
        with suppress(Killed):
            retiring.retire(DEVICE, "scrapped")
        revoker.changed(DEVICE, before)
        while revoker.stream:
            revoker.deliver()
        assert [one for one in world.cloud.certificates.values() if one.status == "ACTIVE"] == []
        assert world.cloud.connected == set()


@BOTH
def test_the_id_is_enrolled_anew_and_gets_a_certificate_and_a_thing(kind: IssuerKind) -> None:
    for key in (0, 1):
        world, _, retiring = connected_device(kind)
        retiring.retire(DEVICE, "scrapped")
        world.clock.sleep(86_400)
        answer, _ = world.ask_until_issued(key=key)
        assert DEVICE in world.cloud.things
        assert "expires-at" not in world.record()
        world.quiesce()
        assert list(world.cloud.certificates) == [answer.certificate_id]


@BOTH
def test_a_device_that_is_being_issued_to_is_named_as_unfinished_and_ends_with_nothing(kind: IssuerKind) -> None:
    for number in range(3, 11):
        world = World(kind)
        revoker = Revoker(world)
        world.cloud.enroll(DEVICE, verified_csr(DEVICE).public_key.fingerprint)
        _, _, model = connected_device(kind)
        retiring = Retiring(
            store=FakeStore(world.cloud),  # type: ignore[arg-type]
            ledger=DynamoDbLedger(world.cloud.client("dynamodb"), table="ledger"),
            things=world.things,
            ports=revoker.ports,
            clock=world.clock,
            history=model.history,
        )
        outcomes: list[Retired] = []
        world.cloud.before_call[number] = lambda r=retiring, o=outcomes: o.append(r.retire(DEVICE, "scrapped")[0])
        with suppress(*FAILURES):
            world.ask_as_enrolled()
        assert outcomes in ([Retired.UNFINISHED], [Retired.RETIRED], [])
        world.clock.sleep(120)
        assert retiring.retire(DEVICE, "scrapped")[0] is Retired.RETIRED
        world.quiesce()
        assert [one for one in world.cloud.certificates.values() if one.status == "ACTIVE"] == []


def test_a_device_in_no_table_is_not_found() -> None:
    world, _, retiring = connected_device(IssuerKind.PRIVATE_CA)
    assert retiring.retire("widget-9", "scrapped") == (Retired.NOT_FOUND, None)
    assert "widget-9" not in world.cloud.registry


def test_a_device_that_was_removed_before_is_retired_and_its_id_stays_taken() -> None:
    world, _, retiring = connected_device(IssuerKind.PRIVATE_CA)
    del world.cloud.registry[DEVICE]
    assert retiring.retire(DEVICE, "scrapped")[0] is Retired.RETIRED
    require_nothing_left(world)


def test_a_thing_of_another_type_stays_and_is_named() -> None:
    world, _, retiring = connected_device(IssuerKind.PRIVATE_CA)
    world.cloud.things[DEVICE]["type"] = "another"
    outcome, left = retiring.retire(DEVICE, "scrapped")
    assert outcome is Retired.UNFINISHED
    assert left is not None
    assert "another" in left
    assert world.cloud.certificates == {}
    assert DEVICE in world.cloud.things


def test_events_of_a_retired_device_s_last_connects_change_nothing() -> None:
    world, _, retiring = connected_device(IssuerKind.PRIVATE_CA)
    retirer = Retirer(world)
    newest = world.record()["certificate-id"]
    retirer.connect(newest)
    retiring.retire(DEVICE, "scrapped")
    assert retirer.deliver() == ()
    require_nothing_left(world)
