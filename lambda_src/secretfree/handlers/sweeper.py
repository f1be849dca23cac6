"""The sweeper's Lambda, on a schedule: completes or rolls back issuances, and deletes their obsolete certificates."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients, single_try_clients
from secretfree.config.issuer import IssuerConfig
from secretfree.config.issuers import IssuerSettings
from secretfree.contract import IssuerSetting, LogLevel, Metric
from secretfree.errors import SecretFreeError
from secretfree.handlers import wiring
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.renewal import late_renewal
from secretfree.issuance.sweeping import SweepOutcome, SweepReport, sweep
from secretfree.telemetry import Telemetry

# Seconds reserved for the calls of the last record.
_MARGIN: Final = 15.0


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = IssuerConfig.from_environment(environment)
    clock = time.SystemClock()
    ports = {one.name: wiring.ports(config, one) for one in config.issuers}
    telemetry = {one.name: Telemetry(config.product, one.name, level=config.log_level) for one in config.issuers}

    def handle(_event: object, context: Any) -> dict[str, Any]:
        """Sweep each issuer within its share of the time left. The answer counts the outcomes by issuer."""
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
            _gauge_authority(telemetry[issuer.name], issuer, clock)
            _gauge_ending(telemetry[issuer.name], config, issuer, clock)
            _log_and_count(telemetry[issuer.name], report)
            done[issuer.name] = _summary(report)
        return done

    return handle


def _gauge_authority(telemetry: Telemetry, issuer: IssuerSettings, clock: time.Clock) -> None:
    """Measure how long the issuer's own CA lasts, if it has one. A failure is logged; the next run measures again."""
    if IssuerSetting.AUTHORITY_ARN not in issuer.values:
        return
    from secretfree.adapters.authority_state import days_left

    try:
        days = days_left(
            single_try_clients.acm_pca(issuer.text(IssuerSetting.AUTHORITY_ARN)),
            issuer.text(IssuerSetting.AUTHORITY_ARN),
            validity=issuer.days(IssuerSetting.VALIDITY_DAYS),
            now=clock.now(),
        )
    except (ThrottledError, UnreachableError, SecretFreeError) as error:
        telemetry.log("authority not read", level=LogLevel.WARNING, error_type=type(error).__name__)
        return
    if days is not None:
        telemetry.count(Metric.AUTHORITY_DAYS_LEFT, days)


def _gauge_ending(telemetry: Telemetry, config: IssuerConfig, issuer: IssuerSettings, clock: time.Clock) -> None:
    """Count the devices that have not renewed in time. A failure is logged; the next run counts again.

    A table that this library did not make may lack the index: the rest of the sweeper works without it.
    """
    from secretfree.adapters.dynamodb.ending_certificates import count_ending

    now = clock.now()
    try:
        ending = count_ending(
            clients.dynamodb(),
            table=config.ledger_table,
            issuer=issuer.name,
            after=now,
            until=now + late_renewal(config.renewal_window),
        )
    except (ThrottledError, UnreachableError, SecretFreeError) as error:
        telemetry.log("certificates not counted", level=LogLevel.WARNING, error_type=type(error).__name__)
        return
    telemetry.count(Metric.CERTIFICATES_ENDING, ending)


def _summary(report: SweepReport) -> dict[str, Any]:
    return {
        **{outcome.value: count for outcome, count in report.outcomes.items()},
        "retired": report.retired,
        "orphans": report.orphans,
        "complete": report.complete,
    }


def _log_and_count(telemetry: Telemetry, report: SweepReport) -> None:
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
