"""The sweeper's Lambda, on a schedule: completes or rolls back issuances, and deletes what they left behind."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
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
    ports = {one.name: wiring.ports(config, one, searches_widely=True) for one in config.issuers}
    telemetry = {one.name: Telemetry(config.product, one.name, level=config.log_level) for one in config.issuers}

    def handle(_event: object, context: Any) -> dict[str, Any]:
        """Sweep each issuer for its share of the time left; the answer is what was done, by issuer."""
        done = {}
        for index, issuer in enumerate(config.issuers):
            left = context.get_remaining_time_in_millis() / 1000 - _MARGIN
            share = left / (len(config.issuers) - index)
            report = sweep(
                ports=ports[issuer.name],
                policy=wiring.policy(config, issuer),
                clock=clock,
                deadline=clock.monotonic() + share,
            )
            _tell(telemetry[issuer.name], report)
            done[issuer.name] = _summary(report)
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
