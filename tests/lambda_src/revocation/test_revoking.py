"""What the registry withdraws is revoked, whatever fails, in whatever order, and whatever runs meanwhile."""

from contextlib import suppress
from datetime import timedelta

import pytest
from secretfree.contract import IssuerKind, MatchPolicy
from secretfree.errors import Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.ports import ThrottledError, UnreachableError
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed
from support.issuing_calls import CALLS
from support.revoking import Revoker
from support.world import World

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))
FAILURES = (Killed, SecretFreeError, ThrottledError, UnreachableError)


def issued(kind: IssuerKind = IssuerKind.PRIVATE_CA, **settings: MatchPolicy) -> tuple[World, Revoker, str]:
    """A connected device with its certificate's id."""
    world = World(kind, **settings)
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    world.clock.sleep(60)
    world.cloud.connected.add("widget-1")
    return world, Revoker(world), answer.certificate_id


def status_of(world: World, certificate_id: str) -> str:
    return world.cloud.certificates[certificate_id].status


def require_nothing_active(world: World) -> None:
    assert [c.certificate_id for c in world.cloud.certificates.values() if c.status == "ACTIVE"] == []


@BOTH
def test_a_block_revokes_the_certificate_and_ends_the_connection(kind: IssuerKind) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.block()
    done = revoker.deliver()
    assert done.certificates == (certificate_id,)
    assert done.connection_ended
    assert status_of(world, certificate_id) == "REVOKED"
    assert world.cloud.connected == set()
    assert world.record()["state"] == "revoked"
    assert world.items["widget-1", f"certificate#{certificate_id}"]["state"] == {"S": "revoked"}
    assert len(world.cloud.revoked_serials) == (1 if kind is IssuerKind.PRIVATE_CA else 0)


def test_the_certificate_is_revoked_before_the_connection_ends_so_that_the_device_cannot_come_back() -> None:
    world, revoker, _ = issued()
    revoker.block()
    world.cloud.calls.clear()
    revoker.deliver()
    assert world.cloud.calls == [
        "GetItem",
        "Query",
        "TransactWriteItems",
        "UpdateCertificate",
        "DeleteConnection",
        "RevokeCertificate",
    ]


def test_a_ca_that_takes_no_revocations_is_not_asked() -> None:
    world, _, _ = issued()
    revoker = Revoker(world, authorities=())
    revoker.block()
    revoker.deliver()
    assert "RevokeCertificate" not in world.cloud.calls
    require_nothing_active(world)


def test_a_certificate_of_a_previous_ca_is_revoked_at_the_ca_that_signed_it() -> None:
    world, _, certificate_id = issued()
    world.rotate(NEXT_CA_ARN, CA_ARN)
    world.clock.sleep(86_400 * 355)
    renewed, _ = world.ask_until_issued()
    world.clock.sleep(60)
    revoker = Revoker(world, authorities=(NEXT_CA_ARN, CA_ARN))
    revoker.block()
    assert set(revoker.deliver().certificates) == {certificate_id, renewed.certificate_id}
    require_nothing_active(world)
    assert [arn.partition("/certificate/")[0] for arn in world.cloud.orders] == [CA_ARN, NEXT_CA_ARN]
    assert len(world.cloud.revoked_serials) == 2


@BOTH
def test_a_removed_device_loses_its_certificate(kind: IssuerKind) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.remove()
    revoker.deliver()
    assert status_of(world, certificate_id) == "REVOKED"


@BOTH
def test_a_replaced_key_loses_its_certificate_and_the_new_key_gets_one(kind: IssuerKind) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.enrol(key=1)
    revoker.deliver()
    assert status_of(world, certificate_id) == "REVOKED"
    answer, _ = world.ask_until_issued(key=1)
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]


@BOTH
def test_a_key_replaced_before_the_stream_came_loses_its_certificate_all_the_same(kind: IssuerKind) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.enrol(key=1)
    answer, _ = world.ask_until_issued(key=1)
    revoker.deliver()
    assert status_of(world, certificate_id) == "REVOKED"
    assert status_of(world, answer.certificate_id) == "ACTIVE"
    world.quiesce()
    world.require_invariants_at_quiescence()


def test_another_spelling_of_the_entry_revokes_nothing() -> None:
    world, revoker, certificate_id = issued()
    revoker.enrol(batch="2026-01", not_before="2030-01-01T00:00:00Z")
    assert revoker.deliver().certificates == ()
    assert status_of(world, certificate_id) == "ACTIVE"
    assert world.cloud.connected == {"widget-1"}


def test_a_status_that_cannot_be_read_permits_nothing() -> None:
    world, revoker, _ = issued()
    revoker.enrol(status="Blocked")
    revoker.deliver()
    require_nothing_active(world)


def test_by_device_id_alone_the_entry_s_key_plays_no_part() -> None:
    world, revoker, certificate_id = issued(match=MatchPolicy.UDID)
    revoker.enrol(key=1)
    assert revoker.deliver().certificates == ()
    revoker.block(key=1)
    revoker.deliver()
    assert status_of(world, certificate_id) == "REVOKED"


@BOTH
def test_an_unblocked_device_enrols_anew_with_its_own_key(kind: IssuerKind) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.block()
    revoker.deliver()
    with pytest.raises(SecretFreeError) as refused:
        world.ask_as_enrolled()
    assert refused.value.reason is Reason.BLOCKED_DEVICE
    revoker.enrol()
    revoker.deliver()
    answer, _ = world.ask_until_issued()
    assert answer.certificate_id != certificate_id
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


def test_a_block_that_was_taken_back_before_the_stream_came_still_ends_what_was_issued_before() -> None:
    world, revoker, certificate_id = issued()
    revoker.block()
    revoker.enrol()
    while revoker.stream:
        revoker.deliver()
    assert status_of(world, certificate_id) == "REVOKED"
    assert world.ask_until_issued()[0].certificate_id != certificate_id


@BOTH
def test_a_late_duplicate_of_a_block_leaves_the_certificate_of_the_unblocked_device_alone(kind: IssuerKind) -> None:
    world, revoker, _ = issued(kind)
    revoker.block()
    (late,) = revoker.stream
    revoker.deliver()
    revoker.enrol()
    world.clock.sleep(5)
    answer, _ = world.ask_until_issued()
    revoker.deliver(late)
    revoker.deliver()
    assert status_of(world, answer.certificate_id) == "ACTIVE"


@BOTH
def test_repeated_blocks_do_not_make_the_record_grow(kind: IssuerKind) -> None:
    world, revoker, _ = issued(kind)
    sizes = set()
    for _ in range(6):
        revoker.block()
        revoker.deliver()
        revoker.enrol()
        revoker.deliver()
        world.clock.sleep(86_400)
        world.ask_until_issued()
        world.quiesce()
        sizes.add(len(world.record()))
        assert len(world.cloud.certificates) == 1
    assert len(sizes) == 1


def test_what_an_operator_revoked_stays_revoked_after_an_unblock() -> None:
    world, revoker, certificate_id = issued()
    world.cloud.revoke(certificate_id)
    world.clock.sleep(86_400 * 2)
    with pytest.raises(SecretFreeError):
        world.ask()
    revoker.block()
    revoker.deliver()
    revoker.enrol()
    revoker.deliver()
    with pytest.raises(SecretFreeError) as refused:
        world.ask()
    assert refused.value.detail == "the certificate of this key was revoked"


def test_a_damaged_record_stops_no_other_and_is_reported() -> None:
    world, revoker, certificate_id = issued()
    damaged = {"device-id": {"S": "widget-1"}, "record": {"S": "issuance#another"}, "state": {"S": "?"}}
    world.items["widget-1", "issuance#another"] = damaged
    revoker.block()
    with pytest.raises(SecretFreeError) as raised:
        revoker.deliver()
    assert raised.value.reason is Reason.LEDGER_RECORD
    assert status_of(world, certificate_id) == "REVOKED"
    assert world.cloud.connected == set()


@BOTH
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(1, 7))
def test_whatever_call_fails_the_next_delivery_ends_it(kind: IssuerKind, number: int, fault: Fault) -> None:
    world, revoker, certificate_id = issued(kind)
    revoker.block()
    (change,) = revoker.stream
    world.cloud.faults[len(world.cloud.calls) + number] = fault
    with suppress(*FAILURES):
        revoker.deliver(change)
    world.cloud.faults.clear()
    revoker.deliver(change)
    assert status_of(world, certificate_id) == "REVOKED"
    assert world.cloud.connected == set()
    assert len(world.cloud.revoked_serials) == (1 if kind is IssuerKind.PRIVATE_CA else 0)
    world.quiesce()
    require_nothing_active(world)


@BOTH
@pytest.mark.parametrize("number", range(4, 7))
def test_a_revoker_that_dies_and_is_never_run_again_leaves_the_rest_to_the_sweeper(
    kind: IssuerKind, number: int
) -> None:
    world, revoker, _ = issued(kind)
    revoker.block()
    world.cloud.faults[len(world.cloud.calls) + number] = Fault.KILLED_BEFORE
    with suppress(Killed):
        revoker.deliver()
    world.quiesce()
    require_nothing_active(world)


@BOTH
@pytest.mark.parametrize("dies", [False, True], ids=["lives-on", "dies-at-the-next-call"])
def test_a_worker_that_was_issuing_when_the_block_came_ends_with_nothing_active(
    kind: IssuerKind, *, dies: bool
) -> None:
    for number in range(1, len(CALLS[kind]) + 1):
        for later in range(1, 6) if dies else [None]:
            world = World(kind)
            revoker = Revoker(world)
            revoker.enrol()

            def block(revoker: Revoker = revoker) -> None:
                revoker.block()
                revoker.deliver()

            world.cloud.before_call[number] = block
            if later is not None:  # the revoker's own calls are counted, too
                world.cloud.always.clear()
                world.cloud.faults[number + 5 + later] = Fault.KILLED_AFTER
            with suppress(*FAILURES):
                world.ask_as_enrolled()
            world.quiesce()
            require_nothing_active(world)
            with pytest.raises(SecretFreeError):
                world.ask_as_enrolled()


@BOTH
def test_a_worker_that_lives_on_closes_the_door_itself(kind: IssuerKind) -> None:
    for number in range(1, len(CALLS[kind]) + 1):
        world = World(kind)
        revoker = Revoker(world)
        revoker.enrol()

        def block(revoker: Revoker = revoker) -> None:
            revoker.block()
            revoker.deliver()

        world.cloud.before_call[number] = block
        with suppress(*FAILURES):
            world.ask_as_enrolled()
        usable = [c for c in world.cloud.certificates.values() if c.status == "ACTIVE" and c.policies]
        assert usable == [], f"blocked before call {number}"


@BOTH
def test_a_block_during_a_renewal_ends_both_certificates(kind: IssuerKind) -> None:
    world, revoker, first = issued(kind)
    world.clock.sleep(timedelta(days=350).total_seconds())
    renewed = world.ask()
    assert isinstance(renewed, IssuedCertificate)
    assert renewed.certificate_id != first
    revoker.block()
    assert set(revoker.deliver().certificates) == {first, renewed.certificate_id}
    require_nothing_active(world)
