"""The simulated fleet: no device is lost, quotas hold, and coarseness changes little."""

from __future__ import annotations

import random

import pytest
from secretfree.contract import IssuerKind
from secretfree.issuance.rates import RetryAfterPolicy, RetryPolicy
from secretfree_cli.plan.asking_again import FixedRetry, RuntimePolicy
from secretfree_cli.plan.calls import PLANNED_KINDS, call_sequence
from secretfree_cli.plan.capacity import quota_bound
from secretfree_cli.plan.plan import Fleet, make_plan, naive_fleet
from secretfree_cli.plan.prices import Authority
from secretfree_cli.plan.quotas import default_quotas
from secretfree_cli.plan.simulation import FleetOutcome, Scenario, simulate

EACH_ITSELF = 100_000


def run(devices: int, window: float, *, issuer: IssuerKind = IssuerKind.PRIVATE_CA, **settings: object) -> FleetOutcome:
    given = {"resolution": 8, "asking_again": RuntimePolicy(), "quotas": default_quotas()} | settings
    return simulate(Scenario(devices=devices, window=window, calls=call_sequence(issuer), **given))  # type: ignore[arg-type]


def bound(devices: int, window: float, issuer: IssuerKind = IssuerKind.PRIVATE_CA) -> float:
    return quota_bound(devices, window, call_sequence(issuer), default_quotas()).seconds


def ledger_writes(outcome: FleetOutcome) -> int:
    return sum(outcome.calls[f"dynamodb:{name}"] for name in ("PutItem", "UpdateItem", "TransactWriteItems"))


@pytest.mark.parametrize("issuer", PLANNED_KINDS)
def test_a_fleet_within_the_quotas_is_served_at_its_first_request(issuer: IssuerKind) -> None:
    outcome = run(500, 600, issuer=issuer, resolution=EACH_ITSELF)
    assert (outcome.provisioned, outcome.requests, outcome.turned_away) == (500, 500, 0)
    assert not outcome.throttled


@pytest.mark.parametrize("issuer", PLANNED_KINDS)
def test_a_storm_ends_within_a_tenth_of_the_quota_bound_time(issuer: IssuerKind) -> None:
    outcome = run(5_000, 60, issuer=issuer)
    assert outcome.provisioned == 5_000
    assert bound(5_000, 60, issuer) <= outcome.finished_at <= 1.1 * bound(5_000, 60, issuer)


def test_no_certificate_is_asked_for_or_registered_twice() -> None:
    outcome = run(2_000, 30)
    assert outcome.calls["acm-pca:IssueCertificate"] == 2_000
    assert outcome.calls["iot:RegisterCertificate"] == 2_000


def test_no_quota_gives_more_than_its_rate_and_its_burst() -> None:
    outcome = run(2_000, 30)
    allowed = 10 + 10 * outcome.finished_at
    assert outcome.calls["iot:RegisterCertificate"] <= allowed


def test_cohorts_tell_the_same_as_devices_one_by_one() -> None:
    single = run(1_500, 30, resolution=EACH_ITSELF)
    cohorts = run(1_500, 30, resolution=8)
    assert cohorts.finished_at == pytest.approx(single.finished_at, rel=0.05)
    assert cohorts.requests == pytest.approx(single.requests, rel=0.2)


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert run(800, 10, seed=5) == run(800, 10, seed=5)
    assert run(800, 10, seed=5) != run(800, 10, seed=6)


def test_devices_turned_away_at_the_door_come_back() -> None:
    quotas = default_quotas().overridden(["LambdaConcurrency=5", "ApiGatewayRequests=50"])
    outcome = run(400, 0, quotas=quotas)
    assert outcome.provisioned == 400
    assert outcome.turned_away > 0
    assert 0 < outcome.turned_away_by_api <= outcome.turned_away


def test_a_fleet_that_is_not_done_at_the_horizon_is_reported_as_far_as_it_came() -> None:
    outcome = run(2_000, 0, horizon=60)
    assert 0 < outcome.provisioned < 2_000
    assert outcome.course[-1][0] == 60


def test_a_fleet_in_lockstep_wastes_the_quota_between_its_waves() -> None:
    plan = make_plan(Fleet(2_000, 0, IssuerKind.PRIVATE_CA, Authority.SHORT_LIVED), default_quotas(), resolution=8)
    naive = naive_fleet(plan, interval=60)
    assert naive.outcome.provisioned < 2_000 or naive.outcome.finished_at > plan.outcome.finished_at


def test_a_plan_takes_the_issuance_rate_that_the_quotas_allow() -> None:
    raised = default_quotas().with_limits({"RegisterCertificate": 15})
    plan = make_plan(Fleet(3_000, 0, IssuerKind.PRIVATE_CA, Authority.SHORT_LIVED), raised, resolution=8)
    assert plan.bound.issuance_rate == 15
    assert plan.ratio <= 1.1


def test_the_policy_is_the_runtimes_own() -> None:
    policy = RuntimePolicy()
    assert isinstance(policy.retry, RetryPolicy)
    assert isinstance(policy.after, RetryAfterPolicy)
    worker = policy.worker()
    for _ in range(50):
        worker.observe("iot:RegisterCertificate", 0.0, throttled=True)
    source = random.Random(1)
    assert worker.retry_delay("iot:RegisterCertificate", 1, 0.0, source) is None  # pressed hard: one try
    assert worker.retry_delay("iot:CreateThing", 1, 0.0, source) is not None
    waits = {worker.retry_after(36_000, 9, 0.0, source) for _ in range(50)}
    assert len(waits) > 10
    assert max(waits) <= policy.after.cap


def test_a_fixed_retry_learns_nothing() -> None:
    worker = FixedRetry(30).worker()
    worker.observe("any", 0.0, throttled=True)
    assert worker.retry_after(1, 1, 0.0, random.Random(1)) == 30
    assert worker.retry_delay("any", 1, 0.0, random.Random(1)) is None


@pytest.mark.slow
def test_each_device_of_a_long_queue_asks_a_few_times_and_no_quota_stays_unused() -> None:
    outcome = run(8_000, 29)
    assert outcome.provisioned == 8_000
    assert outcome.finished_at <= 1.02 * bound(8_000, 29)
    assert outcome.requests <= 4 * 8_000
    assert ledger_writes(outcome) <= 8 * 8_000


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_a_million_devices_use_the_quota_up_with_few_requests_each() -> None:
    outcome = run(1_000_000, 3_600)
    assert outcome.provisioned == 1_000_000
    assert outcome.finished_at <= 1.02 * bound(1_000_000, 3_600)
    assert outcome.requests <= 4 * 1_000_000
    assert ledger_writes(outcome) <= 8 * 1_000_000
    assert outcome.turned_away == 0
