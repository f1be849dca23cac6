"""The dashboard of a product line: the funnel, refusals, latency, quotas, tables, the CA, blocks, renewals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cdk_iot_secretfree import measures
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import refuse, require_range

if TYPE_CHECKING:
    from cdk_iot_secretfree.blocking import Blocking
    from cdk_iot_secretfree.following import Following
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


@checks_arguments
class ProvisioningDashboard(Construct):
    """One CloudWatch dashboard. Made by `SecretFreeProvisioning.add_dashboard()`."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        provisioning: "SecretFreeProvisioning",
        quotas: Mapping[str, int],
    ) -> None:
        super().__init__(scope, id)
        for call, rate in quotas.items():
            if call not in measures.DEFAULT_QUOTAS:
                refuse("quotas", call, ", ".join(measures.DEFAULT_QUOTAS))
            require_range(f"quotas[{call!r}]", rate, 1, 100_000, "calls a second")
        limits = {**measures.DEFAULT_QUOTAS, **quotas}
        self._dashboard = cloudwatch.Dashboard(
            self, "Resource", default_interval=Duration.hours(12), period_override=cloudwatch.PeriodOverride.AUTO
        )
        self._dashboard.add_widgets(_title(provisioning))
        self._dashboard.add_widgets(*_funnel(provisioning))
        self._dashboard.add_widgets(*_refusals(provisioning))
        self._dashboard.add_widgets(*_latency(provisioning))
        for row in _rows(_quota_widgets(provisioning, limits), 4):
            self._dashboard.add_widgets(*row)
        self._dashboard.add_widgets(*_machinery(provisioning))
        if provisioning.blocking is not None:
            self._dashboard.add_widgets(*_blocking(provisioning, provisioning.blocking))
        if provisioning.following is not None:
            self._dashboard.add_widgets(*_following(provisioning, provisioning.following))
        self._dashboard.add_widgets(*_renewal(provisioning))

    @property
    def dashboard(self) -> cloudwatch.Dashboard:
        """The dashboard itself, for widgets of your own."""
        return self._dashboard


def _title(provisioning: "SecretFreeProvisioning") -> cloudwatch.IWidget:
    text = (
        f"# Provisioning of {provisioning.product}\n"
        "Why has this device no certificate? `secretfree diagnose DEVICE_ID`, or `--request-id ID`."
    )
    return cloudwatch.TextWidget(markdown=text, width=_WIDTH, height=2)


def _funnel(provisioning: "SecretFreeProvisioning") -> Sequence[cloudwatch.IWidget]:
    steps = [
        provisioning.metric_allowed().with_(label="allowed"),
        provisioning.metric_pending().with_(label="answered 202"),
        provisioning.metric_issued().with_(label="issued"),
        provisioning.metric_reused().with_(label="answered again"),
    ]
    if provisioning.retirement is not None:
        steps.append(provisioning.metric_connected().with_(label="connected"))
    return (
        cloudwatch.GraphWidget(title="From request to connection", left=steps, width=16, height=_HEIGHT),
        cloudwatch.SingleValueWidget(
            title="In the time shown",
            metrics=[*steps, provisioning.metric_denied().with_(label="refused")],
            set_period_to_time_range=True,
            width=8,
            height=_HEIGHT,
        ),
    )


def _refusals(provisioning: "SecretFreeProvisioning") -> Sequence[cloudwatch.IWidget]:
    by_reason = [provisioning.metric_denied(reason=reason).with_(label=reason) for reason in _SHOWN_REASONS]
    return (
        cloudwatch.GraphWidget(title="Refused, by reason", left=by_reason, stacked=True, width=16, height=_HEIGHT),
        cloudwatch.GraphWidget(
            title="Failed, and asked too often",
            left=[
                provisioning.metric_failed().with_(label="failed (5xx)"),
                provisioning.metric_throttled().with_(label="asked too often (429)"),
            ],
            width=8,
            height=_HEIGHT,
        ),
    )


def _latency(provisioning: "SecretFreeProvisioning") -> Sequence[cloudwatch.IWidget]:
    def of(statistic: str, stages: Sequence[str]) -> Sequence[cloudwatch.IMetric]:
        return [
            provisioning.metric_stage_latency(stage, statistic=statistic).with_(label=f"{stage} {statistic}")
            for stage in stages
        ]

    whole = ("authorize", "issue")
    return (
        cloudwatch.GraphWidget(
            title="Latency of a request (ms)", left=[*of("p50", whole), *of("p99", whole)], width=12, height=_HEIGHT
        ),
        cloudwatch.GraphWidget(
            title="Latency of an issuance's steps (ms)",
            left=[*of("p50", _STEPS), *of("p99", _STEPS)],
            width=12,
            height=_HEIGHT,
        ),
    )


def _quota_widgets(provisioning: "SecretFreeProvisioning", limits: Mapping[str, int]) -> Sequence[cloudwatch.IWidget]:
    minute = Duration.minutes(1)
    return [
        cloudwatch.GraphWidget(
            title=f"{call}: calls a minute",
            left=[
                provisioning.metric_calls(call, period=minute).with_(label="calls"),
                provisioning.metric_calls_throttled(call, period=minute).with_(label="throttled"),
            ],
            left_annotations=[
                cloudwatch.HorizontalAnnotation(value=limits[call] * 60, label=f"quota: {limits[call]} a second")
            ],
            width=6,
            height=_HEIGHT,
        )
        for call in measures.quota_calls(provisioning.issuers)
    ]


def _machinery(provisioning: "SecretFreeProvisioning") -> Sequence[cloudwatch.IWidget]:
    sweeper = provisioning.sweeper_function
    widgets: list[cloudwatch.IWidget] = [
        cloudwatch.GraphWidget(
            title="Tables: throttled",
            left=[
                measures.table_throttles(table, kind).with_(label=f"{name} {kind.lower()}s")
                for name, table in (
                    ("registry", provisioning.registry.table_name),
                    ("ledger", provisioning.ledger.table_name),
                )
                for kind in ("Read", "Write")
            ],
            width=8,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title="Sweeper",
            left=[sweeper.metric_invocations(label="runs"), sweeper.metric_errors(label="errors")],
            width=8,
            height=_HEIGHT,
        ),
    ]
    if provisioning.authority is not None:
        days = provisioning.metric_authority_days_left().with_(label="days the CA can sign")
        widgets.append(
            cloudwatch.GraphWidget(
                title="Private CA: days left", left=[days], left_y_axis=_FROM_ZERO, width=8, height=_HEIGHT
            )
        )
    return widgets


def _blocking(provisioning: "SecretFreeProvisioning", blocking: "Blocking") -> Sequence[cloudwatch.IWidget]:
    return (
        cloudwatch.GraphWidget(
            title="Revoked on a block",
            left=[
                provisioning.metric_revoked().with_(label="certificates revoked"),
                provisioning.metric_revocation_failed().with_(label="failed, tried again"),
            ],
            width=8,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title="Blocks: delay (ms)", left=[blocking.metric_lag().with_(label="delay")], width=8, height=_HEIGHT
        ),
        cloudwatch.GraphWidget(
            title="Blocks: dead letters",
            left=[blocking.metric_dead_letters().with_(label="dead letters")],
            width=8,
            height=_HEIGHT,
        ),
    )


def _following(provisioning: "SecretFreeProvisioning", following: "Following") -> Sequence[cloudwatch.IWidget]:
    lag = provisioning.metric_replication_lag
    return (
        cloudwatch.GraphWidget(
            title="Certificates of other Regions",
            left=[
                provisioning.metric_followed().with_(label="registered or revoked here"),
                provisioning.metric_follow_failed().with_(label="failed, tried again"),
            ],
            width=8,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title="Replication lag (ms)",
            left=[lag(statistic=name).with_(label=f"lag {name}") for name in ("p50", "p99")],
            width=8,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title="Other Regions: dead letters",
            left=[following.metric_dead_letters().with_(label="dead letters")],
            width=8,
            height=_HEIGHT,
        ),
    )


def _renewal(provisioning: "SecretFreeProvisioning") -> Sequence[cloudwatch.IWidget]:
    """Devices that do not renew and, where connects are watched, the old certificates of those that did."""
    widgets = [
        cloudwatch.GraphWidget(
            title="Devices late to renew",
            left=[provisioning.metric_certificates_ending().with_(label="certificates that end soon")],
            left_y_axis=_FROM_ZERO,
            width=8,
            height=_HEIGHT,
        )
    ]
    if (retirement := provisioning.retirement) is not None:
        widgets += [
            cloudwatch.GraphWidget(
                title="Old certificates retired",
                left=[
                    provisioning.metric_retired().with_(label="retired"),
                    provisioning.metric_retirement_failed().with_(label="failed"),
                ],
                width=8,
                height=_HEIGHT,
            ),
            cloudwatch.GraphWidget(
                title="Retirement: dead letters",
                left=[retirement.metric_dead_letters().with_(label="dead letters")],
                width=8,
                height=_HEIGHT,
            ),
        ]
    return widgets


def _rows(widgets: Sequence[cloudwatch.IWidget], length: int) -> Sequence[Sequence[cloudwatch.IWidget]]:
    return [widgets[start : start + length] for start in range(0, len(widgets), length)]


_WIDTH: Final = 24
_HEIGHT: Final = 6
_STEPS: Final = ("request", "collect", "install", "attach")
_FROM_ZERO: Final = cloudwatch.YAxisProps(min=0)
_SHOWN_REASONS: Final = (
    "unknown-device",
    "key-mismatch",
    "bad-signature",
    "blocked-device",
    "registry-record",
    "not-a-csr",
    "device-id",
)
