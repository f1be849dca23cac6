"""What one Region issues or revokes becomes so in the other, whatever fails, and however often it is delivered."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.following.following import REGISTRY_PATIENCE, FollowOutcome
from secretfree.issuance.model import IssuedCertificate
from secretfree.request.device_id import DeviceId
from support.consumer_scenes import after_a_connect, after_a_revocation, after_an_issuance, issued
from support.fake_cloud import Fault
from support.retiring import Retirer
from support.two_regions import Region, TwoRegions

BOTH_KINDS = pytest.mark.parametrize("one_ca", [True, False], ids=["one CA", "a CA each"])
DEVICE = DeviceId.parse("widget-1")


def provisioned(one_ca: bool) -> tuple[TwoRegions, IssuedCertificate]:
    """A device that has asked in one Region, whose announcement has arrived in the other."""
    both = TwoRegions(one_ca=one_ca)
    both.enrol()
    answer = issued(both.here)
    both.replicate()
    return both, answer


@BOTH_KINDS
def test_a_certificate_of_one_region_may_connect_in_the_other_which_answers_with_it(one_ca: bool) -> None:
    both, answer = provisioned(one_ca)
    done = both.there.follow()
    assert (done.outcome, done.certificate_id) == (FollowOutcome.REGISTERED, answer.certificate_id)
    assert both.there.active() == {answer.certificate_id}
    again = issued(both.there)
    assert again.reused
    assert again.certificate_pem == answer.certificate_pem
    assert len(both.there.world.cloud.issued) == 0
    assert both.there.announced() == {("widget-1", "eu-central-1#private-ca")}


@BOTH_KINDS
def test_a_certificate_whose_chain_is_not_replicated_yet_waits_for_it(one_ca: bool) -> None:
    both, answer = provisioned(one_ca)
    replica = both.there.world.cloud.other_ledgers["announcements"]
    (late,) = [key for key in replica if key not in both.there.announced()]
    del replica[late]
    with pytest.raises(SecretFreeError) as raised:
        both.there.follow()
    assert (raised.value.code, raised.value.reason) == (ErrorCode.UNAVAILABLE, Reason.LEDGER_RECORD)
    assert both.there.active() == set()
    assert ("widget-1", "issuance#private-ca") not in both.there.world.items
    both.replicate()
    assert both.there.follow().outcome is FollowOutcome.REGISTERED
    again = issued(both.there)
    assert (again.certificate_id, again.chain_pem) == (answer.certificate_id, answer.chain_pem)


@BOTH_KINDS
def test_a_region_that_has_a_chain_needs_no_replica_of_it(one_ca: bool) -> None:
    both, answer = provisioned(one_ca)
    both.there.follow()
    both.enrol("widget-2")
    both.here.world.ask_as_enrolled("widget-2")
    both.replicate()
    replica = both.there.world.cloud.other_ledgers["announcements"]
    for key in replica.keys() - both.there.announced():
        del replica[key]
    assert both.there.follow("widget-2").outcome is FollowOutcome.REGISTERED
    again = both.there.world.ask_as_enrolled("widget-2")
    assert isinstance(again, IssuedCertificate)
    assert again.chain_pem == answer.chain_pem


def test_a_connect_announces_the_chain_of_a_certificate_that_was_recorded_before_there_were_other_regions() -> None:
    both = TwoRegions(one_ca=False)
    both.enrol()
    issued(both.here)
    both.here.world.cloud.other_ledgers["announcements"].clear()  # as with a ledger of one Region
    both.clock.sleep(timedelta(days=350).total_seconds())
    answer = issued(both.here)
    both.here.world.cloud.other_ledgers["announcements"].clear()
    retirer = Retirer(both.here.world)
    retirer.connect(answer.certificate_id)
    retirer.deliver()
    both.replicate()
    assert both.there.follow().outcome is FollowOutcome.REGISTERED
    assert issued(both.there).chain_pem == answer.chain_pem


@BOTH_KINDS
def test_a_repeated_announcement_changes_nothing(one_ca: bool) -> None:
    both, _ = provisioned(one_ca)
    both.there.follow()
    calls = len(both.there.world.cloud.calls)
    assert both.there.follow().outcome is FollowOutcome.NOTHING
    assert set(both.there.world.cloud.calls[calls:]) == {"Query", "GetItem"}


@BOTH_KINDS
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("event", [after_an_issuance, after_a_revocation, after_a_connect])
def test_whatever_call_fails_the_end_is_the_same(
    one_ca: bool, fault: Fault, event: Callable[[TwoRegions], set[str]]
) -> None:
    number = 1
    while True:
        both = TwoRegions(one_ca=one_ca)
        both.enrol()
        active = event(both)
        both.replicate()
        cloud = both.there.world.cloud
        begun = len(cloud.calls)
        cloud.faults[begun + number] = fault
        both.there.follow_until_done()
        if cloud.faults:
            break  # there are fewer calls
        both.there.follow_until_done()  # delivered again
        both.there.world.quiesce()
        assert both.there.active() == active, number
        number += 1
    assert number > 3


@BOTH_KINDS
@pytest.mark.parametrize("at_home", [True, False])
def test_a_connect_with_a_renewed_certificate_retires_the_old_one_in_both_regions(one_ca: bool, at_home: bool) -> None:
    both, first = provisioned(one_ca)
    both.there.follow()
    both.clock.sleep_until(first.renew_after)
    second = issued(both.here).certificate_id
    both.replicate()
    both.there.follow()
    region, other = (both.here, both.there) if at_home else (both.there, both.here)
    retirer = Retirer(region.world)
    assert retirer.connect(second)
    retirer.deliver()
    both.replicate()
    assert other.active() == {first.certificate_id, second}
    done = other.follow()
    assert (done.outcome, done.certificate_id) == (FollowOutcome.RETIRED, second)
    assert both.here.active() == both.there.active() == {second}
    assert other.follow().outcome is FollowOutcome.NOTHING


def calls_of_a_following(one_ca: bool) -> int:
    both, _ = provisioned(one_ca)
    begun = len(both.there.world.cloud.calls)
    both.there.follow()
    return len(both.there.world.cloud.calls) - begun


@BOTH_KINDS
def test_a_block_at_any_moment_of_it_leaves_nothing_active(one_ca: bool) -> None:
    for number in range(1, calls_of_a_following(one_ca) + 1):
        both, _ = provisioned(one_ca)
        cloud = both.there.world.cloud

        def block(region: Region = both.there) -> None:
            region.revoker.block()
            region.revoker.deliver()

        cloud.before_call[len(cloud.calls) + number] = block
        both.there.follow_until_done()
        both.there.world.quiesce()
        assert both.there.active() == set(), number


@BOTH_KINDS
def test_a_device_that_asks_in_both_at_once_has_one_current_certificate_in_the_end(one_ca: bool) -> None:
    both = TwoRegions(one_ca=one_ca)
    both.enrol()
    answers = {issued(region).certificate_id for region in both.regions}
    assert len(answers) == (1 if one_ca else 2)
    both.converge()
    current = {issued(region).certificate_id for region in both.regions}
    assert len(current) == 1
    assert current <= answers
    if one_ca:
        assert both.here.active() == both.there.active() == current


@BOTH_KINDS
def test_a_renewal_follows_and_the_old_certificate_stays_until_its_end(one_ca: bool) -> None:
    both, first = provisioned(one_ca)
    both.there.follow()
    both.clock.sleep_until(first.renew_after)
    second = issued(both.there)
    assert second.certificate_id != first.certificate_id
    both.replicate()
    assert both.here.follow().outcome is FollowOutcome.REGISTERED
    assert both.here.active() == both.there.active() == {first.certificate_id, second.certificate_id}
    assert issued(both.here).certificate_id == second.certificate_id
    both.clock.sleep_until(first.not_after + timedelta(minutes=1))
    for region in both.regions:
        region.world.quiesce()
        assert region.active() == {second.certificate_id}


@BOTH_KINDS
def test_a_certificate_that_one_region_took_out_of_use_is_so_in_the_other(one_ca: bool) -> None:
    both, answer = provisioned(one_ca)
    both.there.follow()
    both.there.world.cloud.connected.add("widget-1")
    both.here.world.cloud.revoke(answer.certificate_id)
    both.pass_time(timedelta(days=2))
    with pytest.raises(SecretFreeError):
        both.here.world.ask_as_enrolled()
    both.replicate()
    assert both.there.follow().outcome is FollowOutcome.REVOKED
    assert both.there.active() == set()
    assert both.there.world.cloud.connected == set()
    with pytest.raises(SecretFreeError):
        both.there.world.ask_as_enrolled()


@BOTH_KINDS
def test_a_blocked_device_has_nothing_in_either_region_and_enrols_anew_after_the_unblock(one_ca: bool) -> None:
    both, first = provisioned(one_ca)
    both.converge()
    both.enrol(status="blocked")
    both.converge()
    assert both.here.active() == both.there.active() == set()
    both.enrol()
    second = issued(both.there)
    assert second.certificate_id != first.certificate_id
    both.converge()
    assert both.here.active() == both.there.active() == {second.certificate_id}


def test_a_registry_that_is_behind_is_awaited_and_one_that_never_has_the_device_is_believed() -> None:
    both = TwoRegions(one_ca=True)
    both.here.revoker.enrol()
    answer = issued(both.here)
    both.replicate()
    with pytest.raises(SecretFreeError, match="does not permit"):
        both.there.follow()
    both.there.revoker.enrol()
    assert both.there.follow().certificate_id == answer.certificate_id

    both = TwoRegions(one_ca=True)
    both.here.revoker.enrol()
    issued(both.here)
    both.replicate()
    both.pass_time(REGISTRY_PATIENCE)
    assert both.there.follow().outcome is FollowOutcome.NOT_PERMITTED
    assert both.there.active() == set()


def test_a_device_that_a_worker_here_is_issuing_to_is_left_to_it() -> None:
    both = TwoRegions(one_ca=False)
    both.enrol()
    both.there.world.cloud.always["IssueCertificate"] = Fault.KILLED_AFTER
    with pytest.raises(BaseException):  # noqa: B017, PT011 - the process is gone
        both.there.world.ask_as_enrolled()
    both.there.world.cloud.always.clear()
    answer = issued(both.here)
    both.replicate()
    with pytest.raises(SecretFreeError, match="issuing to the device"):
        both.there.follow()
    both.there.follow_until_done()
    assert both.there.active() == {answer.certificate_id}


def test_regions_that_share_a_ca_and_are_behind_by_more_than_its_token_end_with_one_certificate() -> None:
    both, first = provisioned(one_ca=True)
    both.pass_time(timedelta(minutes=6))
    second = issued(both.there)
    assert second.certificate_id != first.certificate_id
    both.converge()
    (current,) = {issued(region).certificate_id for region in both.regions}
    for region in both.regions:
        retirer = Retirer(region.world)
        assert retirer.connect(current)
        retirer.deliver()
    both.converge()
    assert both.here.active() == both.there.active() == {current}


def test_a_region_that_is_ahead_refuses_an_older_certificate_and_gives_the_device_its_own() -> None:
    both = TwoRegions(one_ca=True)
    both.enrol()
    older = issued(both.here).certificate_id
    both.clock.sleep_until(issued(both.there).renew_after)
    own = issued(both.there).certificate_id
    both.replicate(both.here)
    assert both.there.follow().outcome is FollowOutcome.NOTHING
    assert own in both.there.active()
    renewed = issued(both.there)
    assert (renewed.certificate_id, renewed.reused) == (own, True)
    both.converge()
    assert issued(both.here).certificate_id == own
    assert older in both.here.active(), "good until the device connects with the newer one"
