"""The rules. Each module of this package is a set of rules. A new module needs no other change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pkgutil import iter_modules

from secretfree_cli.diagnose.evidence import Evidence
from secretfree_cli.diagnose.finding import Finding, Stage

Rule = Callable[[Evidence], Iterable[Finding]]
_RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register a rule. It yields a finding for each cause in the evidence."""
    _RULES.append(function)
    return function


def findings(evidence: Evidence) -> Sequence[Finding]:
    """Return the findings of all rules. A cause that hides others is first."""
    found = [finding for one in _RULES for finding in one(evidence)]
    stages = list(Stage)
    found.sort(key=lambda finding: (finding.rank, stages.index(finding.stage)))
    return list({finding.cause.value: finding for finding in reversed(found)}.values())[::-1]


for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
