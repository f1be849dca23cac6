"""The pipeline: who gets which certificate, at what cost, and what is refused."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from secretfree.contract import IssuerKind, MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance import calls as runner
from secretfree.issuance.model import IssuedCertificate, NotReady, require_same_request
from secretfree.issuance.pipeline import issue
from secretfree.issuance.record import LEASE
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId
from support.fake_cloud import FakeCloud, Fault, InlineExecutor, Killed, client_error
from support.world import World, verified_csr

CALLS_BEFORE_ATTACHING = {IssuerKind.PRIVATE_CA: 9, IssuerKind.IOT_CORE: 6}
BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


def refused(ask: Callable[[], object]) -> SecretFreeError:
    with pytest.raises(SecretFreeError) as raised:
        ask()
    return raised.value


@BOTH
def test_the_answer_names_the_thing_and_the_certificate_that_iot_core_knows(kind: IssuerKind) -> None:
    world = World(kind)
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    assert answer.thing_name == "widget-1"
    assert world.cloud.certificates[answer.certificate_id].status == "ACTIVE"
    assert answer.not_after == world.clock.now() + timedelta(days=365)
    assert not answer.reused


@BOTH
def test_asking_again_costs_one_call_to_each_table_and_gives_the_same_certificate(kind: IssuerKind) -> None:
    world = World(kind)
    first = world.ask()
    world.cloud.calls.clear()
    again = world.ask()
    assert isinstance(first, IssuedCertificate)
    assert again == replace(first, reused=True)
    assert world.cloud.calls == ["GetItem", "PutItem"]


@BOTH
def test_a_lost_confirmation_is_repeated_by_the_next_request(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.always["TransactWriteItems"] = Fault.TIMED_OUT_BEFORE
    first = world.ask()
    assert world.record()["state"] == "issued"
    world.cloud.always.clear()
    world.clock.sleep(46)
    again = world.ask()
    assert isinstance(first, IssuedCertificate if kind is IssuerKind.PRIVATE_CA else NotReady)
    assert isinstance(again, IssuedCertificate)
    assert list(world.cloud.certificates) == [again.certificate_id]
    assert len(world.cloud.issued) == 1
    assert world.record()["state"] == "active"


def test_a_request_unanswered_and_then_refused_may_have_been_carried_out() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.faults = {3: Fault.TIMED_OUT_AFTER, 4: Fault.REFUSED}
    assert isinstance(world.ask(), NotReady)
    world.clock.sleep(3600)
    assert isinstance(world.ask(), IssuedCertificate)
    assert world.record()["generation"] == "2"
    assert len(world.cloud.issued) == 2


def test_what_is_taken_up_when_its_time_is_over_is_begun_anew() -> None:
    for number in (7, 8):  # its reference alone is recorded, or the certificate itself
        world = World(IssuerKind.PRIVATE_CA)
        world.cloud.faults[number] = Fault.KILLED_BEFORE
        with suppress(Killed):
            world.ask()
        world.quiesce()
        world.clock.sleep(timedelta(days=366).total_seconds())
        answer, _tries = world.ask_until_issued()
        assert answer.not_after > world.clock.now()
        world.quiesce()
        world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("key", [0, 1], ids=["same-key", "other-key"])
def test_a_certificate_that_exists_without_its_record_is_removed_even_years_later(kind: IssuerKind, key: int) -> None:
    world = World(kind)
    last_write = CALLS_BEFORE_ATTACHING[kind] - 2 if kind is IssuerKind.PRIVATE_CA else 5
    throttled = world.cloud.always
    world.cloud.before_call[last_write] = lambda: throttled.update(PutItem=Fault.THROTTLED)
    with suppress(SecretFreeError):
        world.ask()
    world.cloud.always.clear()
    assert len(world.cloud.certificates) == 1
    world.clock.sleep(timedelta(days=400).total_seconds())
    answer, _tries = world.ask_until_issued(key=key)
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


@BOTH
def test_coming_back_draws_only_on_the_quotas_of_what_is_left(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.always["AttachPolicy"] = Fault.THROTTLED
    assert isinstance(world.ask(), NotReady)
    world.cloud.always.clear()
    world.clock.sleep(5)
    world.cloud.calls.clear()
    assert isinstance(world.ask(), IssuedCertificate)
    line = ["GetItem"]
    leases = [*line, "GetItem", "GetItem", "PutItem", "GetItem"]
    left = [*leases, "DescribeCertificate", "AttachPolicy", "AttachThingPrincipal"]
    activation = ["UpdateCertificate"] if kind is IssuerKind.IOT_CORE else []
    assert world.cloud.calls == [*left, *activation, "TransactWriteItems"]


@BOTH
def test_a_thing_deleted_meanwhile_is_made_again(kind: IssuerKind) -> None:
    world = World(kind, groups=("all",))
    world.cloud.before_call[CALLS_BEFORE_ATTACHING[kind]] = world.cloud.things.clear
    assert isinstance(world.ask(), IssuedCertificate)
    world.quiesce()
    world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("key", [0, 1], ids=["renewed", "another-key"])
def test_a_thing_that_another_product_has_taken_since_is_not_taken_over(kind: IssuerKind, key: int) -> None:
    world = World(kind)
    world.ask()
    world.cloud.things["widget-1"] = {"type": "another-product", "attributes": {}}
    world.clock.sleep(timedelta(days=364).total_seconds())
    if key:
        assert refused(lambda: world.ask(key=key)).code is ErrorCode.CONFLICT
    else:  # the certificate that it has is good, and the renewal fails
        answer = world.ask()
        assert isinstance(answer, IssuedCertificate)
        assert getattr(answer.instead_of, "code", None) is ErrorCode.CONFLICT
        assert answer.certificate_id == world.record()["superseded"][len("[{'S': '") :][:64]
    assert len(world.cloud.certificates) == 1 + (kind is IssuerKind.IOT_CORE)
    world.quiesce()
    assert len(world.cloud.certificates) == 1


class DepthOfCalls(InlineExecutor):
    """How many calls the answer has to wait for one after another, whatever each of them takes.

    Work begun beside counts from where it began; a caller that waits for it continues from its end.
    """

    def __init__(self) -> None:
        self.depth = 0
        self._ends: dict[int, int] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        began = self.depth
        future = super().submit(fn, *args, **kwargs)
        self._ends[id(future)], self.depth = self.depth, began
        return future

    def wait(self, futures: Iterable[Future[Any]]) -> None:
        self.depth = max([self.depth, *(self._ends[id(future)] for future in futures)])


@BOTH
@pytest.mark.parametrize("groups", [(), ("a", "b")], ids=["no-group", "groups"])
def test_the_answer_waits_for_five_calls_in_a_row_and_the_same_again_for_one(
    kind: IssuerKind, groups: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the authorizer's read: six, and two."""
    calls = DepthOfCalls()

    class CountingCloud(FakeCloud):
        def call(self, operation: str, act: Callable[[], Any]) -> Any:
            calls.depth += 1
            return super().call(operation, act)

    monkeypatch.setattr(runner, "wait", calls.wait)
    world = World(kind, cloud=CountingCloud(), executor=calls, groups=groups)
    assert isinstance(world.ask(), IssuedCertificate)
    assert calls.depth == 5
    calls.depth = 0
    assert isinstance(world.ask(), IssuedCertificate)
    assert calls.depth == 1


@BOTH
def test_each_step_is_measured_by_its_name(kind: IssuerKind) -> None:
    world = World(kind)
    measured: list[str] = []

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        measured.append(name)
        yield

    world.ports = replace(world.ports, stage=stage)
    world.ask()
    collected = ["collect"] if kind is IssuerKind.PRIVATE_CA else []
    assert measured == ["request", *collected, "install", "attach"]


@BOTH
def test_two_hundred_requests_at_once_get_one_certificate_or_are_told_to_wait(kind: IssuerKind) -> None:
    with ThreadPoolExecutor(max_workers=6) as inner, ThreadPoolExecutor(max_workers=40) as devices:
        world = World(kind, executor=inner)
        verified_csr("widget-1")
        outcomes = list(devices.map(lambda _: world.ask(), range(200)))
    certificates = {outcome.certificate_id for outcome in outcomes if isinstance(outcome, IssuedCertificate)}
    waiting = [outcome for outcome in outcomes if isinstance(outcome, NotReady)]
    assert len(world.cloud.issued) == 1
    assert certificates == set(world.cloud.certificates)
    assert all(outcome.reason is Reason.LEASE_HELD and outcome.retry_after >= 1 for outcome in waiting)


@BOTH
def test_two_workers_that_take_over_the_same_record_at_once_do_not_both_go_on(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.always["CreateThing"] = Fault.THROTTLED
    assert isinstance(world.ask(), NotReady)
    world.cloud.always.clear()
    world.clock.sleep(5)
    world.cloud.calls.clear()
    world.cloud.before_call[4] = world.ask  # the rival takes the lease between this worker's look and its write
    outcome = world.ask()
    assert isinstance(outcome, NotReady)
    assert outcome.reason is Reason.LEASE_HELD
    assert len(world.cloud.issued) == 1


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
def test_a_certificate_that_never_got_its_policy_goes_when_another_key_is_enrolled(kind: IssuerKind) -> None:
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


@BOTH
def test_a_thing_of_another_type_is_not_taken_over_and_costs_one_certificate_at_most(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    for _ in range(3):
        error = refused(world.ask)
        assert (error.code, error.reason) == (ErrorCode.CONFLICT, Reason.CONFLICTING_THING)
    assert world.cloud.things["widget-1"]["type"] == "boiler"
    assert len(world.cloud.issued) == 1
    world.quiesce()
    assert not world.cloud.certificates


@BOTH
def test_a_thing_of_our_type_with_other_attributes_is_ours(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.things["widget-1"] = {"type": "widget", "attributes": {"colour": "red"}}
    assert isinstance(world.ask(), IssuedCertificate)
    assert world.cloud.things["widget-1"]["attributes"] == {"colour": "red"}


def test_thing_groups_are_joined() -> None:
    world = World(IssuerKind.PRIVATE_CA, groups=("all-widgets", "new"))
    world.ask()
    assert world.cloud.groups == {"all-widgets": {"widget-1"}, "new": {"widget-1"}}


@BOTH
def test_the_first_key_is_bound_where_the_policy_asks_for_no_key(kind: IssuerKind) -> None:
    world = World(kind, match=MatchPolicy.UDID)
    assert isinstance(world.ask(key=0), IssuedCertificate)
    error = refused(lambda: world.ask(key=1))
    assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.KEY_MISMATCH)
    assert isinstance(world.ask(key=0), IssuedCertificate)
    assert len(world.cloud.issued) == 1


def test_a_certificate_being_made_is_waited_for_from_tens_of_milliseconds_on() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 3
    start = world.clock.monotonic()
    assert isinstance(world.ask(), IssuedCertificate)
    assert world.clock.monotonic() - start < 0.2


def test_a_certificate_that_takes_longer_than_the_budget_ends_in_not_ready_and_is_taken_up_again() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 40
    start = world.clock.monotonic()
    outcome = world.ask()
    assert isinstance(outcome, NotReady)
    assert outcome.reason is Reason.CERTIFICATE_PENDING
    assert world.clock.monotonic() - start <= world.budget
    assert isinstance(world.ask_until_issued()[0], IssuedCertificate)
    assert len(world.cloud.issued) == 1


def test_a_request_that_the_authority_gives_up_is_made_again_in_a_new_generation() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 1000
    assert isinstance(world.ask(), NotReady)
    world.cloud.failed_orders.update(world.cloud.orders)
    world.cloud.looks_until_ready = 0
    assert world.ask() == NotReady(retry_after=pytest.approx(5, abs=5), reason=Reason.UPSTREAM_REFUSED)  # type: ignore[arg-type]
    assert isinstance(world.ask(), IssuedCertificate)
    assert world.record()["generation"] == "2"


def test_the_token_is_repeated_while_it_holds_and_never_after() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.always["IssueCertificate"] = Fault.TIMED_OUT_AFTER
    assert isinstance(world.ask(), NotReady)
    world.clock.sleep(200)
    assert isinstance(world.ask(), NotReady)
    assert len(world.cloud.orders) == 1
    world.clock.sleep(60)
    world.cloud.always.clear()
    assert isinstance(world.ask(), IssuedCertificate)
    tokens = [order["IdempotencyToken"] for order in world.cloud.orders.values()]
    assert len(tokens) == len(set(tokens)) == 2
    assert all(token.isalnum() and len(token) == 36 for token in tokens)
    assert world.record()["generation"] == "2"


def test_without_a_free_search_result_the_lost_certificate_is_removed_by_the_sweeper() -> None:
    """A list that lags behind hides the lost certificate from the next request, but not for ever."""
    world = World(IssuerKind.IOT_CORE)
    world.cloud.always["CreateCertificateFromCsr"] = Fault.TIMED_OUT_AFTER
    assert isinstance(world.ask(), NotReady)
    world.cloud.always.clear()
    (lost,) = world.cloud.certificates.values()
    made = lost.created
    lost.created -= timedelta(days=1)
    world.clock.sleep(50)
    answer = world.ask()
    lost.created = made
    assert isinstance(answer, IssuedCertificate)
    assert answer.certificate_id != lost.certificate_id
    world.quiesce()
    assert set(world.cloud.certificates) == {answer.certificate_id}


def test_an_unanswered_request_that_must_not_be_repeated_keeps_its_lease() -> None:
    world = World(IssuerKind.IOT_CORE)
    world.cloud.faults[3] = Fault.TIMED_OUT_BEFORE
    assert isinstance(world.ask(), NotReady)
    world.clock.sleep(30)
    outcome = world.ask()
    assert isinstance(outcome, NotReady)
    assert outcome.reason is Reason.LEASE_HELD
    assert world.cloud.calls.count("CreateCertificateFromCsr") == 1


@BOTH
def test_an_answer_that_could_not_be_recorded_is_not_forgotten(kind: IssuerKind) -> None:
    """The thing takes the whole budget, and the one late try to record the certificate is throttled."""
    world = World(kind)
    world.cloud.before_call[4] = lambda: world.clock.sleep(20)
    world.cloud.faults[5] = Fault.THROTTLED
    with suppress(SecretFreeError):
        world.ask()
    assert "requested-at" in world.record()
    answer, _tries = world.ask_until_issued()
    world.quiesce()
    assert len(world.cloud.issued) == 1 + (kind is IssuerKind.IOT_CORE)
    assert list(world.cloud.certificates) == [answer.certificate_id]


@BOTH
def test_a_throttled_service_ends_in_not_ready_within_the_budget(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.always["CreateThing"] = Fault.THROTTLED
    start = world.clock.monotonic()
    outcome = world.ask()
    assert isinstance(outcome, NotReady)
    assert outcome.reason is Reason.THROTTLED
    assert outcome.retry_after >= 1
    assert world.clock.monotonic() - start <= world.budget


@BOTH
def test_under_lasting_throttling_a_worker_soon_tries_only_once(kind: IssuerKind) -> None:
    world = World(kind)
    operation = "IssueCertificate" if kind is IssuerKind.PRIVATE_CA else "CreateCertificateFromCsr"
    world.cloud.always[operation] = Fault.THROTTLED
    for number in range(30):
        world.ask(f"widget-{number}")
    before = world.cloud.calls.count(operation)
    world.ask("widget-30")
    assert world.cloud.calls.count(operation) - before <= 2


@BOTH
def test_without_time_left_nothing_is_begun(kind: IssuerKind) -> None:
    world = World(kind, budget=-1.0)
    error = refused(world.ask)
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, Reason.REGISTRY_UNAVAILABLE)
    assert world.cloud.calls == []


@BOTH
def test_time_that_runs_out_between_two_steps_ends_in_not_ready(kind: IssuerKind) -> None:
    world = World(kind)
    world.cloud.before_call[4] = lambda: world.clock.sleep(21)
    outcome = world.ask()
    assert isinstance(outcome, NotReady)
    assert outcome.reason is Reason.DEADLINE or kind is IssuerKind.IOT_CORE
    assert isinstance(world.ask_until_issued()[0], IssuedCertificate)
    assert len(world.cloud.issued) == 1


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE])
def test_without_the_ledger_nothing_is_issued(kind: IssuerKind, fault: Fault) -> None:
    world = World(kind)
    world.cloud.always["PutItem"] = fault
    error = refused(world.ask)
    assert error.code is ErrorCode.UNAVAILABLE
    assert error.retry_after is not None
    assert error.retry_after > 1
    assert not world.cloud.issued


@BOTH
def test_a_device_that_keeps_failing_is_told_that_it_asks_too_often_at_the_cost_of_one_call_to_each_table(
    kind: IssuerKind,
) -> None:
    world = World(kind)
    world.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    codes = [refused(world.ask).code for _ in range(15)]
    assert codes[:10] == [ErrorCode.CONFLICT] * 10
    assert codes[10:] == [ErrorCode.TOO_MANY_REQUESTS] * 5
    world.cloud.calls.clear()
    error = refused(world.ask)
    assert world.cloud.calls == ["GetItem", "PutItem"]
    assert error.retry_after is not None
    world.clock.sleep(error.retry_after)
    assert refused(world.ask).code is ErrorCode.CONFLICT


@BOTH
def test_a_request_other_than_the_authorized_one_is_refused_before_any_call(kind: IssuerKind) -> None:
    world = World(kind)
    csr = verified_csr("widget-1")
    other = verified_csr("widget-1", key=1)
    authorized = AuthorizedDevice(DeviceId.parse("widget-1"), csr.public_key.fingerprint, csr.digest)
    for device, request in (
        (authorized, other),
        (replace(authorized, fingerprint=other.public_key.fingerprint), csr),
    ):
        error = refused(lambda device=device, request=request: require_same_request(device, request))  # type: ignore[misc]
        assert (error.code, error.reason) == (ErrorCode.INVALID_REQUEST, Reason.DIGEST_MISMATCH)
    with pytest.raises(SecretFreeError):
        issue(authorized, other, ports=world.ports, policy=world.policy, clock=world.clock, deadline=2000.0)
    assert world.cloud.calls == []


@BOTH
def test_an_unexpected_failure_is_raised_and_leaves_the_lease_free(
    kind: IssuerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(kind)
    with monkeypatch.context() as patched:
        patched.setattr(world.things, "attachments", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.ask()
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 1


@BOTH
def test_a_record_that_vanishes_between_the_write_and_the_look_is_asked_for_again(kind: IssuerKind) -> None:
    world = World(kind)
    world.ask()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeCloud, "call", _condition_fails_on_nothing)
        outcome = world.ask()
    assert isinstance(outcome, NotReady)


def _condition_fails_on_nothing(_cloud: FakeCloud, operation: str, act: Callable[[], object]) -> object:
    if operation == "GetItem":
        return act()
    raise client_error(operation, "ConditionalCheckFailedException")


@BOTH
def test_the_ledger_holds_nothing_that_is_secret(kind: IssuerKind) -> None:
    world = World(kind)
    world.ask()
    text = json.dumps(list(world.cloud.items.values()))
    assert "PRIVATE KEY" not in text
    assert "CERTIFICATE REQUEST" not in text


# --- what the issuer asks the registry itself ---


def issuing_calls(world: World) -> set[str]:
    return set(world.cloud.calls) - {"GetItem", "PutItem"}


@BOTH
@pytest.mark.parametrize("match", list(MatchPolicy))
@pytest.mark.parametrize(
    ("key", "attributes", "reason"),
    [
        (None, {}, Reason.UNKNOWN_DEVICE),
        (0, {"status": "blocked"}, Reason.BLOCKED_DEVICE),
        (0, {"status": "whatever"}, Reason.REGISTRY_RECORD),
        (1, {}, Reason.KEY_MISMATCH),
    ],
    ids=["never-enrolled", "blocked-since", "unreadable", "another-key"],
)
def test_the_word_of_the_caller_alone_issues_nothing(
    kind: IssuerKind, match: MatchPolicy, key: int | None, attributes: dict[str, str], reason: Reason
) -> None:
    if match is MatchPolicy.UDID and reason is Reason.KEY_MISMATCH:
        pytest.skip("this policy compares no key with the registry's")
    world = World(kind, match=match)
    if key is not None:
        world.cloud.enroll("widget-1", verified_csr("widget-1", key).public_key.fingerprint, **attributes)
    for _ in range(2):
        error = refused(world.ask_as_enrolled)
        assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, reason)
    assert issuing_calls(world) == set()
    assert world.record()["state"] == "abandoned"
    assert "pending" not in world.record()
    assert ("widget-1", "binding") not in world.items
    assert isinstance(world.ask(), IssuedCertificate)


@BOTH
def test_a_device_blocked_after_its_certificate_was_issued_is_not_answered_with_it(kind: IssuerKind) -> None:
    world = World(kind)
    world.ask()
    world.cloud.enroll("widget-1", verified_csr("widget-1").public_key.fingerprint, status="blocked")
    assert refused(world.ask_as_enrolled).reason is Reason.BLOCKED_DEVICE


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE])
def test_without_the_registry_nothing_is_issued_and_the_device_hears_when_to_ask_again(
    kind: IssuerKind, fault: Fault
) -> None:
    world = World(kind)
    world.cloud.always["GetItem"] = fault
    error = refused(world.ask)
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, Reason.REGISTRY_UNAVAILABLE)
    assert error.retry_after is not None
    assert issuing_calls(world) == set()
    world.cloud.always.clear()
    assert isinstance(world.ask(), IssuedCertificate)


@BOTH
def test_where_the_request_s_subject_is_copied_its_common_name_is_the_device_s_id(kind: IssuerKind) -> None:
    """Under PUBLIC_KEY the common name may be anything; the IoT Core CA would certify it."""
    world = World(kind, match=MatchPolicy.PUBLIC_KEY)
    csr = verified_csr("someone-else")
    world.cloud.enroll("widget-1", csr.public_key.fingerprint)
    authorized = AuthorizedDevice(DeviceId.parse("widget-1"), csr.public_key.fingerprint, csr.digest)

    def ask() -> object:
        return issue(authorized, csr, ports=world.ports, policy=world.policy, clock=world.clock, deadline=2000.0)

    if kind is IssuerKind.IOT_CORE:
        error = refused(ask)
        assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.DEVICE_ID)
        assert issuing_calls(world) == set()
    else:
        assert isinstance(ask(), IssuedCertificate)


# --- what IoT Core says of a recorded certificate ---


@BOTH
def test_a_recorded_certificate_is_verified_against_iot_core_at_most_once_a_day(kind: IssuerKind) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    for _day in range(3):
        world.clock.sleep(timedelta(hours=25).total_seconds())
        world.cloud.calls.clear()
        assert [world.ask() for _ in range(4)] == [replace(first, reused=True)] * 4
        assert world.cloud.calls.count("DescribeCertificate") == 1
    world.cloud.calls.clear()
    world.ask("widget-2")
    assert "DescribeCertificate" not in world.cloud.calls


@BOTH
@pytest.mark.parametrize("status", ["REVOKED", "INACTIVE", None])
def test_a_certificate_deleted_or_taken_out_of_use_is_not_handed_out_for_good(
    kind: IssuerKind, status: str | None
) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    if status is None:
        world.cloud.remove(first.certificate_id)
    else:
        world.cloud.certificates[first.certificate_id].status = status
    world.clock.sleep(timedelta(hours=25).total_seconds())
    world.cloud.calls.clear()
    for _ in range(3):
        assert refused(world.ask).code is ErrorCode.NOT_AUTHORIZED
    assert world.cloud.calls.count("DescribeCertificate") == 1
    record = world.ports.ledger.read(DeviceId.parse("widget-1"), kind.value)  # type: ignore[attr-defined]
    world.ports.ledger.write(record.reopened(world.clock.now()))
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 2


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE, Fault.REFUSED])
def test_while_iot_core_does_not_answer_the_ledger_is_believed(kind: IssuerKind, fault: Fault) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep(timedelta(hours=25).total_seconds())
    world.cloud.always["DescribeCertificate"] = fault
    assert world.ask() == replace(first, reused=True)
