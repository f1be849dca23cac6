"""The alarms of a product line. Each has a severity, a runbook and a default threshold above a quiet fleet."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct
from secretfree.contract import AlarmName, Severity

from cdk_iot_secretfree import measures
from cdk_iot_secretfree.acknowledgments import ALARM_WITHOUT_ACTION, acknowledge
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import require_range, require_seconds

if TYPE_CHECKING:
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """The values at which the alarms fire. The defaults suit a fleet of up to some 100,000 devices.

    Args:
        failures: failed issuances in five minutes.
        clones: requests in 15 minutes with a key other than the enrolled one. One clone that follows the contract's
        backoff stays below the default. unknown_devices: requests of devices that are not enrolled, in 15 minutes.
        pending: answers 202 in five minutes, in six periods in a row. slow: the 99th percentile of an issuance, in
        three periods in a row. throttled_calls: calls of one AWS operation that AWS throttled, in five minutes, in
        three periods in a row. throttled_reads_or_writes: of a table, in five minutes. authority_days: days until the
        Private CA can no longer sign. certificates_ending: devices that are late to renew: their certificate ends
        within a quarter of the renewal
            window. Devices that are out of service count too, so a large fleet needs a larger value.
    """

    failures: int = 5
    clones: int = 20
    unknown_devices: int = 100
    pending: int = 50
    slow: Duration = field(default_factory=lambda: Duration.seconds(10))
    throttled_calls: int = 50
    throttled_reads_or_writes: int = 50
    authority_days: int = 60
    certificates_ending: int = 100

    def __post_init__(self) -> None:
        """Refuse thresholds at which an alarm would always fire."""
        for argument in (
            "failures",
            "clones",
            "unknown_devices",
            "pending",
            "throttled_calls",
            "throttled_reads_or_writes",
            "authority_days",
            "certificates_ending",
        ):
            require_range(argument, getattr(self, argument), 1, 1_000_000)
        require_seconds("slow", self.slow, 1, 14 * 86_400, "whole seconds, up to 14 days")


@checks_arguments
class ProvisioningAlarms(Construct):
    """All alarms of one product line. Made by `SecretFreeProvisioning.add_alarms()`."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        provisioning: "SecretFreeProvisioning",
        topic: sns.ITopic | None,
        ticket_topic: sns.ITopic | None,
        thresholds: AlarmThresholds,
        without: Sequence[AlarmName],
        runbook_base: str,
    ) -> None:
        super().__init__(scope, id)
        topics = {Severity.PAGE: topic, Severity.TICKET: ticket_topic or topic}
        if None in topics.values():
            acknowledge(self, ALARM_WITHOUT_ACTION)
        self._alarms: dict[AlarmName, list[cloudwatch.Alarm]] = {}
        for spec in _specs(provisioning, thresholds):
            if spec.name in without:
                continue
            alarm = self._alarm(provisioning.product, spec, runbook_base)
            if (notified := topics[spec.severity]) is not None:
                action = actions.SnsAction(notified)
                alarm.add_alarm_action(action)
                alarm.add_ok_action(action)
            self._alarms.setdefault(spec.name, []).append(alarm)

    @property
    def by_name(self) -> dict[AlarmName, list[cloudwatch.Alarm]]:
        """The alarms by name. A name has several alarms where it watches several resources."""
        return {name: list(alarms) for name, alarms in self._alarms.items()}

    def _alarm(self, product: str, spec: "_Spec", runbook_base: str) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            spec.construct_id,
            metric=spec.metric,
            threshold=spec.threshold,
            evaluation_periods=spec.periods,
            datapoints_to_alarm=spec.datapoints or spec.periods,
            comparison_operator=spec.operator,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=(
                f"[{spec.severity.value}] {product}: {spec.meaning} Runbook: {runbook_base}{spec.name.value}.md"
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Spec:
    name: AlarmName
    severity: Severity
    meaning: str
    metric: cloudwatch.IMetric
    threshold: float
    periods: int = 1
    datapoints: int | None = None
    subject: str = ""
    operator: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD

    @property
    def construct_id(self) -> str:
        words = "".join(part.title() for part in self.name.value.split("-"))
        return f"{words}{self.subject}"


def _specs(provisioning: "SecretFreeProvisioning", thresholds: AlarmThresholds) -> Iterable[_Spec]:
    for family in _FAMILIES:
        yield from family(provisioning, thresholds)


def _requests(provisioning: "SecretFreeProvisioning", thresholds: AlarmThresholds) -> Iterable[_Spec]:
    quarter = Duration.minutes(15)
    yield _Spec(
        name=AlarmName.FAILURES,
        severity=Severity.PAGE,
        meaning="requests fail with 5xx.",
        metric=provisioning.metric_failed(),
        threshold=thresholds.failures,
        periods=3,
        datapoints=2,
    )
    yield _Spec(
        name=AlarmName.CLONES,
        severity=Severity.TICKET,
        meaning="many requests come with another key than the enrolled one.",
        metric=provisioning.metric_denied(reason="key-mismatch", period=quarter),
        threshold=thresholds.clones,
    )
    yield _Spec(
        name=AlarmName.UNKNOWN_DEVICES,
        severity=Severity.TICKET,
        meaning="many devices ask that are not enrolled.",
        metric=provisioning.metric_denied(reason="unknown-device", period=quarter),
        threshold=thresholds.unknown_devices,
    )
    yield _Spec(
        name=AlarmName.UNREADABLE_RECORDS,
        severity=Severity.TICKET,
        meaning="a registry record cannot be read, so its device is refused.",
        metric=provisioning.metric_denied(reason="registry-record", period=quarter),
        threshold=1,
    )


def _issuance(provisioning: "SecretFreeProvisioning", thresholds: AlarmThresholds) -> Iterable[_Spec]:
    yield _Spec(
        name=AlarmName.PENDING,
        severity=Severity.TICKET,
        meaning="devices are answered 202 for half an hour.",
        metric=provisioning.metric_pending(),
        threshold=thresholds.pending,
        periods=6,
    )
    yield _Spec(
        name=AlarmName.SLOW,
        severity=Severity.TICKET,
        meaning="issuing is slow.",
        metric=provisioning.metric_stage_latency("issue"),
        threshold=thresholds.slow.to_milliseconds(),
        periods=3,
    )
    for call in measures.quota_calls(provisioning.issuers):
        yield _Spec(
            name=AlarmName.QUOTA,
            subject=call,
            severity=Severity.TICKET,
            meaning=f"AWS throttles {call}: its quota is used up.",
            metric=provisioning.metric_calls_throttled(call),
            threshold=thresholds.throttled_calls,
            periods=3,
        )
    yield _Spec(
        name=AlarmName.SWEEPER,
        severity=Severity.TICKET,
        meaning="the sweeper's runs fail.",
        metric=provisioning.sweeper_function.metric_errors(period=Duration.minutes(15)),
        threshold=1,
        periods=3,
        datapoints=2,
    )


def _blocking(provisioning: "SecretFreeProvisioning", _thresholds: AlarmThresholds) -> Iterable[_Spec]:
    if provisioning.blocking is None:
        return
    for subject, meaning, metric, threshold, periods in (
        ("GivenUp", "a change of the registry was given up.", provisioning.blocking.metric_dead_letters, 1, 1),
        ("Late", "the registry's changes wait for minutes.", provisioning.blocking.metric_lag, _LATE_MILLISECONDS, 2),
    ):
        yield _Spec(
            name=AlarmName.BLOCKING,
            subject=subject,
            severity=Severity.PAGE,
            meaning=f"{meaning} A blocked device may still be connected.",
            metric=metric(period=_FIVE_MINUTES),
            threshold=threshold,
            periods=periods,
        )


def _retirement(provisioning: "SecretFreeProvisioning", _thresholds: AlarmThresholds) -> Iterable[_Spec]:
    if provisioning.retirement is not None:
        yield _Spec(
            name=AlarmName.RETIREMENT,
            severity=Severity.TICKET,
            meaning="an old certificate could not be retired, after ten tries.",
            metric=provisioning.retirement.metric_dead_letters(period=_FIVE_MINUTES),
            threshold=1,
        )


def _following(provisioning: "SecretFreeProvisioning", _thresholds: AlarmThresholds) -> Iterable[_Spec]:
    if provisioning.following is None:
        return
    for subject, severity, meaning, metric, threshold, periods in (
        (
            "GivenUp",
            Severity.PAGE,
            "certificates of another Region were given up; their devices cannot connect here.",
            provisioning.following.metric_dead_letters(period=_FIVE_MINUTES),
            1,
            1,
        ),
        (
            "Late",
            Severity.TICKET,
            "certificates of other Regions are registered minutes late.",
            provisioning.metric_replication_lag(period=_FIVE_MINUTES),
            _LATE_MILLISECONDS,
            2,
        ),
    ):
        yield _Spec(
            name=AlarmName.REPLICATION,
            subject=subject,
            severity=severity,
            meaning=meaning,
            metric=metric,
            threshold=threshold,
            periods=periods,
        )


def _resources(provisioning: "SecretFreeProvisioning", thresholds: AlarmThresholds) -> Iterable[_Spec]:
    for subject, metric in (
        ("Registry", measures.table_throttles(provisioning.registry.table_name, "Read")),
        ("Ledger", measures.table_throttles(provisioning.ledger.table_name, "Write")),
    ):
        yield _Spec(
            name=AlarmName.TABLE_THROTTLED,
            subject=subject,
            severity=Severity.PAGE,
            meaning=f"DynamoDB throttles the {subject.lower()}.",
            metric=metric,
            threshold=thresholds.throttled_reads_or_writes,
        )
    if provisioning.authority is not None:
        yield _Spec(
            name=AlarmName.AUTHORITY_ENDS,
            severity=Severity.TICKET,
            meaning="the Private CA will soon be too old to sign.",
            metric=provisioning.metric_authority_days_left(),
            threshold=thresholds.authority_days,
            operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
        )
    yield _Spec(
        name=AlarmName.CERTIFICATES_END,
        severity=Severity.TICKET,
        meaning="certificates of many devices end soon, and the devices do not renew.",
        metric=provisioning.metric_certificates_ending(),
        threshold=thresholds.certificates_ending,
    )


_FIVE_MINUTES: Final = Duration.minutes(5)
_LATE_MILLISECONDS: Final = 120_000
_Family = Callable[["SecretFreeProvisioning", AlarmThresholds], Iterable[_Spec]]
_FAMILIES: Final[Sequence[_Family]] = (_requests, _issuance, _blocking, _retirement, _following, _resources)
RUNBOOKS: Final = "docs/runbooks/"
"""Folder of the runbooks in this project. Give your own URL if you keep them elsewhere."""
