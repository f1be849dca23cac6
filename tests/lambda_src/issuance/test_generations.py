"""Which certificate a device gets after a new key, a renewal, a revocation or a loss."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.record import LEASE
from support.fake_cloud import Fault, InlineExecutor, Killed
from support.world import World, issuing_calls, refused, verified_csr

CALLS_BEFORE_ATTACHING = {IssuerKind.PRIVATE_CA: 9, IssuerKind.IOT_CORE: 6}
BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


@BOTH
def test_another_key_begins_a_new_generation_and_the_old_certificate_is_deleted(kind: IssuerKind) -> None:
    world = World(kind)
    old = world.ask(key=0)
    new = world.ask(key=1)
    assert isinstance(old, IssuedCertificate)
    assert isinstance(new, IssuedCertificate)
    assert world.record()["generation"] == "2"
    assert world.cloud.certificates[old.certificate_id].status == "ACTIVE"
    world.sweep()
    assert set(world.cloud.certificates) == {new.certificate_id}
    closed = world.cloud.items["widget-1", f"certificate#{old.certificate_id}"]
    assert closed["state"]["S"] == "superseded"
    assert int(closed["expires-at"]["N"]) > world.clock.now().timestamp()


@BOTH
def test_a_certificate_that_never_got_its_policy_is_deleted_when_another_key_is_enrolled(kind: IssuerKind) -> None:
    """Also when the new key's own issuance is rolled back: what stays good until then was complete once."""
    world = World(kind)
    world.cloud.faults[CALLS_BEFORE_ATTACHING[kind]] = Fault.KILLED_BEFORE
    with suppress(Killed):
        world.ask(key=0)
    world.clock.sleep(60)
    world.cloud.faults[len(world.cloud.calls) + 4] = Fault.KILLED_BEFORE
    with suppress(Killed):
        world.ask(key=1)
    world.quiesce()
    assert world.record()["state"] == "abandoned"
    assert world.cloud.certificates == {}


@BOTH
def test_in_the_renewal_window_the_same_key_gets_a_new_certificate_and_the_old_one_stays_to_its_end(
    kind: IssuerKind,
) -> None:
    world = World(kind)
    old = world.ask()
    assert isinstance(old, IssuedCertificate)
    world.clock.sleep_until(old.renew_after - timedelta(seconds=1))
    assert world.ask() == replace(old, reused=True)
    world.clock.sleep_until(old.renew_after)
    new = world.ask()
    assert isinstance(new, IssuedCertificate)
    assert new.certificate_id != old.certificate_id
    world.sweep(after=old.not_after - world.clock.now() - timedelta(minutes=5))
    assert set(world.cloud.certificates) == {old.certificate_id, new.certificate_id}
    assert world.clock.now() < old.not_after
    world.quiesce()
    assert set(world.cloud.certificates) == {new.certificate_id}
    world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("status", ["REVOKED", "INACTIVE"])
def test_a_certificate_taken_out_of_use_is_not_renewed_for_the_asking(kind: IssuerKind, status: str) -> None:
    world = World(kind)
    old = world.ask()
    assert isinstance(old, IssuedCertificate)
    world.cloud.certificates[old.certificate_id].status = status
    world.clock.sleep_until(old.renew_after)
    for _ in range(2):
        error = refused(world.ask)
        assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.BLOCKED_DEVICE)
    assert len(world.cloud.issued) == 1
    assert world.record()["state"] == "revoked"


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE])
def test_while_it_is_unknown_whether_the_old_certificate_was_revoked_the_device_is_answered_with_it(
    kind: IssuerKind, fault: Fault
) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep(timedelta(days=364).total_seconds())
    world.cloud.always["DescribeCertificate"] = fault
    assert world.ask() == replace(first, reused=True)
    assert len(world.cloud.issued) == 1
    world.clock.sleep(timedelta(days=2).total_seconds())  # it has expired: there is nothing good to answer with
    assert isinstance(world.ask(), NotReady)
    world.cloud.always.clear()
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 2


@BOTH
def test_a_replayed_request_that_uses_up_the_renewal_s_budget_does_not_lock_the_device_out(kind: IssuerKind) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep(timedelta(days=350).total_seconds())
    world.cloud.items["widget-1", f"issuance#{kind.value}"]["admission"] = {
        "N": str(int((world.clock.now() + timedelta(minutes=10)).timestamp() * 1000))
    }
    assert world.ask() == replace(first, reused=True)


@BOTH
def test_a_certificate_that_vanished_before_its_end_is_not_renewed_for_the_asking(kind: IssuerKind) -> None:
    """Its deletion may have been meant as a revocation."""
    world = World(kind)
    old = world.ask()
    assert isinstance(old, IssuedCertificate)
    del world.cloud.certificates[old.certificate_id]
    world.clock.sleep(timedelta(days=350).total_seconds())
    error = refused(world.ask)
    assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.CERTIFICATE_MISSING)
    assert len(world.cloud.issued) == 1


@BOTH
def test_nothing_is_issued_before_the_registry_s_date(kind: IssuerKind) -> None:
    world = World(kind)
    fingerprint = verified_csr("widget-1").public_key.fingerprint
    world.cloud.enroll("widget-1", fingerprint, not_before="2026-01-02T00:00:00Z")
    assert refused(world.ask_as_enrolled).reason is Reason.NOT_YET_ALLOWED
    assert issuing_calls(world) == set()
    world.clock.sleep(86_400)
    assert isinstance(world.ask_as_enrolled(), IssuedCertificate)


@BOTH
def test_an_expired_certificate_that_was_deleted_is_renewed(kind: IssuerKind) -> None:
    world = World(kind)
    old = world.ask()
    assert isinstance(old, IssuedCertificate)
    del world.cloud.certificates[old.certificate_id]
    world.clock.sleep(timedelta(days=400).total_seconds())
    assert isinstance(world.ask(), IssuedCertificate)
    world.quiesce()
    world.require_invariants_at_quiescence()


@BOTH
def test_a_certificate_revoked_before_its_issuance_was_finished_is_not_brought_back(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.always["AttachPolicy"] = Fault.THROTTLED
    assert isinstance(world.ask(), NotReady)
    (certificate,) = world.cloud.certificates.values()
    certificate.status = "REVOKED"
    world.cloud.always.clear()
    world.clock.sleep(5)
    assert refused(world.ask).code is ErrorCode.NOT_AUTHORIZED
    assert refused(world.ask).code is ErrorCode.NOT_AUTHORIZED
    world.quiesce()
    assert certificate.status == "REVOKED"
    # The registry allows another key: that is an operator's word.
    assert isinstance(world.ask(key=1), IssuedCertificate)


class FrozenAfterTheAnswer(InlineExecutor):
    """Lambda, which freezes what an invocation leaves running."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        is_left_running = getattr(fn, "__name__", "") == "_confirm"
        return Future() if is_left_running else super().submit(fn, *args, **kwargs)


@BOTH
def test_a_certificate_deactivated_after_it_was_handed_out_is_not_activated_again(kind: IssuerKind) -> None:
    world = World(kind, executor=FrozenAfterTheAnswer())
    assert isinstance(world.ask(), IssuedCertificate)
    (certificate,) = world.cloud.certificates.values()
    certificate.status = "INACTIVE"
    world.clock.sleep(LEASE.total_seconds())
    with suppress(SecretFreeError):
        world.ask()
    world.sweep(after=timedelta(hours=1))
    with suppress(SecretFreeError):
        world.ask()
    assert [one.status for one in world.cloud.certificates.values()] == ["INACTIVE"]
