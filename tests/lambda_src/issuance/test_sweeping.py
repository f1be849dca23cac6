"""The sweeper: what it finishes, rolls back, clears away, and leaves alone."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from secretfree.adapters.issuers.iot_core import SearchBounds
from secretfree.contract import IssuerKind
from secretfree.errors import Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.ports import StillAttachedError
from secretfree.issuance.sweeping import SweepOutcome, sweep
from secretfree.request.device_id import DeviceId
from support.fake_cloud import Fault, Killed
from support.world import World, verified_csr

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


def stopped(kind: IssuerKind, operation: str, fault: Fault = Fault.KILLED_BEFORE) -> World:
    """A world whose device's first request ended at `operation`."""
    world = World(kind)
    world.cloud.always[operation] = fault
    with suppress(Killed):
        world.ask()
    world.cloud.always.clear()
    world.cloud.calls.clear()
    return world


@BOTH
def test_nothing_is_due_while_a_worker_may_be_alive(kind: IssuerKind) -> None:
    world = stopped(kind, "AttachPolicy")
    report = world.sweep(after=timedelta(seconds=44))
    assert not report.outcomes
    assert set(world.cloud.calls) == {"Query"}


@BOTH
def test_what_was_answered_but_not_confirmed_is_finished(kind: IssuerKind) -> None:
    world = stopped(kind, "TransactWriteItems")
    report = world.sweep(after=timedelta(minutes=1))
    assert report.outcomes == {SweepOutcome.FINISHED: 1}
    assert world.record()["state"] == "active"
    world.require_invariants_at_quiescence()


def test_a_reference_is_kept_for_the_device_at_no_cost() -> None:
    world = stopped(IssuerKind.PRIVATE_CA, "GetCertificate")
    report = world.sweep(after=timedelta(minutes=10))
    assert report.outcomes == {SweepOutcome.PARKED: 1}
    assert not world.cloud.certificates
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 1


def test_a_certificate_that_was_recorded_but_not_registered_is_kept_for_the_device() -> None:
    world = stopped(IssuerKind.PRIVATE_CA, "RegisterCertificate", Fault.THROTTLED)
    report = world.sweep(after=timedelta(minutes=10))
    assert report.outcomes == {SweepOutcome.PARKED: 1}
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 1


def test_an_inactive_certificate_is_never_activated_but_rolled_back() -> None:
    world = stopped(IssuerKind.IOT_CORE, "UpdateCertificate")
    report = world.sweep(after=timedelta(minutes=1))
    assert report.outcomes == {SweepOutcome.ROLLED_BACK: 1}
    assert not world.cloud.certificates
    assert not world.cloud.ever_active
    assert isinstance(world.ask(), IssuedCertificate)


def test_a_certificate_that_someone_deactivated_stays_so() -> None:
    world = stopped(IssuerKind.PRIVATE_CA, "AttachPolicy")
    (certificate,) = world.cloud.certificates.values()
    certificate.status = "INACTIVE"
    report = world.sweep(after=timedelta(minutes=1))
    assert report.outcomes == {SweepOutcome.REVOKED: 1}
    assert certificate.status == "INACTIVE"
    assert world.record()["state"] == "revoked"


def test_an_unanswered_request_is_left_to_the_device_while_its_token_holds() -> None:
    world = stopped(IssuerKind.PRIVATE_CA, "IssueCertificate", Fault.KILLED_AFTER)
    assert world.sweep(after=timedelta(minutes=1)).outcomes == {SweepOutcome.POSTPONED: 1}
    assert world.sweep(after=timedelta(minutes=5)).outcomes == {SweepOutcome.ROLLED_BACK: 1}
    assert world.record()["state"] == "abandoned"
    assert "expires-at" in world.record()


def test_an_orphan_is_deleted_and_no_other_device_s_certificate_with_it() -> None:
    world = stopped(IssuerKind.IOT_CORE, "CreateCertificateFromCsr", Fault.KILLED_AFTER)
    other = World(IssuerKind.IOT_CORE)
    other.cloud.always["UpdateCertificate"] = Fault.THROTTLED
    other.ask("widget-2")
    (bystander,) = other.cloud.certificates.values()
    world.cloud.certificates[bystander.certificate_id] = bystander
    report = world.sweep(after=timedelta(minutes=5))
    assert report.outcomes == {SweepOutcome.ROLLED_BACK: 1}
    assert report.orphans == 1
    assert list(world.cloud.certificates) == [bystander.certificate_id]


@BOTH
def test_a_throttled_sweep_stops_and_leaves_the_record_for_another_time(kind: IssuerKind) -> None:
    world = stopped(kind, "AttachPolicy")
    world.cloud.always["DescribeCertificate"] = Fault.THROTTLED
    report = world.sweep(after=timedelta(minutes=1))
    assert not report.complete
    (failure,) = report.failures
    assert failure.startswith("DescribeCertificate: ThrottlingException; the account's quota of DescribeCertificate")
    assert "lease-owner" not in world.record()
    world.quiesce()
    world.require_invariants_at_quiescence()


def test_what_aws_refuses_does_not_stand_before_the_others() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    for name in ("widget-1", "widget-2"):
        world.cloud.always["TransactWriteItems"] = Fault.KILLED_BEFORE
        with suppress(Killed):
            world.ask(name)
    world.cloud.always.clear()
    world.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    report = world.sweep(after=timedelta(minutes=1))
    assert report.outcomes == {SweepOutcome.STUCK: 1, SweepOutcome.FINISHED: 1}
    assert "boiler" in report.failures[0]
    assert world.sweep(after=timedelta(minutes=5)).outcomes == {}


@BOTH
def test_what_cannot_be_cleared_away_is_tried_again_later(kind: IssuerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(kind)
    old = world.ask(key=0)
    new = world.ask(key=1)
    assert isinstance(old, IssuedCertificate)
    assert isinstance(new, IssuedCertificate)
    world.cloud.certificates[old.certificate_id].things["someone-else-s"] = "NON_EXCLUSIVE_THING"
    assert world.sweep().outcomes == {SweepOutcome.POSTPONED: 1}  # it may just not be detached yet
    report = world.sweep(after=timedelta(minutes=2))
    assert report.outcomes == {SweepOutcome.STUCK: 1}
    assert world.cloud.certificates[old.certificate_id].status == "INACTIVE"
    again = world.ask(key=1)
    assert isinstance(again, IssuedCertificate)
    assert again.certificate_id == new.certificate_id
    world.cloud.certificates[old.certificate_id].things.clear()
    assert world.sweep(after=timedelta(hours=2)).retired == 1


@BOTH
def test_the_sweeper_yields_to_a_device_that_comes_back_first(kind: IssuerKind) -> None:
    world = stopped(kind, "AttachPolicy")
    world.clock.sleep(60)
    # Sixteen queries, one for each shard, and the read come first; then the sweeper's own claim.
    world.cloud.before_call[len(world.cloud.calls) + 18] = world.ask
    report = world.sweep()
    assert report.outcomes[SweepOutcome.OVERTAKEN] == 1
    assert world.record()["state"] == "active"


@BOTH
def test_a_run_is_bounded_by_its_deadline(kind: IssuerKind) -> None:
    world = stopped(kind, "AttachPolicy")
    world.clock.sleep(60)
    report = sweep(ports=world.ports, policy=world.policy, clock=world.clock, deadline=world.clock.monotonic())
    assert not report.complete
    assert world.cloud.calls == []


@BOTH
def test_a_certificate_still_being_detached_is_deleted_a_minute_later_and_no_other_waits_for_it(
    kind: IssuerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(kind)
    for key in (0, 1, 2):
        world.ask(key=key)
    first, second, present = world.cloud.certificates
    retire = world.things.retire

    def slowly(device_id: DeviceId, certificate_id: str) -> None:
        if certificate_id == first and world.cloud.certificates[first].status == "ACTIVE":
            world.cloud.certificates[first].status = "INACTIVE"
            raise StillAttachedError(first)
        retire(device_id, certificate_id)

    monkeypatch.setattr(world.things, "retire", slowly)
    assert world.sweep(after=timedelta(hours=2)).failures == ()
    assert second not in world.cloud.certificates
    assert world.sweep(after=timedelta(minutes=1)).failures == ()
    assert set(world.cloud.certificates) == {present}


def test_what_a_long_search_finds_is_left_alone_where_the_device_came_back_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The search outlasts the lease; the device has been given another certificate meanwhile."""
    world = stopped(IssuerKind.IOT_CORE, "CreateCertificateFromCsr", Fault.KILLED_AFTER)
    search = world.ports.issuer.search()
    find = search.find
    answers: list[IssuedCertificate | NotReady] = []

    def slowly(*arguments: Any, **named: Any) -> Any:
        found = find(*arguments, **named)
        if not answers:
            world.clock.sleep(50)
            answers.append(world.ask())
        return found

    monkeypatch.setattr(search, "find", slowly)
    monkeypatch.setattr(world.ports.issuer, "search", lambda: search)
    report = world.sweep(after=timedelta(minutes=5))
    (answer,) = answers
    assert isinstance(answer, IssuedCertificate)
    assert report.outcomes[SweepOutcome.OVERTAKEN] == 1
    monkeypatch.undo()
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


@pytest.mark.parametrize("comes_back_with", [None, 0, 1], ids=["never", "the-same-key", "another-key"])
def test_a_certificate_registered_while_its_record_failed_is_accounted_for(comes_back_with: int | None) -> None:
    world = World(IssuerKind.PRIVATE_CA)
    throttled = world.cloud.always
    world.cloud.before_call[7] = lambda: throttled.update(PutItem=Fault.THROTTLED)
    with suppress(SecretFreeError):
        world.ask()
    world.cloud.always.clear()
    assert world.record()["state"] == "requested"
    assert len(world.cloud.certificates) == 1
    if comes_back_with is not None:
        world.clock.sleep(60)
        world.ask_until_issued(key=comes_back_with)
    world.quiesce()
    assert len(world.cloud.certificates) == 1
    world.require_invariants_at_quiescence()


@BOTH
def test_a_record_that_cannot_be_cleared_for_throttling_is_not_the_first_again(kind: IssuerKind) -> None:
    world = World(kind)
    for device in ("widget-1", "widget-2"):
        world.ask(device, key=0)
        world.ask(device, key=1)
        world.clock.sleep(1)
    world.cloud.always["DescribeCertificate"] = Fault.THROTTLED
    assert not world.sweep().complete
    world.cloud.always.clear()
    assert world.sweep().retired == 1  # the other one's
    assert world.sweep(after=timedelta(minutes=6)).retired == 1


def test_what_aws_refuses_for_one_record_ends_no_run() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    for device in ("widget-1", "widget-2"):
        world.cloud.faults[len(world.cloud.calls) + 10] = Fault.KILLED_BEFORE
        with suppress(Killed):
            world.ask(device)
        world.clock.sleep(1)
    world.clock.sleep(60)
    world.cloud.faults[len(world.cloud.calls) + 16 + 2 + 1] = Fault.REFUSED  # the lease of the first
    report = world.sweep()
    assert report.outcomes == {SweepOutcome.STUCK: 1, SweepOutcome.FINISHED: 1}
    assert report.failures == ("PutItem: AccessDeniedException",)


def brown_out(devices: int, *, foreign: int = 0, **settings: Any) -> World:
    """Every device's request is carried out and none is answered, after `foreign` requests that are not ours."""
    world = World(IssuerKind.IOT_CORE, **settings)
    for number in range(foreign):
        world.cloud.client("iot").create_certificate_from_csr(
            certificateSigningRequest=verified_csr(f"foreign-{number}").pem(), setAsActive=False
        )
    world.clock.sleep(1)  # the search looks at the oldest first
    world.cloud.always["CreateCertificateFromCsr"] = Fault.TIMED_OUT_AFTER
    for number in range(devices):
        assert isinstance(world.ask(f"widget-{number}"), NotReady)
        world.clock.sleep(0.5)
    world.cloud.always.clear()
    return world


def test_after_a_brown_out_every_device_has_one_certificate_and_no_other_is_left() -> None:
    world = brown_out(45)
    devices = [f"widget-{number}" for number in range(len(world.cloud.certificates))]
    world.clock.sleep(60)
    answers = {device: world.ask_until_issued(device)[0].certificate_id for device in devices}
    world.quiesce()
    assert set(world.cloud.certificates) == set(answers.values())
    world.require_invariants_at_quiescence()


def test_the_sweeper_clears_away_what_a_brown_out_left_when_nobody_comes_back() -> None:
    world = brown_out(45)
    world.quiesce()
    assert world.cloud.certificates == {}


def test_a_sweep_lists_the_certificates_once_however_many_requests_were_lost() -> None:
    listings = []
    for lost in (5, 25):
        world = brown_out(lost)
        world.cloud.calls.clear()
        assert world.sweep(after=timedelta(minutes=5)).outcomes[SweepOutcome.ROLLED_BACK] == lost
        listings.append(world.cloud.calls.count("ListCertificates"))
    assert listings == [1, 1]


def test_a_search_too_wide_for_the_sweeper_is_reported_continues_next_time_and_delays_no_other() -> None:
    world = brown_out(25, foreign=12, bounds=SearchBounds(pages=1, lookups=10))
    foreign = set(list(world.cloud.certificates)[:12])
    report = world.sweep(after=timedelta(minutes=5))
    assert report.complete
    assert report.outcomes == {SweepOutcome.STUCK: 1, SweepOutcome.ROLLED_BACK: 24}
    assert "may be the lost one" in report.failures[0]
    world.quiesce()
    assert set(world.cloud.certificates) == foreign


DAMAGES = [
    {"state": {"S": "sleeping"}},
    {"version": {"N": "one"}},
    {"generation": {"S": "1"}},
    {"begun-at": {"N": "9" * 40}},
    {"key-fingerprint": {"NULL": True}},
    {"suspects": {"L": [{"S": "?"}]}},
]


@BOTH
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: next(iter(damage)))
def test_one_record_that_cannot_be_read_is_reported_set_aside_and_holds_up_no_other(
    kind: IssuerKind, damage: dict[str, Any]
) -> None:
    world = World(kind)
    for device in ("widget-1", "widget-2", "widget-3"):
        world.cloud.always["CreateThing"] = Fault.KILLED_BEFORE
        with suppress(Killed):
            world.ask(device)
    world.cloud.always.clear()
    world.cloud.items["widget-1", f"issuance#{kind.value}"] |= damage
    report = world.sweep(after=timedelta(minutes=10))
    assert report.complete
    assert report.outcomes[SweepOutcome.UNREADABLE] == 1
    assert sum(report.outcomes.values()) == 3
    assert "widget-1" in report.failures[0]
    assert SweepOutcome.UNREADABLE not in world.sweep(after=timedelta(hours=20)).outcomes
    assert world.sweep(after=timedelta(hours=5)).outcomes[SweepOutcome.UNREADABLE] == 1
    with pytest.raises(SecretFreeError) as raised:
        world.ask("widget-1")
    assert raised.value.reason is Reason.LEDGER_RECORD
    assert isinstance(world.ask_until_issued("widget-2")[0], IssuedCertificate)
