"""The deployed alarms: each fires on what it watches, alone, and clears in the silence after it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from secretfree.contract import METRIC_NAMESPACE, AlarmName, Dimension, Metric
from support.alarms_on_the_cloud import alarms_of, each_fires_alone_and_clears, states, until


@pytest.fixture(scope="module")
def alarms(cloud: Any) -> Mapping[str, Mapping[str, Any]]:
    return alarms_of(cloud.target)


def test_the_sample_has_each_alarm(alarms: Mapping[str, Mapping[str, Any]]) -> None:
    runbooks = {alarm["AlarmDescription"].rpartition("/")[2].removesuffix(".md") for alarm in alarms.values()}
    # Replication has alarms where there are several Regions: `test_e2e_regions.py`.
    assert runbooks == {name.value for name in AlarmName if name is not AlarmName.REPLICATION}


def test_each_alarm_fires_alone_and_clears(cloud: Any, alarms: Mapping[str, Mapping[str, Any]]) -> None:
    each_fires_alone_and_clears(cloud.target, alarms)


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
    assert set(states(cloud.target, alarms).values()) == {"OK"}


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
