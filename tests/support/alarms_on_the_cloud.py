"""The alarms of a stack in a local cloud: makes each fire, and reads their states."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from secretfree.contract import METRIC_NAMESPACE, Dimension, Metric
from secretfree.telemetry import Telemetry
from secretfree_cli.target import Target

Alarms = Mapping[str, Mapping[str, Any]]
_PATIENCE = 90.0
_STREAM = "alarms"


def alarms_of(target: Target) -> Alarms:
    """The stack's alarms, by name."""
    resources = _resources(target)
    names = {one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::CloudWatch::Alarm"}
    described = target.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {alarm["AlarmName"]: alarm for alarm in described if alarm["AlarmName"] in names}


def states(target: Target, alarms: Alarms) -> dict[str, str]:
    """The state of each alarm."""
    return _Watch(target, alarms).states()


def until(probe: Callable[[], bool], *, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Whether `probe` becomes true in time; `meanwhile` runs between two probes."""
    deadline = time.monotonic() + _PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(0.3)
    return True


def each_fires_alone_and_clears(target: Target, alarms: Alarms, *, of: Alarms | None = None) -> None:
    """Assert that each of `of` (default: all) fires on its metric, as the only one of `alarms`, and clears.

    One alarm clears while the next one fires.
    """
    watch = _Watch(target, alarms)
    quiet = dict.fromkeys(alarms, "OK")
    assert until(lambda: watch.states() == quiet), watch.states()
    for name, alarm in (of or alarms).items():
        expected = {**quiet, name: "ALARM"}
        assert until(
            lambda expected=expected: watch.states() == expected,
            meanwhile=lambda alarm=alarm: watch.breach(alarm),
        ), (alarm["AlarmDescription"], watch.states())
    assert until(lambda: watch.states() == quiet), watch.states()


class _Watch:
    """Some alarms of a stack, with clients that are made once: hundreds of calls follow."""

    def __init__(self, target: Target, alarms: Alarms) -> None:
        self._target = target
        self._names = list(alarms)
        self._cloudwatch = target.client("cloudwatch")

    @cached_property
    def _log(self) -> Callable[..., Any]:
        """Writes events into a stream of its own. Only a breach needs it."""
        client = self._target.client("logs")
        group = next(
            one["PhysicalResourceId"]
            for one in _resources(self._target)
            if one["ResourceType"] == "AWS::Logs::LogGroup" and "Authorizer" in one["LogicalResourceId"]
        )
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_stream(logGroupName=group, logStreamName=_STREAM)
        return partial(client.put_log_events, logGroupName=group, logStreamName=_STREAM)

    def states(self) -> dict[str, str]:
        described = self._cloudwatch.describe_alarms(AlarmNames=self._names)["MetricAlarms"]
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in described}

    def breach(self, alarm: Mapping[str, Any]) -> None:
        """Produce the alarm's metric: a log line of the runtime in a log group, or AWS's own metric."""
        value = alarm["Threshold"] - 1 if alarm["ComparisonOperator"].startswith("Less") else alarm["Threshold"] + 1
        if alarm["Namespace"] != METRIC_NAMESPACE:
            datum = {"MetricName": alarm["MetricName"], "Dimensions": alarm["Dimensions"], "Value": value}
            self._cloudwatch.put_metric_data(Namespace=alarm["Namespace"], MetricData=[datum])
            return
        event = {"timestamp": int(time.time() * 1000), "message": _line(alarm, value)}
        self._log(logEvents=[event])


def _line(alarm: Mapping[str, Any], value: float) -> str:
    dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    metric, product = Metric(alarm["MetricName"]), dimensions.pop(Dimension.PRODUCT)
    stream = io.StringIO()
    telemetry = Telemetry(product, stream=stream)
    named = {Dimension(name): text for name, text in dimensions.items()}
    if metric is Metric.STAGE_LATENCY:
        telemetry._add(metric, value, named)  # A stage that takes this long would take as long here.
    elif metric is Metric.REPLICATION_LAG:
        telemetry.lag(int(value))
    else:
        telemetry.count(metric, int(value), dimensions=named)
    telemetry.flush()
    return stream.getvalue()


def _resources(target: Target) -> list[Any]:
    client = target.client("cloudformation")
    found: list[Any] = client.describe_stack_resources(StackName=target.stack_name)["StackResources"]
    return found
