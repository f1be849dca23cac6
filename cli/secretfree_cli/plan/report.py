"""A plan in words and tables for people, and as one JSON document for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from secretfree_cli.plan.capacity import Raise
from secretfree_cli.plan.connects import CONNECTS, connects_bill
from secretfree_cli.plan.plan import NaiveFleet, Plan, duration
from secretfree_cli.plan.prices import CostLine, price_list


def write_report(console: Console, plan: Plan, naive: NaiveFleet | None) -> None:
    """Write the whole plan for a person to read."""
    sections: list[RenderableType] = [
        _headline(plan),
        _quotas(plan),
        _advice(plan),
        _bill(plan),
        _connects(),
        _method(plan),
    ]
    if naive is not None:
        sections.insert(1, _comparison(plan, naive))
    for number, section in enumerate(sections):
        if number:
            console.print()
        console.print(section)


def as_document(plan: Plan, naive: NaiveFleet | None) -> dict[str, Any]:
    """Return the plan as a JSON document; times in seconds, money in US dollars."""
    prices = price_list()
    document: dict[str, Any] = {
        "devices": plan.fleet.devices,
        "windowSeconds": plan.fleet.window,
        "issuer": plan.fleet.issuer.value,
        "authority": plan.fleet.authority.value,
        "timeToProvisionSeconds": round(plan.outcome.finished_at, 1),
        "quotaBoundSeconds": round(plan.bound.seconds, 1),
        "ratio": round(plan.ratio, 4),
        "issuanceRate": plan.bound.issuance_rate,
        "bindingQuota": plan.bound.binding.name if plan.bound.binding else None,
        "requests": plan.outcome.requests,
        "requestsPerDevice": round(plan.outcome.requests / plan.fleet.devices, 2),
        "callsPerDevice": {name: round(count / plan.fleet.devices, 3) for name, count in plan.outcome.calls.items()},
        "throttledPerDevice": {
            name: round(count / plan.fleet.devices, 3) for name, count in plan.outcome.throttled.items()
        },
        "quotas": [
            {
                "name": demand.quota.name,
                "service": demand.quota.service,
                "limit": demand.quota.limit,
                "unitsPerDevice": round(demand.units_per_device, 3),
                "leastSeconds": round(demand.seconds, 1),
            }
            for demand in plan.bound.demands
        ],
        "advice": [
            {
                "quota": step.quota.name,
                "service": step.quota.service,
                "from": step.quota.limit,
                "to": step.limit,
                "adjustable": step.quota.adjustable,
                "thenSeconds": round(step.seconds, 1),
                "thenBinding": step.then_binding,
            }
            for step in plan.advice
        ],
        "cost": {
            "dollars": round(plan.dollars, 2),
            "pricesOf": prices.date.isoformat(),
            "region": prices.region,
            "lines": _lines(plan.bill),
        },
        "connects": {
            "connects": CONNECTS,
            "dollars": round(sum(line.dollars for line in connects_bill(prices)), 2),
            "lines": _lines(connects_bill(prices)),
        },
        "cohortsASecond": plan.resolution,
    }
    if naive is not None:
        document["naive"] = {
            "policy": naive.policy.name,
            "provisioned": naive.outcome.provisioned,
            "seconds": round(naive.outcome.finished_at, 1),
            "givenUpAtSeconds": round(naive.given_up_at, 1),
            "requests": naive.outcome.requests,
        }
    return document


def _headline(plan: Plan) -> RenderableType:
    binding = plan.bound.binding
    by = f"{binding.service} {binding.name}, {binding.limit:g}/s" if binding else "the devices' own arrival"
    return Text.assemble(
        (f"{plan.fleet.devices:,} devices", "bold"),
        f", first asking over {duration(plan.fleet.window)}, issuer {plan.fleet.issuer}\n",
        "Time to provision  ",
        (duration(plan.outcome.finished_at), "bold"),
        f"  ({plan.ratio:.2f} times the quota-bound {duration(plan.bound.seconds)})\n",
        "Held back by       ",
        (by, "bold"),
        "\nCost               ",
        (f"${plan.dollars:,.2f}", "bold"),
        f"  (${plan.dollars / plan.fleet.devices:.4f} a device)\n",
        f"Requests a device  {plan.outcome.requests / plan.fleet.devices:.1f}\n",
        f"issuance_rate      {plan.bound.issuance_rate}",
    )


def _comparison(plan: Plan, naive: NaiveFleet) -> RenderableType:
    table = _table("Asking again", "time", "served", "requests a device", "turned away")
    rows = ((plan.outcome, "Retry-After of this runtime"), (naive.outcome, naive.policy.name))
    for outcome, name in rows:
        unfinished = outcome.provisioned < plan.fleet.devices
        time = f"over {duration(naive.given_up_at)}" if unfinished else duration(outcome.finished_at)
        table.add_row(
            name,
            time,
            f"{outcome.provisioned / plan.fleet.devices:.1%}",
            f"{outcome.requests / plan.fleet.devices:,.1f}",
            f"{outcome.turned_away / outcome.requests:.1%}",
        )
    return table


def _quotas(plan: Plan) -> RenderableType:
    table = _table("Quota (units and refusals: for each device)", "limit", "units", "at least", "refused")
    refused = {name.partition(":")[2]: count for name, count in plan.outcome.throttled.items()}
    for demand in plan.bound.demands:
        quota = demand.quota
        rate = "" if quota.concurrency else "/s"
        draws = f"{demand.units_per_device:.2f} s" if quota.concurrency else f"{demand.units_per_device:g}"
        table.add_row(
            f"{quota.service} {quota.name}",
            f"{quota.limit:,g}{rate}",
            draws,
            duration(demand.seconds),
            f"{refused[quota.name] / plan.fleet.devices:.2f}" if quota.name in refused else "",
        )
    return table


def _advice(plan: Plan) -> RenderableType:
    if plan.bound.binding is None:
        return Text("The quotas suffice. The arrival of the devices takes the time.", style="green")
    if not plan.advice:
        return Text(f"Raise {plan.bound.binding.name} first. --over HOURS then shows how far.")
    table = _table("To keep the window, raise", "from", "to", "then takes", "held back by")
    for step in plan.advice:
        table.add_row(
            f"{step.quota.service} {step.quota.name}{_note(step)}",
            f"{step.quota.limit:,g}",
            f"{step.limit:,g}",
            duration(step.seconds),
            step.then_binding or "arrival",
        )
    return table


def _note(step: Raise) -> str:
    return "" if step.quota.adjustable else " (not adjustable: lengthen the window)"


def _bill(plan: Plan) -> RenderableType:
    table = _table("Cost", "", "quantity", "US dollars")
    for line in plan.bill:
        table.add_row(line.service, line.what, f"{line.quantity:,.0f}", f"{line.dollars:,.2f}")
    table.add_row("Total", "", "", f"{plan.dollars:,.2f}", style="bold")
    return table


def _connects() -> RenderableType:
    table = _table("Later: a million connects, each looked at to retire old certificates", "", "quantity", "US dollars")
    bill = connects_bill(price_list())
    for line in bill:
        table.add_row(line.service, line.what, f"{line.quantity:,.0f}", f"{line.dollars:,.2f}")
    table.add_row("Total", "", "", f"{sum(line.dollars for line in bill):,.2f}", style="bold")
    return table


def _lines(bill: Sequence[CostLine]) -> list[dict[str, Any]]:
    return [
        {
            "service": line.service,
            "what": line.what,
            "quantity": round(line.quantity, 3),
            "dollars": round(line.dollars, 4),
        }
        for line in bill
    ]


def _method(plan: Plan) -> RenderableType:
    prices = price_list()
    return Text(
        f"Simulated with up to {plan.resolution} cohorts asking a second. Quotas as of {plan.quotas.collected}, list "
        f"prices of {prices.date} in {prices.region}, no free tier. Bursts and answer times are assumptions. Other "
        "users of the account's quotas are left out.",
        style="dim",
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
