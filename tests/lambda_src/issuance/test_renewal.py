"""A device whose certificate is good always has it: before, during and after a renewal, whatever becomes of that."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.record import Issuance
from secretfree.issuance.renewal import renewal_start
from secretfree.request.device_id import DeviceId
from support.fake_cloud import Fault, Killed
from support.world import World

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))
NOT_AFTER = datetime(2027, 1, 1, tzinfo=UTC)
FINGERPRINTS = st.text("0123456789abcdef", min_size=64, max_size=64)


def at_renewal(kind: IssuerKind) -> tuple[World, IssuedCertificate]:
    """A device at the start of its renewal window, and the certificate that it has."""
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep_until(first.renew_after)
    world.cloud.calls.clear()
    return world, first


def renewal_calls(kind: IssuerKind) -> list[str]:
    world, _ = at_renewal(kind)
    assert isinstance(world.ask(), IssuedCertificate)
    return list(world.cloud.calls)


def cases() -> Iterator[object]:
    for kind in IssuerKind:
        # The first two calls are the ledger's and the registry's: without them, no one is answered.
        for number, operation in list(enumerate(renewal_calls(kind), start=1))[2:]:
            for fault in Fault:
                yield pytest.param(kind, number, fault, id=f"{kind}-{number}-{operation}-{fault.value}")


@pytest.mark.parametrize(("kind", "number", "fault"), list(cases()))
def test_whatever_call_of_a_renewal_fails_the_device_has_a_good_certificate_at_each_asking(
    kind: IssuerKind, number: int, fault: Fault
) -> None:
    world, first = at_renewal(kind)
    world.cloud.faults[number] = fault
    for _ in range(4):
        with suppress(Killed):
            answer = world.ask()
            assert isinstance(answer, IssuedCertificate)
            assert world.cloud.certificates[answer.certificate_id].status == "ACTIVE"
        world.clock.sleep(50)
    world.quiesce()
    answer, _tries = world.ask_until_issued()
    assert answer.certificate_id != first.certificate_id
    world.quiesce()
    world.clock.sleep_until(first.not_after)
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE, Fault.REFUSED])
def test_while_renewals_fail_for_weeks_the_device_has_its_certificate_to_the_end(
    kind: IssuerKind, fault: Fault
) -> None:
    world, first = at_renewal(kind)
    for operation in ("IssueCertificate", "CreateCertificateFromCsr"):
        world.cloud.always[operation] = fault
    while world.clock.now() < first.not_after - timedelta(hours=20):
        answers = [world.ask() for _ in range(12)]  # more than the budget of issuances
        assert {getattr(one, "certificate_id", None) for one in answers} == {first.certificate_id}
        world.clock.sleep(20 * 3600)
        world.sweep()
    world.clock.sleep_until(first.not_after)
    with suppress(SecretFreeError):
        assert isinstance(world.ask(), NotReady)


@BOTH
def test_another_worker_s_renewal_keeps_no_device_waiting(kind: IssuerKind) -> None:
    world, first = at_renewal(kind)
    answers: list[object] = []
    request = 4  # ledger, registry, DescribeCertificate, ledger: then the lease is held
    world.cloud.before_call[request + 1] = lambda: answers.append(world.ask())
    new = world.ask()
    assert isinstance(new, IssuedCertificate)
    assert new.certificate_id != first.certificate_id
    (meanwhile,) = answers
    assert meanwhile == replace(first, reused=True)
    assert isinstance(meanwhile, IssuedCertificate)
    assert getattr(meanwhile.instead_of, "reason", None) is Reason.LEASE_HELD


@BOTH
def test_what_is_out_of_use_is_not_given_out_while_the_next_is_being_issued(kind: IssuerKind) -> None:
    world, first = at_renewal(kind)
    for operation in ("IssueCertificate", "CreateCertificateFromCsr"):
        world.cloud.always[operation] = Fault.THROTTLED
    assert isinstance(world.ask(), IssuedCertificate)
    world.cloud.revoke(first.certificate_id)
    world.clock.sleep(timedelta(hours=25).total_seconds())
    assert isinstance(world.ask(), NotReady)
    assert isinstance(world.ask(), NotReady)


@BOTH
def test_another_key_never_gets_the_certificate_of_the_first(kind: IssuerKind) -> None:
    world, _first = at_renewal(kind)
    for operation in ("IssueCertificate", "CreateCertificateFromCsr"):
        world.cloud.always[operation] = Fault.THROTTLED
    assert isinstance(world.ask(key=0), IssuedCertificate)
    assert isinstance(world.ask(key=1), NotReady)
    world.clock.sleep(60)
    assert isinstance(world.ask(key=1), NotReady)


@BOTH
def test_a_reissued_device_keeps_the_old_certificate_while_that_fails(
    kind: IssuerKind,
) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.ports.ledger.write(record(world).reopened(world.clock.now()))
    for operation in ("IssueCertificate", "CreateCertificateFromCsr"):
        world.cloud.always[operation] = Fault.THROTTLED
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    assert answer.certificate_id == first.certificate_id
    assert answer.renew_after <= world.clock.now()
    assert world.cloud.calls.count("DescribeCertificate") == 1
    world.cloud.always.clear()
    world.clock.sleep(5)
    new, _tries = world.ask_until_issued()
    assert new.certificate_id != first.certificate_id
    world.sweep(after=timedelta(days=60))
    assert set(world.cloud.certificates) == {first.certificate_id, new.certificate_id}  # to its own end
    world.clock.sleep_until(first.not_after)
    world.quiesce()
    assert set(world.cloud.certificates) == {new.certificate_id}


@BOTH
@pytest.mark.parametrize("renewals", [100, pytest.param(2000, marks=pytest.mark.nightly)])
def test_two_thousand_renewals_do_not_make_the_record_grow(kind: IssuerKind, renewals: int) -> None:
    world = World(kind, validity=timedelta(days=7), renewal_window=timedelta(days=2))
    answer, _tries = world.ask_until_issued()
    sizes = []
    for _ in range(renewals):
        world.clock.sleep_until(answer.renew_after)
        new = world.ask()
        assert isinstance(new, IssuedCertificate)
        assert new.certificate_id != answer.certificate_id
        answer = new
        world.sweep()
        assert world.clock.now() < answer.not_after
        sizes.append(len(json.dumps(world.items["widget-1", f"issuance#{kind.value}"])))
    assert max(sizes[10:]) - max(sizes[:10]) < 16  # a few digits more
    assert len(world.cloud.certificates) <= 3


# --- why an issuance did not finish ---


@BOTH
@pytest.mark.parametrize(
    ("operation", "fault", "reason"),
    [
        ("CreateThing", Fault.THROTTLED, Reason.THROTTLED),
        ("CreateThing", Fault.TIMED_OUT_BEFORE, Reason.UPSTREAM_UNAVAILABLE),
        ("AttachPolicy", Fault.THROTTLED, Reason.THROTTLED),
    ],
)
def test_the_ledger_says_why_an_issuance_did_not_finish_until_it_has(
    kind: IssuerKind, operation: str, fault: Fault, reason: Reason
) -> None:
    world = World(kind)
    world.cloud.always[operation] = fault
    assert isinstance(world.ask(), NotReady)
    assert world.record()["last-reason"] == reason.value
    world.cloud.always.clear()
    world.ask_until_issued()
    world.quiesce()
    assert "last-reason" not in world.record()


@BOTH
def test_the_ledger_names_a_refusal_of_ours_and_an_unexpected_failure_by_their_code_alone(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.things["widget-1"] = {"type": "another-product", "attributes": {}}
    with pytest.raises(SecretFreeError) as raised:
        world.ask()
    assert raised.value.code is ErrorCode.CONFLICT
    assert world.record()["last-reason"] == Reason.CONFLICTING_THING.value


def test_a_code_that_this_version_does_not_know_leaves_the_record_readable() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.ask()
    world.items["widget-1", "issuance#private-ca"]["last-reason"] = {"S": "of-a-later-version"}
    assert record(world).last_reason is None
    assert isinstance(world.ask(), IssuedCertificate)


# --- when the renewal window begins ---


@given(fingerprint=FINGERPRINTS, hours=st.integers(0, 24 * 365))
def test_a_window_begins_in_the_first_half_of_the_longest_and_the_same_at_each_asking(
    fingerprint: str, hours: int
) -> None:
    window = timedelta(hours=hours)
    start = renewal_start(NOT_AFTER, fingerprint, window)
    assert NOT_AFTER - window <= start <= NOT_AFTER - window / 2
    assert start == renewal_start(NOT_AFTER, fingerprint, window)
    assert start.microsecond == 0


def test_a_fleet_born_at_one_moment_spreads_its_renewals_evenly() -> None:
    days = [0] * 15
    for number in range(15_000):
        fingerprint = f"{number * 2654435761 % 2**32:08x}".ljust(64, "0")
        days[(renewal_start(NOT_AFTER, fingerprint, timedelta(days=30)) - (NOT_AFTER - timedelta(days=30))).days] += 1
    assert max(days) < 1.2 * min(days)


def record(world: World) -> Issuance:
    found = world.ports.ledger.read(DeviceId.parse("widget-1"), world.kind.value)  # type: ignore[attr-defined]
    assert isinstance(found, Issuance)
    return found
