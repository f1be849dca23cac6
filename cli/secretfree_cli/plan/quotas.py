"""The account quotas that a plan is made against: the table in quotas.toml, and what the operator says is different."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files

from secretfree_cli.output import CliError, ExitCode


@dataclass(frozen=True)
class Quota:
    """One quota: calls a second from a token bucket, or executions at once. Exactly one of the two is set."""

    name: str
    service: str
    rate: float | None
    """Calls (DynamoDB: capacity units) a second."""
    burst: float
    """What the bucket holds after a while without a call."""
    concurrency: int | None
    adjustable: bool
    source: str

    @property
    def limit(self) -> float:
        """The figure that Service Quotas shows: the rate, or the concurrency."""
        return float(self.rate if self.rate is not None else self.concurrency or 0)

    def raised_to(self, limit: float) -> Quota:
        """Return this quota at another limit; the bucket grows in proportion."""
        if self.concurrency is not None:
            return replace(self, concurrency=math.ceil(limit))
        return replace(self, rate=limit, burst=self.burst * limit / self.limit)


@dataclass(frozen=True)
class QuotaTable:
    """Every quota by name."""

    collected: date
    quotas: Mapping[str, Quota]

    def __getitem__(self, name: str) -> Quota:
        return self.quotas[name]

    def overridden(self, assignments: Iterable[str]) -> QuotaTable:
        """Return the table with `NAME=LIMIT` or `NAME=RATE/BURST` applied, as `--quota` gives them.

        Raises CliError, naming the accepted form, for an unknown name or a limit that is not a positive number.
        """
        quotas = dict(self.quotas)
        for assignment in assignments:
            quota = self._assigned(assignment, quotas)
            quotas[quota.name] = quota
        return replace(self, quotas=quotas)

    def with_limits(self, limits: Mapping[str, float]) -> QuotaTable:
        """Return the table with some quotas at other limits."""
        raised = {name: self[name].raised_to(limit) for name, limit in limits.items()}
        return replace(self, quotas={**self.quotas, **raised})

    def _assigned(self, assignment: str, quotas: Mapping[str, Quota]) -> Quota:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise CliError(
                f"--quota {assignment!r} is not NAME=LIMIT or NAME=RATE/BURST",
                hint="for example --quota RegisterCertificate=50",
                exit_code=ExitCode.USAGE,
            )
        known = {quota.lower(): quota for quota in quotas}
        if name.strip().lower() not in known:
            raise CliError(
                f"--quota: there is no quota {name!r}", hint=f"one of {', '.join(quotas)}", exit_code=ExitCode.USAGE
            )
        quota = quotas[known[name.strip().lower()]]
        limit, slash, burst = value.partition("/")
        raised = quota.raised_to(_positive(assignment, limit))
        if not slash:
            return raised
        if quota.rate is None:
            raise CliError(f"--quota {assignment!r}: a concurrency has no burst", exit_code=ExitCode.USAGE)
        return replace(raised, burst=_positive(assignment, burst))


def default_quotas() -> QuotaTable:
    """Return the quotas of a new account, from the data file beside this module."""
    document = tomllib.loads(files(__package__).joinpath("quotas.toml").read_text(encoding="utf-8"))
    quotas = (
        Quota(
            name=row["name"],
            service=row["service"],
            rate=row.get("rate"),
            burst=row.get("burst", row.get("rate", 0)),
            concurrency=row.get("concurrency"),
            adjustable=row["adjustable"],
            source=row["source"],
        )
        for row in document["quota"]
    )
    return QuotaTable(document["collected"], {quota.name: quota for quota in quotas})


def _positive(assignment: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise CliError(f"--quota {assignment!r}: {text!r} is not a number above 0", exit_code=ExitCode.USAGE)
    return number
