"""A certificate that is not ready within the budget: the issuer works, AWS throttles, or a call fails."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady, require_same_request
from secretfree.issuance.pipeline import issue
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId
from support.fake_cloud import FakeCloud, Fault, client_error
from support.world import World, refused, verified_csr

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


def test_a_certificate_being_made_is_waited_for_from_tens_of_milliseconds_on() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 3
    start = world.clock.monotonic()
    assert isinstance(world.ask(), IssuedCertificate)
    assert world.clock.monotonic() - start < 0.2


def test_a_warm_worker_looks_when_the_certificate_is_likely_there() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.signing = timedelta(seconds=1.2)
    for number in range(5):
        began = world.clock.monotonic()
        assert isinstance(world.ask(f"widget-{number}"), IssuedCertificate)
        assert world.clock.monotonic() - began <= 1.5
    looks = [order["looks"] for order in world.cloud.orders.values()]
    assert looks[0] <= 11
    assert max(looks[1:]) <= 3


def test_a_certificate_that_takes_longer_than_the_budget_ends_in_not_ready_and_is_taken_up_again() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 60
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
def test_a_device_that_keeps_failing_gets_429_at_the_cost_of_one_call_to_each_table(
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
