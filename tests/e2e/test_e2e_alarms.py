"""The deployed alarms: each fires on what it watches, alone, and clears in the silence after it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from secretfree.contract import METRIC_NAMESPACE, AlarmName, Dimension, Metric
from secretfree.telemetry import Telemetry

_PATIENCE = 40.0


@pytest.fixture(scope="module")
def alarms(cloud: Any) -> Mapping[str, Mapping[str, Any]]:
    """The stack's alarms, by construct id."""
    resources = cloud.target.client("cloudformation").describe_stack_resources(StackName=cloud.target.stack_name)
    names = {
        one["PhysicalResourceId"]
        for one in resources["StackResources"]
        if one["ResourceType"] == "AWS::CloudWatch::Alarm"
    }
    described = cloud.target.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {alarm["AlarmName"]: alarm for alarm in described if alarm["AlarmName"] in names}


def states(cloud: Any, alarms: Mapping[str, Any]) -> dict[str, str]:
    described = cloud.target.client("cloudwatch").describe_alarms(AlarmNames=list(alarms))["MetricAlarms"]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in described}


def until(probe: Callable[[], bool], *, meanwhile: Callable[[], object] = lambda: None) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(0.3)
    return True


def test_the_sample_has_each_alarm(alarms: Mapping[str, Mapping[str, Any]]) -> None:
    runbooks = {alarm["AlarmDescription"].rpartition("/")[2].removesuffix(".md") for alarm in alarms.values()}
    # Replication has an alarm where there are several Regions.
    assert runbooks == {name.value for name in AlarmName if name is not AlarmName.REPLICATION}


def test_each_alarm_fires_alone_and_clears(cloud: Any, alarms: Mapping[str, Mapping[str, Any]]) -> None:
    quiet = dict.fromkeys(alarms, "OK")
    for name, alarm in alarms.items():
        assert until(lambda: states(cloud, alarms) == quiet), states(cloud, alarms)
        expected = {**quiet, name: "ALARM"}
        assert until(
            lambda expected=expected: states(cloud, alarms) == expected,
            meanwhile=lambda alarm=alarm: breach(cloud, alarm),
        ), (alarm["AlarmDescription"], states(cloud, alarms))
    assert until(lambda: states(cloud, alarms) == quiet)


def breach(cloud: Any, alarm: Mapping[str, Any]) -> None:
    """Let happen what the alarm watches: the runtime's own line in its log group, or AWS's own metric."""
    value = alarm["Threshold"] - 1 if alarm["ComparisonOperator"].startswith("Less") else alarm["Threshold"] + 1
    dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    if alarm["Namespace"] != METRIC_NAMESPACE:
        datum = {"MetricName": alarm["MetricName"], "Dimensions": alarm["Dimensions"], "Value": value}
        cloud.target.client("cloudwatch").put_metric_data(Namespace=alarm["Namespace"], MetricData=[datum])
        return
    metric, product = Metric(alarm["MetricName"]), dimensions.pop(Dimension.PRODUCT)
    stream = io.StringIO()
    telemetry = Telemetry(product, stream=stream)
    named = {Dimension(name): text for name, text in dimensions.items()}
    if metric is Metric.STAGE_LATENCY:
        telemetry._add(metric, value, named)  # a stage that takes so long would take so long here
    else:
        telemetry.count(metric, int(value), dimensions=named)
    telemetry.flush()
    log(cloud, stream.getvalue())


def log(cloud: Any, line: str) -> None:
    client = cloud.target.client("logs")
    (group,) = [
        one["LoggingConfig"]["LogGroup"] for one in cloud.functions() if one["Handler"].endswith("authorizer.handler")
    ]
    with suppress(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_stream(logGroupName=group, logStreamName="alarms")
    event = {"timestamp": int(time.time() * 1000), "message": line}
    client.put_log_events(logGroupName=group, logStreamName="alarms", logEvents=[event])


def test_a_refused_clone_is_counted_by_its_reason_and_sets_off_nothing(
    cloud: Any, alarms: Mapping[str, Any], workshop: Any, post: Any
) -> None:
    genuine = workshop.enrolled(cloud)
    clone = workshop.device(device_id=genuine.device_id)
    assert post(f"{cloud.url}/new", clone.csr()).status == 403
    client = cloud.target.client("cloudwatch")

    def counted() -> bool:
        points = client.get_metric_statistics(
            Namespace=METRIC_NAMESPACE,
            MetricName=Metric.DENIED,
            Dimensions=[
                {"Name": Dimension.PRODUCT, "Value": cloud.target.product},
                {"Name": Dimension.REASON, "Value": "key-mismatch"},
            ],
            StartTime=time.time() - 600,
            EndTime=time.time() + 60,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points) >= 1

    assert until(counted)
    assert set(states(cloud, alarms).values()) == {"OK"}


def test_the_calls_of_an_issuance_are_counted_by_operation(cloud: Any, workshop: Any, post: Any) -> None:
    assert post(f"{cloud.url}/new", workshop.enrolled(cloud).csr()).status == 200
    client = cloud.target.client("cloudwatch")

    def operations() -> set[str]:
        metrics = client.list_metrics(Namespace=METRIC_NAMESPACE, MetricName=Metric.CALLS)["Metrics"]
        return {one["Value"] for metric in metrics for one in metric["Dimensions"] if one["Name"] == Dimension.CALL}

    expected = {"IssueCertificate", "GetCertificate", "RegisterCertificate", "CreateThing", "AttachPolicy"}
    assert until(lambda: expected <= operations()), operations()


def test_the_sweeper_counts_the_late_devices_in_the_deployed_index(cloud: Any) -> None:
    (sweeper,) = [one for one in cloud.functions() if one["Handler"].endswith("sweeper.handler")]
    answer = cloud.target.client("lambda").invoke(FunctionName=sweeper["FunctionName"], Payload=b"{}")
    assert "FunctionError" not in answer
    group = sweeper["LoggingConfig"]["LogGroup"]
    logs = cloud.target.client("logs")

    def counted() -> bool:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"] for page in pages for event in page["events"]]
        assert not [line for line in lines if "certificates not counted" in line]
        return any(f'"{Metric.CERTIFICATES_ENDING}":0' in line for line in lines)

    assert until(counted)


def test_the_dashboard_is_there(cloud: Any) -> None:
    client = cloud.target.client("cloudwatch")
    (entry,) = client.list_dashboards()["DashboardEntries"]
    body = json.loads(client.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"])
    titles = {widget["properties"].get("title") for widget in body["widgets"]}
    assert {"From request to connection", "Devices late to renew"} <= titles
