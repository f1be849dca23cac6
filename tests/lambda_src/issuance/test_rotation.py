"""A CA follows another: old certificates stay good while their CA is trusted, and are replaced once it is not."""

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.sweeping import SweepOutcome
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed
from support.world import World

TRUSTED = (NEXT_CA_ARN, CA_ARN)


def provisioned() -> tuple[World, IssuedCertificate]:
    """A device with a certificate of the first CA."""
    world = World(IssuerKind.PRIVATE_CA)
    answer = world.ask()
    assert isinstance(answer, IssuedCertificate)
    world.clock.sleep(3600)
    return world, answer


def signers(world: World) -> list[str]:
    return [str(order["CertificateAuthorityArn"]) for order in world.cloud.orders.values()]


def require_one(world: World, certificate_id: str) -> None:
    """IoT Core has this certificate of the device and no other."""
    assert {one: found.status for one, found in world.cloud.certificates.items()} == {certificate_id: "ACTIVE"}


def test_a_certificate_of_a_previous_ca_stays_good_until_its_renewal_window() -> None:
    world, old = provisioned()
    world.rotate(*TRUSTED)
    again = world.ask()
    assert isinstance(again, IssuedCertificate)
    assert again.certificate_id == old.certificate_id
    assert signers(world) == [CA_ARN]


def test_the_renewal_of_a_certificate_of_a_previous_ca_is_of_the_current_one() -> None:
    world, old = provisioned()
    world.rotate(*TRUSTED)
    world.clock.sleep_until(old.renew_after + timedelta(seconds=1))
    renewed = world.ask()
    assert isinstance(renewed, IssuedCertificate)
    assert renewed.certificate_id != old.certificate_id
    assert signers(world) == [CA_ARN, NEXT_CA_ARN]
    assert world.cloud.certificates[old.certificate_id].status == "ACTIVE"


def test_a_new_device_gets_a_certificate_of_the_current_ca() -> None:
    world, _ = provisioned()
    world.rotate(*TRUSTED)
    world.ask("widget-2")
    assert signers(world) == [CA_ARN, NEXT_CA_ARN]


def test_what_was_asked_of_a_previous_ca_is_collected_from_it() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.looks_until_ready = 10_000
    assert isinstance(world.ask(), NotReady)
    world.rotate(*TRUSTED)
    world.cloud.looks_until_ready = 0
    world.ask_until_issued()
    assert signers(world) == [CA_ARN]


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE"])
def test_a_certificate_of_a_ca_that_is_no_longer_trusted_is_replaced_at_the_next_request(status: str) -> None:
    world, old = provisioned()
    world.cloud.certificates[old.certificate_id].status = status
    world.rotate(NEXT_CA_ARN)
    new, requests = world.ask_until_issued()
    assert requests == 1
    assert new.certificate_id != old.certificate_id
    assert signers(world) == [CA_ARN, NEXT_CA_ARN]
    world.quiesce()
    require_one(world, new.certificate_id)


def test_a_certificate_that_was_revoked_stays_revoked_when_its_ca_is_no_longer_trusted() -> None:
    world, old = provisioned()
    world.cloud.revoke(old.certificate_id)
    world.rotate(NEXT_CA_ARN)
    with pytest.raises(SecretFreeError) as caught:
        world.ask()
    assert caught.value.code is ErrorCode.NOT_AUTHORIZED
    assert signers(world) == [CA_ARN]


def test_a_distrusted_certificate_is_not_given_out_while_its_replacement_waits() -> None:
    world, old = provisioned()
    world.rotate(NEXT_CA_ARN)
    world.cloud.looks_until_ready = 10_000
    assert isinstance(world.ask(), NotReady)
    assert world.cloud.certificates[old.certificate_id].status == "ACTIVE", "it goes when the next one is active"
    world.cloud.looks_until_ready = 0
    new, _ = world.ask_until_issued()
    world.quiesce()
    require_one(world, new.certificate_id)


def test_a_distrusted_certificate_is_not_given_out_when_nothing_else_can_be_had() -> None:
    world, _ = provisioned()
    world.rotate(NEXT_CA_ARN)
    for operation in ("DescribeCertificate", "IssueCertificate"):
        world.cloud.always[operation] = Fault.THROTTLED
        assert isinstance(world.ask(), NotReady)
        world.cloud.always.clear()
        world.clock.sleep(300)


def test_a_renewal_that_was_under_way_drops_the_certificate_that_is_no_longer_trusted() -> None:
    world, old = provisioned()
    world.clock.sleep_until(old.renew_after + timedelta(seconds=1))
    world.cloud.always["IssueCertificate"] = Fault.THROTTLED
    renewing = world.ask()
    assert isinstance(renewing, IssuedCertificate)
    assert renewing.certificate_id == old.certificate_id
    world.rotate(NEXT_CA_ARN)
    world.clock.sleep(300)
    assert isinstance(world.ask(), NotReady)
    world.cloud.always.clear()
    new, _ = world.ask_until_issued()
    world.quiesce()
    require_one(world, new.certificate_id)


@pytest.mark.parametrize("then", [lambda _world: None, World.sweep], ids=["the device asks", "the sweeper is first"])
@pytest.mark.parametrize("call", range(1, 13))
def test_an_issuance_of_a_distrusted_ca_that_was_cut_short_leaves_nothing(
    call: int, then: Callable[[World], object]
) -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.faults[call] = Fault.KILLED_AFTER
    with contextlib.suppress(Killed):
        world.ask()
    world.cloud.faults.clear()
    world.rotate(NEXT_CA_ARN)
    world.clock.sleep(7200)
    then(world)
    new, _ = world.ask_until_issued()
    assert signers(world)[-1] == NEXT_CA_ARN
    world.quiesce()
    active = {one for one, found in world.cloud.certificates.items() if found.policies}
    assert active == {new.certificate_id}


def test_the_sweeper_gives_no_policy_to_a_certificate_of_a_distrusted_ca() -> None:
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.always["AttachPolicy"] = Fault.THROTTLED
    assert isinstance(world.ask(), NotReady)
    assert world.record()["state"] == "issued"
    world.cloud.always.clear()
    world.rotate(NEXT_CA_ARN)
    report = world.sweep(after=timedelta(hours=1))
    assert report.outcomes == {SweepOutcome.ROLLED_BACK: 1}
    assert world.cloud.certificates == {}


def test_the_sweeper_retires_what_a_previous_ca_signed_and_no_record_has() -> None:
    """Registration and recording run side by side: the worker died after the one and before the other."""
    world = World(IssuerKind.PRIVATE_CA)
    world.ask()
    recorded = world.cloud.calls.index("RegisterCertificate")
    world = World(IssuerKind.PRIVATE_CA)
    world.cloud.always["TransactWriteItems"] = Fault.THROTTLED
    world.cloud.faults[recorded + 1] = Fault.KILLED_AFTER
    with pytest.raises(Killed):
        world.ask()
    world.cloud.always.clear()
    world.rotate(*TRUSTED)
    new, _ = world.ask_until_issued()
    world.quiesce()
    require_one(world, new.certificate_id)
