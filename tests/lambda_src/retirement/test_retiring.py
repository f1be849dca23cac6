"""What a device had before the certificate that it connects with is retired, whatever fails, in whatever order."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.ports import ThrottledError, UnreachableError
from support.fake_cloud import Fault, Killed
from support.retiring import Retirer, event_body
from support.revoking import Revoker
from support.world import World

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))
FAILURES = (Killed, SecretFreeError, ThrottledError, UnreachableError)
CALLS = [
    "Query",
    "PutItem",
    "DescribeCertificate",
    "ListAttachedPolicies",
    "UpdateCertificate",
    "DetachPolicy",
    "DetachThingPrincipal",
    "DeleteCertificate",
    "UpdateItem",
    "PutItem",
]


def renewed(kind: IssuerKind = IssuerKind.PRIVATE_CA) -> tuple[World, Retirer, str, str]:
    """A device in its renewal window with two certificates: the old one and the new one."""
    world = World(kind)
    old = world.ask()
    assert isinstance(old, IssuedCertificate)
    world.clock.sleep_until(old.renew_after)
    new = renew(world)
    world.cloud.calls.clear()
    return world, Retirer(world), old.certificate_id, new


def renew(world: World) -> str:
    """The device asks at a time at which it gets a new certificate."""
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    assert not answer.reused
    return answer.certificate_id


@BOTH
def test_a_connect_with_the_new_certificate_retires_the_old_one(kind: IssuerKind) -> None:
    world, retirer, old, new = renewed(kind)
    assert retirer.connect(old), "the old one is good until then"
    assert retirer.connect(new)
    assert [retirer.deliver(), retirer.deliver()] == [(), (old,)]
    assert list(world.cloud.certificates) == [new]
    assert not retirer.connect(old)
    assert "pending" not in world.record(), "the sweeper has nothing to do"
    assert world.items["widget-1", f"certificate#{old}"]["state"] == {"S": "superseded"}
    world.quiesce()
    world.require_invariants_at_quiescence()


def test_the_calls_are_few_and_the_door_is_closed_before_the_deletion() -> None:
    world, retirer, _, new = renewed()
    retirer.connect(new)
    retirer.deliver()
    assert world.cloud.calls == CALLS
    world.cloud.calls.clear()
    retirer.connect(new)
    retirer.deliver()
    assert world.cloud.calls == ["Query"], "a usual connect costs one read"


@BOTH
def test_a_device_that_lost_the_new_certificate_keeps_the_old_one_and_gets_the_new_one_again(kind: IssuerKind) -> None:
    world, retirer, old, new = renewed(kind)
    retirer.connect(old)
    retirer.deliver()
    world.quiesce()
    assert retirer.connect(old)
    again = world.ask()
    assert isinstance(again, IssuedCertificate)
    assert again.certificate_id == new


def test_a_device_that_lost_two_certificates_is_not_stranded_either() -> None:
    world, retirer, old, second = renewed()
    world.policy = replace(world.policy, renewal_window=timedelta(days=10_000))
    third = renew(world)
    fourth = renew(world)
    world.quiesce()
    assert set(world.cloud.certificates) == {old, third, fourth}, "the one that it connects with, and the latest two"
    assert retirer.connect(old)
    assert retirer.connect(third)
    assert [retirer.deliver(), retirer.deliver()] == [(), (old,)]
    assert retirer.connect(third)
    assert retirer.connect(fourth)
    retirer.deliver()
    assert retirer.deliver() == (third,)
    assert second not in world.cloud.certificates


@BOTH
def test_events_that_come_twice_or_late_or_in_the_wrong_order_retire_nothing_that_is_in_use(kind: IssuerKind) -> None:
    world, retirer, old, new = renewed(kind)
    first, second = event_body(old), event_body(new)
    assert retirer.deliver(second) == (old,)
    assert retirer.deliver(first) is None
    assert retirer.deliver(second) == ()
    world.clock.sleep(timedelta(days=350).total_seconds())
    latest = renew(world)
    assert [retirer.deliver(event) for event in (first, second, second)] == [None, (), ()]
    assert set(world.cloud.certificates) == {new, latest}


@BOTH
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(1, len(CALLS) + 1))
def test_whatever_call_fails_the_next_delivery_ends_it(kind: IssuerKind, number: int, fault: Fault) -> None:
    world, retirer, _, new = renewed(kind)
    world.cloud.faults[number] = fault
    with suppress(*FAILURES):
        retirer.deliver(event_body(new))
    world.cloud.faults.clear()
    retirer.deliver(event_body(new))
    assert list(world.cloud.certificates) == [new]
    world.quiesce()
    world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(3, len(CALLS) + 1))
def test_a_retirer_that_is_never_run_again_leaves_the_rest_to_the_sweeper(
    kind: IssuerKind, number: int, fault: Fault
) -> None:
    world, retirer, _, new = renewed(kind)
    world.cloud.faults[number] = fault
    with suppress(*FAILURES):
        retirer.deliver(event_body(new))
    world.quiesce()
    assert list(world.cloud.certificates) == [new]
    world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("what", ["asks", "sweeps", "blocks", "delivers"])
@pytest.mark.parametrize("number", range(1, len(CALLS) + 1))
def test_whatever_runs_between_two_calls_the_end_is_the_same(kind: IssuerKind, what: str, number: int) -> None:
    world, retirer, _, new = renewed(kind)
    revoker = Revoker(world)
    revoker.enrol()

    def block() -> None:
        revoker.block()
        while revoker.stream:
            revoker.deliver()

    body = event_body(new)
    acts = {"asks": world.ask, "sweeps": world.sweep, "blocks": block, "delivers": lambda: retirer.deliver(body)}
    world.cloud.before_call[number] = acts[what]
    with suppress(*FAILURES):
        retirer.deliver(body)
    retirer.deliver(body)
    world.quiesce()
    active = [one.certificate_id for one in world.cloud.certificates.values() if one.status == "ACTIVE"]
    assert active == ([] if what == "blocks" else [new])


def test_a_connect_before_the_record_says_active_is_delivered_again() -> None:
    world, retirer, old, new = renewed()
    item = world.items["widget-1", "issuance#private-ca"]
    item["state"] = {"S": "issued"}
    with pytest.raises(SecretFreeError) as raised:
        retirer.deliver(event_body(new))
    assert raised.value.code is ErrorCode.NOT_READY
    assert set(world.cloud.certificates) == {old, new}


def test_a_certificate_that_is_still_being_detached_is_left_to_the_sweeper() -> None:
    world, retirer, old, new = renewed()
    world.cloud.certificates[old].policies.clear()
    world.cloud.certificates[old].things["another"] = "NON_EXCLUSIVE_THING"
    with suppress(SecretFreeError):
        retirer.deliver(event_body(new))
    assert world.cloud.certificates[old].status == "INACTIVE"
    assert old in str(world.items["widget-1", "issuance#private-ca"]["obsolete"])


def test_a_certificate_with_another_product_line_s_policy_stays_as_it_is() -> None:
    world, retirer, old, new = renewed()
    world.cloud.certificates[old].policies.add("another-line")
    with pytest.raises(SecretFreeError) as raised:
        retirer.deliver(event_body(new))
    assert raised.value.reason is Reason.FOREIGN_CERTIFICATE
    assert world.cloud.certificates[old].status == "ACTIVE"


def test_another_client_under_a_device_s_name_retires_nothing() -> None:
    world, retirer, old, new = renewed()
    assert retirer.deliver(event_body("f" * 64)) is None
    assert retirer.deliver(event_body(new, device="widget-2")) is None
    assert set(world.cloud.certificates) == {old, new}


def test_a_damaged_record_beside_it_stops_nothing() -> None:
    world, retirer, old, new = renewed()
    world.items["widget-1", "issuance#another"] = {"device-id": {"S": "widget-1"}, "record": {"S": "issuance#another"}}
    assert retirer.deliver(event_body(new)) == (old,)
