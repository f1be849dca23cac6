"""The sweeper's Lambda, on a schedule: completes or rolls back issuances, and deletes what they left behind."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters.iot_core import SWEEPERS_BOUNDS
from secretfree.config import IssuerConfig
from secretfree.contract import LogLevel, Metric
from secretfree.handlers import wiring
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.issuance.sweeping import SweepOutcome, SweepReport, sweep
from secretfree.telemetry import Telemetry

# Seconds kept for the last record's calls.
_MARGIN: Final = 15.0


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = IssuerConfig.from_environment(environment)
    clock = time.SystemClock()
    ports = {kind: wiring.ports(config, kind, bounds=SWEEPERS_BOUNDS) for kind in config.issuers}
    telemetry = {kind: Telemetry(config.product, kind.value, level=config.log_level) for kind in config.issuers}

    def handle(_event: object, context: Any) -> dict[str, Any]:
        """Sweep each issuer for its share of the time left; the answer is what was done, by issuer."""
        done = {}
        for index, kind in enumerate(config.issuers):
            left = context.get_remaining_time_in_millis() / 1000 - _MARGIN
            share = left / (len(config.issuers) - index)
            report = sweep(
                ports=ports[kind],
                policy=wiring.policy(config, kind),
                clock=clock,
                deadline=clock.monotonic() + share,
            )
            _tell(telemetry[kind], report)
            done[kind.value] = _summary(report)
        return done

    return handle


def _summary(report: SweepReport) -> dict[str, Any]:
    return {
        **{outcome.value: count for outcome, count in report.outcomes.items()},
        "retired": report.retired,
        "orphans": report.orphans,
        "complete": report.complete,
    }


def _tell(telemetry: Telemetry, report: SweepReport) -> None:
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


handler: Final = lambda_handler(build)
