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
from secretfree.issuance.model import IssuedCertificate, NotReady
from support.fake_cloud import FakeCloud, Fault, InlineExecutor, Killed
from support.world import World, refused, verified_csr

CALLS_BEFORE_ATTACHING = {IssuerKind.PRIVATE_CA: 9, IssuerKind.IOT_CORE: 6}
BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


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
    queue = ["GetItem"]
    leases = [*queue, "GetItem", "GetItem", "PutItem", "GetItem"]
    left = [*leases, "DescribeCertificate", "AttachPolicy", "AttachThingPrincipal"]
    activation = ["UpdateCertificate"] if kind is IssuerKind.IOT_CORE else []
    chain = ["GetItem", "PutItem"] if kind is IssuerKind.PRIVATE_CA else []  # the first one of this worker
    assert world.cloud.calls == [*left, *activation, *chain, "TransactWriteItems"]


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
def test_two_hundred_requests_at_once_get_one_certificate_or_must_wait(kind: IssuerKind) -> None:
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


@BOTH
def test_the_ledger_holds_nothing_that_is_secret(kind: IssuerKind) -> None:
    world = World(kind)
    world.ask()
    text = json.dumps(list(world.cloud.items.values()))
    assert "PRIVATE KEY" not in text
    assert "CERTIFICATE REQUEST" not in text
