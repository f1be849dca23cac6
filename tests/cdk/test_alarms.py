"""The alarms and the dashboard: what they watch, and that they watch only what the runtime measures."""

import json
import re
from pathlib import Path

import pytest
from aws_cdk import App
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    AlarmName,
    AlarmThresholds,
    DeviceAuthority,
    InvalidArgumentError,
    Issuer,
    MultiRegionProvisioning,
    SecretFreeProvisioning,
    Severity,
)
from secretfree.contract import METRIC_NAMESPACE, Dimension, Metric
from secretfree.errors import Reason

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"


def product_line(stack):
    return SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(DeviceAuthority.from_arn(stack, "Authority", ARN)), Issuer.iot_core()],
    )


@pytest.fixture(scope="module")
def every_alarm(synthesise):
    def fill(stack):
        topics = {"topic": sns.Topic(stack, "Pages"), "ticket_topic": sns.Topic(stack, "Tickets")}
        product_line(stack).add_alarms(**topics)

    def regional(stack):
        authority = DeviceAuthority.from_arn(stack, "Authority", ARN)
        line = SecretFreeProvisioning(
            stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.private_ca(authority)],
            membership=stack.membership,
        )
        line.add_alarms()
        return line

    several = App(context={"aws:cdk:bundling-stacks": []})
    stacks = MultiRegionProvisioning(
        several, "Widget", account="111122223333", regions=["us-east-1", "eu-west-1"], line=regional
    ).stacks
    templates = [synthesise(fill).resources]
    templates.append(Template.from_stack(stacks["eu-west-1"]).to_json()["Resources"])
    return [
        resource["Properties"]
        for resources in templates
        for resource in resources.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]


def test_each_named_alarm_exists_and_names_its_severity_and_runbook(every_alarm):
    found = [
        re.search(r"^\[(\w+)\] widget: .+ Runbook: docs/runbooks/([\w-]+)\.md$", a["AlarmDescription"])
        for a in every_alarm
    ]
    assert all(found)
    assert {match[2] for match in found} == {name.value for name in AlarmName}
    assert {match[1] for match in found} == {severity.value for severity in Severity}


@pytest.mark.parametrize("name", list(AlarmName))
def test_each_alarm_has_a_runbook_that_says_what_to_do(name):
    text = (RUNBOOKS / f"{name.value}.md").read_text()
    for heading in ("## What it means", "## First step", "## Then", "## When it clears"):
        assert heading in text, heading


def test_no_alarm_fires_on_silence(every_alarm):
    assert {alarm["TreatMissingData"] for alarm in every_alarm} == {"notBreaching"}


def test_an_alarm_of_the_products_metrics_names_a_metric_and_dimensions_of_the_runtime(every_alarm):
    own = [alarm for alarm in every_alarm if alarm["Namespace"] == METRIC_NAMESPACE]
    assert own
    for alarm in own:
        assert alarm["MetricName"] in set(Metric)
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        assert dimensions.pop(Dimension.PRODUCT) == "widget"
        assert set(dimensions) <= set(Dimension)
        assert dimensions.get(Dimension.REASON, "unknown-device") in set(Reason)


def test_pages_and_tickets_reach_their_topics_when_they_fire_and_when_they_clear(every_alarm):
    notified = [alarm for alarm in every_alarm if "AlarmActions" in alarm]
    assert notified
    for alarm in notified:
        (action,) = alarm["AlarmActions"]
        assert alarm["OKActions"] == [action]
        wanted = "Pages" if alarm["AlarmDescription"].startswith("[page]") else "Tickets"
        assert action["Ref"].startswith(wanted)


def test_an_alarm_can_be_left_out_and_a_threshold_set(synthesise):
    made = synthesise(
        lambda stack: product_line(stack).add_alarms(
            without=[AlarmName.PENDING], thresholds=AlarmThresholds(clones=3), runbook_base="https://wiki.example/"
        )
    )
    alarms = [alarm["Properties"] for alarm in made.of_type("AWS::CloudWatch::Alarm").values()]
    assert not [alarm for alarm in alarms if "wiki.example/pending.md" in alarm["AlarmDescription"]]
    (clones,) = [alarm for alarm in alarms if alarm["AlarmDescription"].endswith("https://wiki.example/clones.md")]
    assert clones["Threshold"] == 3


@pytest.mark.parametrize("field", ["failures", "clones", "authority_days"])
def test_a_threshold_that_always_fires_is_refused(field):
    with pytest.raises(InvalidArgumentError, match=field):
        AlarmThresholds(**{field: 0})


def widgets_of(made):
    body = made.only("AWS::CloudWatch::Dashboard")["DashboardBody"]
    text = "".join(part if isinstance(part, str) else "x" for part in body["Fn::Join"][1])
    return json.loads(text)["widgets"]


def test_the_dashboard_shows_the_funnel_the_refusals_the_latency_the_quotas_and_the_ca(synthesise):
    titles = [
        widget["properties"].get("title", "")
        for widget in widgets_of(synthesise(lambda stack: product_line(stack).add_dashboard()))
    ]
    for expected in (
        "From request to connection",
        "Refused, by reason",
        "Latency of a request (ms)",
        "RegisterCertificate: calls a minute",
        "Sweeper",
        "Private CA: days left",
        "Devices late to renew",
        "Old certificates retired",
        "Retirement: dead letters",
    ):
        assert expected in titles


def test_the_dashboard_shows_what_blocks_do_and_how_late_they_are(synthesise):
    titles = {
        widget["properties"].get("title")
        for widget in widgets_of(synthesise(lambda stack: product_line(stack).add_dashboard()))
    }
    assert {"Revoked on a block", "Blocks: delay (ms)", "Blocks: dead letters"} <= titles


def test_the_dashboard_draws_the_accounts_own_quota(synthesise):
    widgets = widgets_of(
        synthesise(lambda stack: product_line(stack).add_dashboard(quotas={"RegisterCertificate": 50}))
    )
    (widget,) = [one for one in widgets if one["properties"].get("title", "").startswith("RegisterCertificate")]
    assert widget["properties"]["annotations"]["horizontal"][0]["value"] == 3000


@pytest.mark.parametrize("quotas", [{"Register": 10}, {"RegisterCertificate": 0}])
def test_a_quota_of_no_call_or_of_nothing_is_refused(stack, quotas):
    with pytest.raises(InvalidArgumentError, match="quotas"):
        product_line(stack).add_dashboard(quotas=quotas)


def test_widgets_stay_within_the_dashboards_width_and_do_not_overlap(synthesise):
    taken = set()
    for widget in widgets_of(synthesise(lambda stack: product_line(stack).add_dashboard())):
        assert widget["x"] + widget["width"] <= 24
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        taken |= cells
