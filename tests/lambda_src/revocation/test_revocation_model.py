"""Any mixture of requests, blocks, other keys, rotations, faults, duplicates and sweeps ends as the registry stands."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from secretfree.contract import IssuerKind
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed
from support.revoking import Revoker
from support.world import World

ENDED_EARLY = (Killed, SecretFreeError, ThrottledError, UnreachableError)
FAULTS = st.sampled_from(list(Fault))
SECONDS = st.sampled_from([1, 10, 60, 400, 86_400 * 200, 86_400 * 340])
LATER = timedelta(hours=2)
"""Longer than any lease and grace, so that a sweep sees all that is left."""


class RevocationModel(RuleBasedStateMachine):
    """One device. `delivered` holds the changes that may come again."""

    kind = IssuerKind.PRIVATE_CA

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.kind)
        self.cloud = self.world.cloud
        self.revoker = Revoker(self.world, authorities=(CA_ARN, NEXT_CA_ARN))
        self.delivered: list[dict[str, Any]] = []
        self.key = 0
        self.blocked = False
        self.write_registry()

    @rule()
    def the_device_asks(self) -> None:
        with suppress(*ENDED_EARLY):
            self.world.ask_as_enrolled(key=self.key)

    @rule()
    def the_operator_blocks_or_unblocks(self) -> None:
        self.blocked = not self.blocked
        self.write_registry()

    @rule(key=st.sampled_from([0, 1]))
    def the_operator_enrols_a_key(self, key: int) -> None:
        self.key = key
        self.write_registry()

    @precondition(lambda self: self.kind is IssuerKind.PRIVATE_CA)
    @rule(authorities=st.sampled_from([(NEXT_CA_ARN, CA_ARN), (CA_ARN, NEXT_CA_ARN)]))
    def the_operator_lets_a_ca_follow_another(self, authorities: tuple[str, ...]) -> None:
        self.world.rotate(*authorities)

    @rule(call=st.integers(1, 12), fault=FAULTS)
    def a_call_will_fail(self, call: int, fault: Fault) -> None:
        self.cloud.faults[len(self.cloud.calls) + call] = fault

    @precondition(lambda self: self.revoker.stream)
    @rule()
    def the_oldest_change_is_delivered(self) -> None:
        with suppress(*ENDED_EARLY):
            self.deliver_oldest()

    @precondition(lambda self: self.delivered)
    @rule(number=st.integers(0, 5))
    def a_change_is_delivered_again(self, number: int) -> None:
        with suppress(*ENDED_EARLY):
            self.revoker.deliver(self.delivered[number % len(self.delivered)])

    @precondition(lambda self: not self.cloud.before_call)
    @rule(call=st.integers(1, 12))
    def a_block_comes_before_a_call(self, call: int) -> None:
        def block() -> None:
            self.blocked = True
            self.write_registry()
            with suppress(*ENDED_EARLY):
                while self.revoker.stream:
                    self.deliver_oldest()

        self.cloud.before_call[len(self.cloud.calls) + call] = block

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.world.clock.sleep(seconds)

    @rule()
    def the_sweeper_runs(self) -> None:
        with suppress(*ENDED_EARLY):
            self.world.sweep()

    def teardown(self) -> None:
        """Deliver and sweep without faults: a blocked device has nothing active, an allowed one is served."""
        self.cloud.before_call.clear()
        self.cloud.faults.clear()
        while self.revoker.stream:
            self.deliver_oldest()
        self.sweep_to_the_end()
        if self.blocked:
            assert [one for one in self.cloud.certificates.values() if one.status == "ACTIVE"] == []
            return
        self.world.clock.sleep(60)
        answer, _ = self.world.ask_until_issued(key=self.key)
        self.sweep_to_the_end()
        assert self.cloud.certificates[answer.certificate_id].status == "ACTIVE"

    def write_registry(self) -> None:
        self.revoker.enrol(key=self.key, **({"status": "blocked"} if self.blocked else {}))

    def deliver_oldest(self) -> None:
        change = self.revoker.stream[0]
        self.revoker.deliver(change)
        self.revoker.stream[:] = [other for other in self.revoker.stream if other is not change]
        self.delivered.append(change)

    def sweep_to_the_end(self) -> None:
        for _ in range(4):
            self.world.sweep(after=LATER)


class IotCoreModel(RevocationModel):
    kind = IssuerKind.IOT_CORE


QUICK = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LONG = settings(QUICK, max_examples=40, stateful_step_count=40)
THOROUGH = settings(LONG, max_examples=3_000, derandomize=False)


class TestPrivateCaRevocations(RevocationModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


class TestIotCoreRevocations(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


@pytest.mark.slow
class TestPrivateCaRevocationsForLong(RevocationModel.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG


@pytest.mark.slow
class TestIotCoreRevocationsForLong(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG


@pytest.mark.nightly
class TestPrivateCaRevocationsThoroughly(RevocationModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH


@pytest.mark.nightly
class TestIotCoreRevocationsThoroughly(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH
