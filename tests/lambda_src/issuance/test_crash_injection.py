"""Whatever call of the issuer fails, in whatever way: one certificate, no orphan, and the device gets it."""

from contextlib import suppress

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from support.fake_cloud import Fault, Killed
from support.issuing_calls import CALLS
from support.world import World

CASES = [
    pytest.param(kind, number, fault, id=f"{kind}-{number}-{operation}-{fault.value.replace(' ', '-')}")
    for kind, operations in CALLS.items()
    for number, operation in enumerate(operations, start=1)
    for fault in Fault
]


@pytest.mark.parametrize("kind", list(IssuerKind))
def test_a_new_device_costs_exactly_these_calls(kind: IssuerKind) -> None:
    world = World(kind)
    assert isinstance(world.ask(), IssuedCertificate)
    assert tuple(world.cloud.calls) == CALLS[kind]


@pytest.mark.parametrize(("kind", "number", "fault"), CASES)
def test_the_device_gets_the_one_certificate_when_it_keeps_asking(kind: IssuerKind, number: int, fault: Fault) -> None:
    world = World(kind)
    world.cloud.faults[number] = fault
    answer, _tries = world.ask_until_issued()
    world.quiesce()
    # IoT Core's CA takes no token: a lost answer costs one more certificate, and the sweeper discards the lost one.
    assert len(world.cloud.issued) == 1 or (kind is IssuerKind.IOT_CORE and len(world.cloud.issued) == 2)
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


@pytest.mark.parametrize(("kind", "number", "fault"), CASES)
def test_nothing_is_left_behind_when_the_device_never_comes_back(kind: IssuerKind, number: int, fault: Fault) -> None:
    world = World(kind)
    world.cloud.faults[number] = fault
    with suppress(Killed, SecretFreeError):
        world.ask()
    world.quiesce()
    world.require_invariants_at_quiescence()


@pytest.mark.parametrize(("kind", "number", "fault"), CASES)
def test_a_device_that_comes_back_after_the_sweeper_gets_one_working_certificate(
    kind: IssuerKind, number: int, fault: Fault
) -> None:
    world = World(kind)
    world.cloud.faults[number] = fault
    with suppress(Killed, SecretFreeError):
        world.ask()
    world.quiesce()
    answer, _tries = world.ask_until_issued()
    world.quiesce()
    assert list(world.cloud.certificates) == [answer.certificate_id]
    world.require_invariants_at_quiescence()


@pytest.mark.parametrize("other_key", [False, True], ids=["same-key", "other-key"])
@pytest.mark.parametrize("kind", list(IssuerKind))
def test_a_worker_presumed_dead_changes_nothing_when_it_wakes_up(kind: IssuerKind, *, other_key: bool) -> None:
    for number in range(2, len(CALLS[kind]) + 1):
        world = World(kind)
        answers = []

        def another_worker(world: World = world, answers: list[IssuedCertificate] = answers) -> None:
            world.clock.sleep(46)
            answers.append(world.ask_until_issued(key=1 if other_key else 0)[0])

        world.cloud.before_call[number] = another_worker
        with suppress(SecretFreeError):
            world.ask()
        assert len(answers) == 1
        world.quiesce()
        assert list(world.cloud.certificates) == [answers[0].certificate_id], f"stalled before call {number}"
        world.require_invariants_at_quiescence()


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", list(IssuerKind))
@pytest.mark.parametrize("second", list(Fault))
@pytest.mark.parametrize("first", list(Fault))
def test_two_faults_in_a_row_converge(kind: IssuerKind, first: Fault, second: Fault, step: int) -> None:
    """Each pair of faults at each call. The distance of the two calls changes from pair to pair."""
    faults = list(Fault)
    for number in range(1, len(CALLS[kind]) + 1):
        begin = (number + faults.index(first) + faults.index(second)) % step
        for later in range(number + 1 + begin, number + 8, step):
            world = World(kind)
            world.cloud.faults = {number: first, later: second}
            answer, _tries = world.ask_until_issued()
            world.quiesce()
            assert list(world.cloud.certificates) == [answer.certificate_id]
            world.require_invariants_at_quiescence()
