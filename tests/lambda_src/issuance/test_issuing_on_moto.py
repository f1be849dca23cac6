"""The pipeline's crashes and its model again, on moto and the Private CA emulator instead of the memory's own.

In memory, each call fails in every way (`test_crash_injection.py`). Here each call fails in one way, so that all calls
and all faults occur. The nightly tests have the whole product here too.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from secretfree.contract import IssuerKind
from support.fake_cloud import Fault, Killed
from support.issuing_calls import CALLS
from support.issuing_model import IssuingModel
from support.moto_cloud import MotoCloud, moto_cloud
from support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("issuing-on-moto")]  # one Private CA emulator for all
BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


@pytest.fixture(scope="module")
def private_ca_url(start_private_ca: Any) -> str:
    url: str = start_private_ca().endpoint_url
    return url


@pytest.fixture
def cloud(private_ca_url: str) -> Iterator[MotoCloud]:
    with moto_cloud(private_ca_url) as account:
        yield account


def on_moto(kind: IssuerKind, cloud: MotoCloud) -> World:
    return World(kind, cloud=cloud, registered=False)


@BOTH
def test_a_new_device_costs_the_calls_that_it_costs_in_memory(kind: IssuerKind, cloud: MotoCloud) -> None:
    world = on_moto(kind, cloud)
    world.ask()
    assert [call.replace("WithoutCa", "") for call in cloud.calls] == list(CALLS[kind])


def numbers_of(kind: IssuerKind) -> range:
    return range(1, len(CALLS[kind]) + 1)


def one_fault(number: int) -> tuple[Fault]:
    """All faults in turn, so that the answer of the call that issues, the third, is lost."""
    return (list(Fault)[(number + 1) % len(Fault)],)


@BOTH
@pytest.mark.parametrize(
    "faults", [pytest.param(one_fault, id="one"), pytest.param(lambda _: Fault, id="all", marks=pytest.mark.nightly)]
)
def test_whatever_call_fails_the_device_gets_the_one_certificate(
    kind: IssuerKind, faults: Callable[[int], Iterable[Fault]], private_ca_url: str
) -> None:
    for number in numbers_of(kind):
        for fault in faults(number):
            with moto_cloud(private_ca_url) as cloud:
                world = on_moto(kind, cloud)
                cloud.faults[number] = fault
                answer, _tries = world.ask_until_issued()
                world.quiesce()
                assert len(cloud.issued) <= 1 + (kind is IssuerKind.IOT_CORE), f"call {number}"
                assert list(cloud.certificates) == [answer.certificate_id], f"call {number}"
                world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, pytest.param(Fault.KILLED_BEFORE, marks=pytest.mark.nightly)])
def test_whatever_call_the_process_dies_in_nothing_is_left_when_nobody_comes_back(
    kind: IssuerKind, fault: Fault, private_ca_url: str
) -> None:
    """A process that dies before a call leaves the same as one that dies after the call before it."""
    for number in numbers_of(kind):
        with moto_cloud(private_ca_url) as cloud:
            world = on_moto(kind, cloud)
            cloud.faults[number] = fault
            with suppress(Killed):
                world.ask()
            world.quiesce()
            world.require_invariants_at_quiescence()


@BOTH
@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_the_model_s_invariants_hold(kind: IssuerKind, examples: int, private_ca_url: str) -> None:
    """No jumps by months: what the emulators date, they date by the machine's clock."""

    class ModelOnMoto(IssuingModel):
        def __init__(self) -> None:
            self._account = moto_cloud(private_ca_url)
            self._cloud = self._account.__enter__()
            super().__init__()

        def make_world(self) -> World:
            return on_moto(kind, self._cloud)

        @rule(jump=st.sampled_from([1, 10, 60, 300, 3600]))
        def time_passes(self, jump: int) -> None:
            self.world.clock.sleep(jump)

        def the_operator_deploys_with_other_authorities(self, authorities: tuple[str, ...]) -> None:
            """No rule here: the emulator has the one CA that the world was made with."""

        def reference_of(self, pem: str) -> str | None:
            """The emulator keeps its orders itself: each certificate is of its one CA."""
            return next((f"{authority}/certificate/any" for authority in self.world.policy.authorities), None)

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                self._account.__exit__(None, None, None)

    run_state_machine_as_test(
        ModelOnMoto,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
