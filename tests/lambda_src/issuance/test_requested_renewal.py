"""An operator asks a device to renew: its next request does so, once, and nothing else changes for it."""

import json
from contextlib import suppress
from datetime import timedelta

import pytest
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import IssuerKind
from secretfree.errors import Reason, SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.request.device_id import DeviceId
from support.fake_cloud import Fault, Killed
from support.revoking import Revoker
from support.world import World

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


def request_renewal(world: World, job: str = "job-1") -> None:
    """As `secretfree renew` does."""
    ledger = DynamoDbLedger(world.cloud.client("dynamodb"), table=world.ledger)
    (record,) = ledger.issuances(DeviceId.parse("widget-1"))
    marked = record.renewal_requested(job, world.clock.now())  # type: ignore[union-attr]
    if marked != record:
        ledger.write(marked)  # type: ignore[arg-type]


def provisioned(kind: IssuerKind) -> tuple[World, str]:
    world = World(kind)
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    world.clock.sleep(86_400)
    return world, answer.certificate_id


def certificate_of(world: World) -> str:
    answer, _ = world.ask_until_issued()
    return answer.certificate_id


@BOTH
def test_the_next_request_renews_once_and_the_old_certificate_stays_good(kind: IssuerKind) -> None:
    world, old = provisioned(kind)
    request_renewal(world)
    new = certificate_of(world)
    assert new != old
    assert certificate_of(world) == new
    assert {one.status for one in world.cloud.certificates.values()} == {"ACTIVE"}
    world.quiesce()
    assert set(world.cloud.certificates) == {old, new}


@BOTH
def test_the_same_job_asks_once_and_another_one_anew(kind: IssuerKind) -> None:
    world, _ = provisioned(kind)
    request_renewal(world)
    new = certificate_of(world)
    request_renewal(world)
    assert certificate_of(world) == new, "a repeated command renews nothing twice"
    world.clock.sleep(86_400)
    request_renewal(world, "job-2")
    assert certificate_of(world) != new


@BOTH
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(3, 15))
def test_whatever_call_fails_the_device_renews_exactly_once(kind: IssuerKind, number: int, fault: Fault) -> None:
    world, old = provisioned(kind)
    request_renewal(world)
    world.cloud.faults[len(world.cloud.calls) + number] = fault
    with suppress(Killed, SecretFreeError):
        world.ask()
    world.cloud.faults.clear()
    world.clock.sleep(60)
    new, _ = world.ask_until_issued()
    world.clock.sleep(400)
    world.quiesce()
    last, _ = world.ask_until_issued()
    assert last.certificate_id != old
    world.quiesce()
    assert set(world.cloud.certificates) == {old, last.certificate_id}
    assert world.record()["renewal-job"] == "job-1"
    assert "renewal-requested-at" not in world.record()
    assert new.certificate_id in {old, last.certificate_id}


@BOTH
def test_a_request_for_a_renewal_lets_no_blocked_device_renew(kind: IssuerKind) -> None:
    world, old = provisioned(kind)
    revoker = Revoker(world)
    revoker.enrol()
    request_renewal(world)
    revoker.block()
    with pytest.raises(SecretFreeError) as refused:
        world.ask_as_enrolled()
    assert refused.value.reason is Reason.BLOCKED_DEVICE
    revoker.deliver()
    world.quiesce()
    assert world.cloud.certificates[old].status == "REVOKED"


@BOTH
def test_a_certificate_that_an_operator_revoked_is_not_renewed(kind: IssuerKind) -> None:
    world, old = provisioned(kind)
    request_renewal(world)
    world.cloud.revoke(old)
    with pytest.raises(SecretFreeError, match="was revoked"):
        world.ask()
    assert set(world.cloud.certificates) == {old}


def test_the_answer_sends_the_device_back_while_the_renewal_it_was_asked_for_fails() -> None:
    world, old = provisioned(IssuerKind.PRIVATE_CA)
    request_renewal(world)
    world.cloud.always["IssueCertificate"] = Fault.THROTTLED
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    assert answer.certificate_id == old
    assert answer.renew_after <= world.clock.now()


@BOTH
@pytest.mark.parametrize("renewals", [60, pytest.param(2000, marks=pytest.mark.nightly)])
def test_renewals_by_request_do_not_make_the_record_grow(kind: IssuerKind, renewals: int) -> None:
    world, _ = provisioned(kind)
    sizes = []
    for number in range(renewals):
        world.clock.sleep(timedelta(hours=6).total_seconds())
        request_renewal(world, f"job-{number:04}")
        certificate_of(world)
        world.sweep()
        sizes.append(len(json.dumps(world.items["widget-1", f"issuance#{kind.value}"])))
    assert max(sizes[10:]) - max(sizes[:10]) < 16  # a few digits more
    assert len(world.cloud.certificates) == 3, "the one that it last connected with, and the latest two"
