"""A capacity plan: the fleet simulated, the quota that limits it, the quota increases that would help, and the cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from secretfree.contract import IssuerKind
from secretfree.issuance.tickets import TicketPolicy

from secretfree_cli.plan.asking_again import FixedRetry, RuntimePolicy
from secretfree_cli.plan.calls import Priced, call_sequence
from secretfree_cli.plan.capacity import Bound, Raise, advise, quota_bound
from secretfree_cli.plan.prices import Authority, CostLine, Usage, price_list
from secretfree_cli.plan.quotas import QuotaTable
from secretfree_cli.plan.simulation import FleetOutcome, Scenario, simulate

LAMBDA_GIGABYTES = 1.0
"""Memory of the construct's functions: `FunctionOptions.memory_size`."""
_LOG_BYTES_A_REQUEST = 2_400
"""Two functions, each with its own line, an EMF line and Lambda's three."""
_ANSWER_BYTES = 4_600
"""The certificate with its chain, as JSON, and what TLS adds on the way."""
_REFUSAL_BYTES = 400
_NAIVE_HORIZON = 2.0
"""The simulation of the naive fleet ends after this many times the quota-bound time."""
_NAIVE_RESOLUTION = 2
"""It asks so often that it is simulated more coarsely."""


@dataclass(frozen=True)
class Fleet:
    """The fleet that a plan is made for."""

    devices: int
    window: float
    """Seconds over which the devices first ask."""
    issuer: IssuerKind
    authority: Authority
    thing_groups: int = 0


@dataclass(frozen=True)
class Plan:
    """The result of planning."""

    fleet: Fleet
    quotas: QuotaTable
    bound: Bound
    outcome: FleetOutcome
    resolution: int
    advice: Sequence[Raise]
    bill: Sequence[CostLine]

    @property
    def ratio(self) -> float:
        """Simulated time over quota-bound time."""
        return self.outcome.finished_at / self.bound.seconds if self.bound.seconds else 1.0

    @property
    def dollars(self) -> float:
        return sum(line.dollars for line in self.bill)


@dataclass(frozen=True)
class NaiveFleet:
    """The same fleet, if it repeats requests at a fixed interval."""

    policy: FixedRetry
    outcome: FleetOutcome
    given_up_at: float
    """Seconds."""


def make_plan(fleet: Fleet, quotas: QuotaTable, *, resolution: int, seed: int = 0) -> Plan:
    """Simulate `fleet` against `quotas` and cost it."""
    calls = call_sequence(fleet.issuer, thing_groups=fleet.thing_groups)
    bound = quota_bound(fleet.devices, fleet.window, calls, quotas)
    scenario = Scenario(
        devices=fleet.devices,
        window=fleet.window,
        calls=calls,
        quotas=quotas,
        asking_again=RuntimePolicy(tickets=TicketPolicy(rate=float(bound.issuance_rate))),
        seed=seed,
        resolution=resolution,
        sample_interval=max(bound.seconds, 1.0) / 400,
    )
    outcome = simulate(scenario)
    bill = price_list().bill(usage_of(outcome), fleet.authority)
    advice = advise(fleet.devices, fleet.window, calls, quotas)
    return Plan(fleet, quotas, bound, outcome, resolution, advice, bill)


def naive_fleet(plan: Plan, *, interval: float, seed: int = 0) -> NaiveFleet:
    """Simulate the fleet of `plan` as one that asks again every `interval` seconds."""
    policy = FixedRetry(interval)
    horizon = _NAIVE_HORIZON * max(plan.bound.seconds, interval)
    scenario = Scenario(
        devices=plan.fleet.devices,
        window=plan.fleet.window,
        calls=call_sequence(plan.fleet.issuer, thing_groups=plan.fleet.thing_groups),
        quotas=plan.quotas,
        asking_again=policy,
        seed=seed,
        horizon=horizon,
        resolution=_NAIVE_RESOLUTION,
        sample_interval=horizon / 600,
    )
    return NaiveFleet(policy, simulate(scenario), horizon)


def usage_of(outcome: FleetOutcome) -> Usage:
    """Return what AWS meters of a simulated fleet."""
    units = outcome.priced_units
    issued = outcome.calls["acm-pca:IssueCertificate"] + outcome.calls["iot:CreateCertificateFromCsr"]
    return Usage(
        seconds=outcome.finished_at,
        certificates=issued,
        api_requests=outcome.requests - outcome.turned_away_by_api,
        lambda_invocations=2 * outcome.served,
        lambda_gigabyte_seconds=LAMBDA_GIGABYTES * (outcome.authorizer_seconds + outcome.issuer_seconds),
        read_units=units[Priced.READ_UNIT],
        write_units=units[Priced.WRITE_UNIT],
        registry_operations=units[Priced.REGISTRY_OPERATION],
        log_bytes=_LOG_BYTES_A_REQUEST * outcome.served,
        answer_bytes=_ANSWER_BYTES * outcome.provisioned + _REFUSAL_BYTES * (outcome.requests - outcome.provisioned),
    )


def duration(seconds: float) -> str:
    """Return seconds as text for people: `45 s`, `12.0 min`, `27.8 h`, `4.2 days`."""
    for size, unit, below in ((1, "s", 120), (60, "min", 120), (3_600, "h", 72)):
        if seconds / size < below:
            return f"{seconds / size:.0f} {unit}" if size == 1 else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days" if math.isfinite(seconds) else "never"
