"""The sweeper's Lambda, on a schedule: finishes, rolls back and clears away what no device came back for."""

import os
from typing import Any, Final

from secretfree.adapters.iot_core import SWEEPERS_BOUNDS
from secretfree.clock import SystemClock
from secretfree.config import IssuerConfig
from secretfree.contract import IssuerKind, LogLevel, Metric
from secretfree.handlers import wiring
from secretfree.issuance.sweeping import SweepOutcome, SweepReport, sweep
from secretfree.telemetry import Telemetry

_config: Final = IssuerConfig.from_environment(os.environ)
_clock: Final = SystemClock()
_ports: Final = {kind: wiring.ports(_config, kind, bounds=SWEEPERS_BOUNDS) for kind in _config.issuers}
_telemetry: Final = {kind: Telemetry(_config.product, kind.value, level=_config.log_level) for kind in _config.issuers}
# Seconds kept for the last record's calls.
_MARGIN: Final = 15.0


def handler(_event: object, context: Any) -> dict[str, Any]:
    """Sweep each issuer for its share of the time left; the answer is what was done, by issuer."""
    done = {}
    for index, kind in enumerate(_config.issuers):
        left = context.get_remaining_time_in_millis() / 1000 - _MARGIN
        share = left / (len(_config.issuers) - index)
        report = sweep(
            ports=_ports[kind],
            policy=wiring.policy(_config, kind),
            clock=_clock,
            deadline=_clock.monotonic() + share,
        )
        _tell(kind, report)
        done[kind.value] = {
            **{outcome.value: count for outcome, count in report.outcomes.items()},
            "retired": report.retired,
            "orphans": report.orphans,
            "complete": report.complete,
        }
    return done


def _tell(kind: IssuerKind, report: SweepReport) -> None:
    telemetry = _telemetry[kind]
    for outcome, count in sorted(report.outcomes.items()):
        telemetry.log("swept", state=outcome, count=count)
    for step, count in (("retired", report.retired), ("orphans", report.orphans)):
        if count:
            telemetry.log("certificates removed", step=step, count=count)
    for failure in report.failures:
        telemetry.log("failed", level=LogLevel.ERROR, detail=failure)
    telemetry.count(Metric.ISSUED, report.outcomes[SweepOutcome.FINISHED])
    telemetry.count(Metric.PENDING, report.outcomes[SweepOutcome.PARKED] + report.outcomes[SweepOutcome.POSTPONED])
    telemetry.count(Metric.FAILED, len(report.failures))
    telemetry.flush()
