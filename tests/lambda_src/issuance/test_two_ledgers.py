"""Two ledgers on one CA, with the same device and key in both: neither touches what is the other's."""

from contextlib import suppress

import pytest
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from support.fake_cloud import Fault, Killed
from support.issuing_calls import CALLS
from support.world import World, verified_csr

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))
CASES = [
    pytest.param(kind, number, fault, id=f"{kind}-{number}-{operation}-{fault.value.replace(' ', '-')}")
    for kind, operations in CALLS.items()
    for number, operation in enumerate(operations, start=1)
    for fault in Fault
]


def two_stacks(kind: IssuerKind) -> tuple[World, World]:
    """Each with a ledger and a policy of its own, with one CA and one named thing type."""
    first = World(kind)
    return first, World(kind, cloud=first.cloud, ledger="other-ledger", policy_name="other-policy")


def two_product_lines(kind: IssuerKind) -> tuple[World, World]:
    """In one stack, each with a thing type of its own as well."""
    first = World(kind)
    second = World(kind, cloud=first.cloud, ledger="other-ledger", policy_name="other-policy", thing_type="other-type")
    return first, second


def require_in_use(world: World, certificate_id: str) -> None:
    certificate = world.cloud.certificates[certificate_id]
    assert certificate.status == "ACTIVE"
    assert certificate.policies == {world.policy_name}
    assert certificate.things == {"widget-1": "EXCLUSIVE_THING"}


@BOTH
def test_each_stack_has_a_certificate_of_its_own(kind: IssuerKind) -> None:
    first, second = two_stacks(kind)
    mine, others = first.ask_until_issued()[0], second.ask_until_issued()[0]
    assert mine.certificate_id != others.certificate_id
    first.quiesce()
    second.quiesce()
    require_in_use(first, mine.certificate_id)
    require_in_use(second, others.certificate_id)


@pytest.mark.parametrize(("kind", "number", "fault"), CASES)
def test_whatever_call_fails_in_one_stack_the_other_s_certificate_stays_in_use(
    kind: IssuerKind, number: int, fault: Fault
) -> None:
    first, second = two_stacks(kind)
    others = second.ask_until_issued()[0]
    first.cloud.faults[len(first.cloud.calls) + number] = fault
    mine, _tries = first.ask_until_issued()
    first.quiesce()
    second.quiesce()
    assert set(first.cloud.certificates) == {mine.certificate_id, others.certificate_id}
    require_in_use(first, mine.certificate_id)
    require_in_use(second, others.certificate_id)


@pytest.mark.parametrize("other_key", [0, 1], ids=["same-key", "other-key"])
@BOTH
def test_a_worker_of_one_stack_that_stalls_while_the_other_issues_takes_nothing_of_it(
    kind: IssuerKind, other_key: int
) -> None:
    for number in range(1, len(CALLS[kind]) + 1):
        first, second = two_stacks(kind)
        answers = []

        def meanwhile(second: World = second, answers: list[IssuedCertificate] = answers) -> None:
            second.clock.sleep(30)
            answers.append(second.ask_until_issued(key=other_key)[0])

        first.cloud.before_call[number] = meanwhile
        with suppress(SecretFreeError, Killed):
            first.ask()
        first.ask_until_issued()
        first.quiesce()
        second.quiesce()
        require_in_use(second, answers[0].certificate_id)


@BOTH
@pytest.mark.parametrize("jump_days", [1, 364])
def test_a_stack_that_replaces_its_certificate_leaves_the_other_s(kind: IssuerKind, jump_days: int) -> None:
    first, second = two_stacks(kind)
    others = second.ask_until_issued()[0]
    first.ask_until_issued()
    first.clock.sleep(jump_days * 86_400)
    renewed, _tries = first.ask_until_issued(key=1)
    first.quiesce()
    require_in_use(second, others.certificate_id)
    require_in_use(first, renewed.certificate_id)
    assert len(first.cloud.certificates) == 2


@pytest.mark.parametrize(("kind", "number", "fault"), CASES)
def test_of_two_product_lines_the_one_that_came_first_keeps_thing_and_certificate(
    kind: IssuerKind, number: int, fault: Fault
) -> None:
    first, second = two_product_lines(kind)
    mine, _tries = first.ask_until_issued()
    second.cloud.faults[len(second.cloud.calls) + number] = fault
    for _ in range(3):
        with suppress(Killed, SecretFreeError):
            second.ask()
        second.clock.sleep(60)
    with pytest.raises(SecretFreeError) as refused:
        second.ask()
    assert refused.value.code is ErrorCode.CONFLICT
    second.quiesce()
    first.quiesce()
    require_in_use(first, mine.certificate_id)
    assert first.cloud.things["widget-1"]["type"] == first.thing_type
    in_use = [one for one in first.cloud.certificates.values() if one.things]
    assert [one.certificate_id for one in in_use] == [mine.certificate_id]


def test_a_lost_certificate_of_another_issuer_or_one_taken_out_of_use_is_not_brought_back() -> None:
    """An operator deactivates a certificate of the same key and minute; the lost answer's search must not take it."""
    world = World(IssuerKind.IOT_CORE)
    registered = world.cloud.add_certificate(world.cloud.sign(_csr_pem(), "widget-1"), "INACTIVE")
    registered.ca_certificate_id = "c" * 64
    deactivated = world.cloud.add_certificate(world.cloud.sign(_csr_pem(), "widget-1"), "INACTIVE")
    deactivated.policies.add("other-policy")
    world.cloud.faults[3] = Fault.KILLED_AFTER
    with suppress(Killed):
        world.ask()
    world.clock.sleep(60)
    answer, _tries = world.ask_until_issued()
    world.quiesce()
    assert world.cloud.certificates[registered.certificate_id].status == "INACTIVE"
    assert world.cloud.certificates[deactivated.certificate_id].status == "INACTIVE"
    assert set(world.cloud.certificates) == {
        answer.certificate_id,
        registered.certificate_id,
        deactivated.certificate_id,
    }


def _csr_pem() -> str:
    return verified_csr("widget-1").pem()
