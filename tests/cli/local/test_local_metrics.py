"""Embedded metrics and alarms of the emulator."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from secretfree.contract import METRIC_NAMESPACE, Dimension, Metric
from secretfree.telemetry import Telemetry
from secretfree_cli.local.emulators.aws_metrics import (
    PERIOD_VARIABLE,
    embedded_metrics,
    evaluate,
    measure,
    shortened_period,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-metrics")]  # one process for all of them

ALARM = {
    "AlarmName": "failures",
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Threshold": 5,
    "StateValue": "OK",
    "TreatMissingData": "notBreaching",
}


def written() -> str:
    stream = io.StringIO()
    telemetry = Telemetry("widget", stream=stream)
    telemetry.count(Metric.DENIED, 3, dimensions={Dimension.REASON: "key-mismatch"})
    telemetry.flush()
    return stream.getvalue()


def test_each_dimension_set_of_a_line_becomes_a_metric() -> None:
    found = [(one.name, one.value, dict(one.dimensions)) for one in embedded_metrics(written())]
    assert found == [
        (Metric.DENIED, 3.0, {Dimension.PRODUCT: "widget"}),
        (Metric.DENIED, 3.0, {Dimension.PRODUCT: "widget", Dimension.REASON: "key-mismatch"}),
    ]


@pytest.mark.parametrize(
    "message",
    [
        "START RequestId: 1",
        '{"event": "denied"}',
        '{"_aws": 1}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["Gone"]], "Metrics": [{"Name": "A"}]}]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{"Name": "A"}]}]}, "A": "x"}',
        '{"_aws"',
    ],
)
def test_any_other_line_becomes_none(message: str) -> None:
    assert list(embedded_metrics(message)) == []


@pytest.mark.parametrize(
    ("values", "settings", "state"),
    [
        ([5.0], {}, "ALARM"),
        ([4.0], {}, "OK"),
        ([None], {}, "OK"),
        ([None], {"TreatMissingData": "breaching"}, "ALARM"),
        ([None], {"TreatMissingData": "missing"}, "INSUFFICIENT_DATA"),
        ([None], {"TreatMissingData": "ignore", "StateValue": "ALARM"}, "ALARM"),
        ([9.0, None, 9.0], {"DatapointsToAlarm": 2}, "ALARM"),
        ([9.0, None, 9.0], {"DatapointsToAlarm": 3}, "OK"),
        ([1.0], {"ComparisonOperator": "LessThanThreshold"}, "ALARM"),
    ],
)
def test_an_alarm_counts_datapoints_and_treats_missing_ones_as_configured(
    values: list[float | None], settings: dict[str, Any], state: str
) -> None:
    assert evaluate({**ALARM, **settings}, values).state == state


def test_a_period_that_is_no_time_is_refused_by_name() -> None:
    assert shortened_period({}) is None
    assert shortened_period({PERIOD_VARIABLE: "2"}) == 2
    for text in ("0", "x", "nan", "1e9"):
        with pytest.raises(ValueError, match=PERIOD_VARIABLE):
            shortened_period({PERIOD_VARIABLE: text})


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """ministack's services in this process, corrected, with periods of two seconds."""
    from ministack.services import cloudwatch, cloudwatch_logs

    monkeypatch.setattr(cloudwatch, "_evaluate_alarm", cloudwatch._evaluate_alarm)
    monkeypatch.setattr(cloudwatch_logs, "_append_log_events", cloudwatch_logs._append_log_events)
    measure({PERIOD_VARIABLE: "2"})
    yield cloudwatch
    cloudwatch.reset()


def test_an_alarm_fires_on_its_own_dimensions_alone_and_clears_in_silence(emulator: Any, eventually: Any) -> None:
    from ministack.services import cloudwatch_logs

    for reason in ("key-mismatch", "bad-signature"):
        emulator.cloudformation_put_metric_alarm(
            {
                **ALARM,
                "AlarmName": reason,
                "Threshold": 3,
                "StateValue": "INSUFFICIENT_DATA",
                "Namespace": METRIC_NAMESPACE,
                "MetricName": Metric.DENIED,
                "Statistic": "Sum",
                "Period": 900,
                "EvaluationPeriods": 1,
                "Dimensions": [
                    {"Name": Dimension.PRODUCT, "Value": "widget"},
                    {"Name": Dimension.REASON, "Value": reason},
                ],
            }
        )
    stream = {"events": [], "firstEventTimestamp": None, "lastEventTimestamp": None}
    now = int(time.time() * 1000)
    cloudwatch_logs._append_log_events(stream, [{"timestamp": now, "message": written(), "ingestionTime": now}])

    def states() -> dict[str, str]:
        return {name: emulator._alarms[name]["StateValue"] for name in ("key-mismatch", "bad-signature")}

    assert eventually(lambda: states() == {"key-mismatch": "ALARM", "bad-signature": "OK"})
    assert eventually(lambda: states() == {"key-mismatch": "OK", "bad-signature": "OK"})
