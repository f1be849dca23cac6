"""Adds CloudWatch's metrics and alarms to ministack 1.5.33.

* A function's output in the embedded metric format becomes metrics. ministack only stores the lines.
* An alarm evaluates the metric of its dimensions by periods, counts datapoints, treats missing data as configured, and
  returns to OK. It is evaluated on a timer, so it clears without new data too. ministack evaluates all dimensions
  together, when a datum is put, and never returns to OK by itself.

`SECRETFREE_ALARM_PERIOD`, in seconds, replaces the period of every alarm, to shorten the wait.
"""

from __future__ import annotations

import json
import math
import operator
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PERIOD_VARIABLE: Final = "SECRETFREE_ALARM_PERIOD"
_TICK_SECONDS: Final = 1.0
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


@dataclass(frozen=True)
class Datum:
    """One value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: Mapping[str, str]


def embedded_metrics(message: str) -> Iterator[Datum]:
    """Yield the metrics of a log line in the embedded metric format; none for any other line.

    A dimension set names members of the line; a set with a missing member is left out, as on CloudWatch.
    """
    if '"_aws"' not in message:
        return
    try:
        line = json.loads(message)
        directives = line["_aws"]["CloudWatchMetrics"]
        for directive in directives:
            for names in directive.get("Dimensions") or [[]]:
                if all(isinstance(line.get(name), str) for name in names):
                    yield from _of_directive(line, directive, {name: line[name] for name in names})
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _of_directive(
    line: Mapping[str, Any], directive: Mapping[str, Any], dimensions: Mapping[str, str]
) -> Iterator[Datum]:
    for metric in directive["Metrics"]:
        values = line.get(metric["Name"])
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, (int, float)) and math.isfinite(value):
                unit = metric.get("Unit", "None")
                yield Datum(directive["Namespace"], metric["Name"], float(value), unit, dimensions)


@dataclass(frozen=True)
class Evaluation:
    """The state of an alarm, and why."""

    state: str
    reason: str


def evaluate(alarm: Mapping[str, Any], values: Sequence[float | None]) -> Evaluation:
    """Return the state for the values of the last periods, the newest first; None for a period without a datum.

    Source: CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data", without its evaluation of
    older datapoints.
    """
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    threshold = float(alarm["Threshold"])
    needed = int(alarm.get("DatapointsToAlarm") or len(values))
    treatment = alarm.get("TreatMissingData") or "missing"
    missing = sum(value is None for value in values)
    breaching = sum(value is not None and compare(value, threshold) for value in values)
    breaching += missing if treatment == "breaching" else 0
    reason = f"{breaching} of {len(values)} datapoints cross the threshold {threshold:g}; {needed} are needed"
    if breaching >= needed:
        return Evaluation("ALARM", reason)
    if missing == len(values) and treatment in {"missing", "ignore"}:
        return Evaluation("INSUFFICIENT_DATA" if treatment == "missing" else alarm["StateValue"], "no data")
    return Evaluation("OK", reason)


def period_of(alarm: Mapping[str, Any], shortened: float | None) -> float:
    """Return the seconds of an alarm's period."""
    return shortened if shortened is not None else float(alarm.get("Period", 60))


def shortened_period(environment: Mapping[str, str]) -> float | None:
    """Read `SECRETFREE_ALARM_PERIOD`; raises ValueError, which names it, unless it is a number of seconds."""
    text = environment.get(PERIOD_VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 86_400:
        raise ValueError(f"{PERIOD_VARIABLE}={text!r}; accepted: 1 to 86400 seconds")
    return seconds


def measure(environment: Mapping[str, str]) -> None:
    """Correct this process: extract metrics, and evaluate alarms on a timer."""
    from ministack.services import cloudwatch

    shortened = shortened_period(environment)
    _extract()
    # ministack's own evaluation would undo each state at the next datum.
    cloudwatch._evaluate_alarm = lambda alarm: _evaluate(cloudwatch, alarm, shortened)  # noqa: SLF001
    threading.Thread(target=_tick, args=(cloudwatch, shortened), name="alarms", daemon=True).start()


def _extract() -> None:
    from ministack.services import cloudwatch, cloudwatch_logs

    append = cloudwatch_logs._append_log_events  # noqa: SLF001

    def append_events(stream: Any, events: Any) -> Any:
        append(stream, events)
        for event in events:
            for datum in embedded_metrics(event["message"]):
                cloudwatch.record_metric(datum.namespace, datum.name, datum.value, datum.unit, dict(datum.dimensions))

    cloudwatch_logs._append_log_events = append_events  # noqa: SLF001


def _tick(cloudwatch: Any, shortened: float | None) -> None:
    from ministack.core.responses import request_scope

    while True:
        time.sleep(_TICK_SECONDS)
        scoped = list(cloudwatch._alarms._data.items())  # noqa: SLF001 -- of every account and Region
        for (account, region, _), alarm in scoped:
            with request_scope(account, region):
                _evaluate(cloudwatch, alarm, shortened)


def _evaluate(cloudwatch: Any, alarm: Any, shortened: float | None) -> None:
    if not alarm.get("MetricName") or alarm.get("ComparisonOperator") not in _COMPARISONS:
        return
    found = evaluate(alarm, _values(cloudwatch, alarm, period_of(alarm, shortened)))
    before = alarm["StateValue"]
    if found.state == before:
        return
    alarm.update(StateValue=found.state, StateReason=found.reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], before, found.state, found.reason)  # noqa: SLF001
    cloudwatch._dispatch_alarm_actions(alarm, before, found.state, found.reason)  # noqa: SLF001
    cloudwatch._evaluate_parent_alarms(alarm)  # noqa: SLF001


def _values(cloudwatch: Any, alarm: Mapping[str, Any], period: float) -> list[float | None]:
    """The alarm's statistic over each of its periods, the newest first, which ends now."""
    dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions") or []}
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))  # noqa: SLF001
    points = list(cloudwatch._metrics.get(key) or ())  # noqa: SLF001
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    now = time.time()
    values: list[float | None] = []
    for number in range(int(alarm.get("EvaluationPeriods", 1))):
        end = now - number * period
        window = [point for point in points if end - period < point["Timestamp"] <= end]
        stats = cloudwatch._calc_stats(window)  # noqa: SLF001
        values.append(cloudwatch._stat_value(stats, statistic, window) if window else None)  # noqa: SLF001
    return values
