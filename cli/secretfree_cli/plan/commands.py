"""`secretfree plan`: simulates a fleet and writes the plan."""

from __future__ import annotations

from pathlib import Path

import click
from secretfree.contract import IssuerKind

from secretfree_cli.command_line import command
from secretfree_cli.output import CliError, emit_json, json_option, note, stderr, stdout
from secretfree_cli.plan.calls import PLANNED_KINDS
from secretfree_cli.plan.plan import Fleet, make_plan, naive_fleet
from secretfree_cli.plan.plot import write_plot
from secretfree_cli.plan.prices import Authority
from secretfree_cli.plan.quotas import default_quotas
from secretfree_cli.plan.report import as_document, write_report

_SECONDS_AN_HOUR = 3_600


@command("plan")
@click.option("--devices", type=click.IntRange(min=1), required=True, metavar="N", help="Devices to provision.")
@click.option(
    "--over",
    "hours",
    type=click.FloatRange(min=0),
    required=True,
    metavar="HOURS",
    help="First requests are spread evenly over this time, and should be served within it. 0 is all at once.",
)
@click.option(
    "--quota",
    "quotas",
    multiple=True,
    metavar="NAME=VALUE",
    help="A quota of your account: calls a second (or RATE/BURST), or executions at once. Repeatable.",
)
@click.option(
    "--issuer",
    type=click.Choice([kind.value for kind in PLANNED_KINDS]),
    default=IssuerKind.PRIVATE_CA.value,
    show_default=True,
)
@click.option(
    "--authority",
    type=click.Choice([Authority.GENERAL_PURPOSE.value, Authority.SHORT_LIVED.value]),
    default=Authority.GENERAL_PURPOSE.value,
    show_default=True,
    help="Mode of the private CA. It decides the price of certificates.",
)
@click.option("--thing-groups", type=click.IntRange(0, 10), default=0, help="Thing groups that each thing joins.")
@click.option(
    "--naive-retry",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Compare with a fleet that repeats requests at this interval.  [default with --plot: 30]",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw both fleets.")
@click.option("--seed", type=int, default=0, help="Seed of the simulation. The same seed gives the same plan.")
@click.option(
    "--resolution",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Cohorts of devices in one simulated second. More is finer and slower.",
)
@json_option
def plan(
    *,
    devices: int,
    hours: float,
    quotas: tuple[str, ...],
    issuer: str,
    authority: str,
    thing_groups: int,
    naive_retry: float | None,
    plot: Path | None,
    seed: int,
    resolution: int,
    as_json: bool,
) -> None:
    """Plan capacity: the time to provision a fleet, the quota that limits it, which to raise, and the cost.

    The command simulates the fleet against the account's quotas, with the runtime's own retry policy.

    \b
    secretfree plan --devices 100000 --over 8
    secretfree plan --devices 1000000 --over 24 --quota RegisterCertificate=50 --plot plan.png
    """
    table = default_quotas().overridden(quotas)
    kind = IssuerKind(issuer)
    fleet = Fleet(
        devices=devices,
        window=hours * _SECONDS_AN_HOUR,
        issuer=kind,
        authority=Authority.IOT_CORE if kind is IssuerKind.IOT_CORE else Authority(authority),
        thing_groups=thing_groups,
    )
    with stderr().status("Simulating the fleet ..."):
        made = make_plan(fleet, table, resolution=resolution, seed=seed)
    naive = None
    if naive_retry or plot:
        with stderr().status("Simulating a fleet that repeats requests at a fixed interval ..."):
            naive = naive_fleet(made, interval=naive_retry or 30.0, seed=seed)
    if as_json:
        emit_json(as_document(made, naive))
    else:
        write_report(stdout(), made, naive)
    if plot and naive:
        try:
            write_plot(made, naive, plot)
        except (OSError, ValueError) as error:
            raise CliError(f"the plot cannot be written: {error}") from error
        note(f"plot written to {plot}")
