"""The sample stack: its context, its outputs, and the one snapshot of all of it."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from aws_cdk import App, CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    FunctionKind,
    FunctionOptions,
    FunctionOverrides,
    InvalidArgumentError,
    Issuer,
    KeyAlgorithm,
    MatchPolicy,
    SampleOptions,
    SecretFreeProvisioning,
    SecretFreeStack,
)
from cdk_iot_secretfree.bundling.bundle import BundleTarget
from constructs import Construct
from jsii._kernel.providers.process import _NodeProcess
from secretfree.contract import METRIC_NAMESPACE, IssuerSetting, Metric

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
SNAPSHOT = Path(__file__).with_name("snapshots") / "sample.template.json"
OUTPUTS = {
    "Authorities",
    "AuthorityArn",
    "CertificateValidityDays",
    "DevicePolicyName",
    "DeviceProfile",
    "IotEndpoint",
    "LedgerTable",
    "MatchPolicy",
    "Product",
    "ProvisioningUrl",
    "RegistryTable",
    "RevokerFunction",
    "ThingTypeName",
}


def options_of(**context):
    keys = {f"secretfree:{name.replace('_', '-')}": value for name, value in context.items()}
    return SampleOptions.from_context(App(context=keys).node)


def test_the_sample_takes_few_messages_to_the_cdks_process(monkeypatch):
    """Each one is a message to another process and its answer. A loop over resources that sends several adds up."""
    sent = Counter()
    send = _NodeProcess.send
    monkeypatch.setattr(
        _NodeProcess,
        "send",
        lambda process, request, answer: (sent.update([type(request).__name__]), send(process, request, answer))[1],
    )
    app = App(context={"aws:cdk:bundling-stacks": []})
    SecretFreeStack(app, "Sample", options=SampleOptions.from_context(app.node))
    resources = len(Template.from_stack(app.node.find_child("Sample")).to_json()["Resources"])
    assert sent.total() < 15 * resources, (sent, resources)


def test_the_outputs_are_those_that_the_command_reads(sample):
    assert {name for name in sample.json["Outputs"] if name != "ManifestBucket"} == OUTPUTS
    assert not json.dumps(sample.json["Outputs"]["ProvisioningUrl"]).rstrip(']}"').endswith("/")


def test_a_teams_own_stack_has_the_same_outputs_for_each_product_line():
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Team")
    one = SecretFreeProvisioning(stack, "One", product="one", issuers=[Issuer.iot_core()])
    two = SecretFreeProvisioning(stack, "Two", product="two", issuers=[Issuer.iot_core()])
    one.add_outputs()
    two.add_outputs()
    of_each = OUTPUTS - {"Authorities", "AuthorityArn", "CertificateValidityDays"}
    outputs = Template.from_stack(stack).to_json()["Outputs"]
    assert set(outputs) == of_each | {f"{key}Two" for key in of_each}
    assert (outputs["Product"]["Value"], outputs["ProductTwo"]["Value"]) == ("one", "two")


def test_outputs_collide_with_nothing_that_the_stack_has_of_its_own():
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Team")
    CfnOutput(stack, "Product", value="theirs")
    Construct(stack, "RegistryTable")
    SecretFreeProvisioning(stack, "Line", product="t-one", issuers=[Issuer.iot_core()]).add_outputs()
    Construct(stack, "LedgerTable")
    outputs = Template.from_stack(stack).to_json()["Outputs"]
    assert outputs["Product"]["Value"] == "theirs"
    assert outputs["ProductTOne"]["Value"] == "t-one"
    assert {"RegistryTableTOne", "LedgerTableTOne"} < set(outputs)


def test_log_groups_of_elsewhere_are_among_the_outputs():
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Team")
    group = logs.LogGroup.from_log_group_name(stack, "Group", "/ours/authorizer")
    functions = FunctionOptions(overrides={FunctionKind.AUTHORIZER: FunctionOverrides(log_group=group)})
    line = SecretFreeProvisioning(stack, "Line", product="one", issuers=[Issuer.iot_core()], functions=functions)
    line.add_outputs()
    assert Template.from_stack(stack).to_json()["Outputs"]["LogGroups"]["Value"] == "/ours/authorizer"


def test_outputs_that_would_have_the_keys_of_another_line_are_refused():
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Team")
    lines = [
        SecretFreeProvisioning(stack, f"Line{number}", product=product, issuers=[Issuer.iot_core()])
        for number, product in enumerate(["one", "TWo", "t-wo"])
    ]
    for line in lines[:2]:
        line.add_outputs()
    with pytest.raises(InvalidArgumentError, match=r"add_outputs: .*t-wo twice"):
        lines[2].add_outputs()


def test_with_a_ca_of_its_own_account_none_is_made(sample_with):
    made = sample_with(ca_arn=ARN, ca_key_algorithm="RSA_2048")
    assert not made.of_type("AWS::ACMPCA::CertificateAuthority")
    assert made.issuer_settings("private-ca")[IssuerSetting.AUTHORITY_ARN] == ARN
    assert made.issuer_settings("private-ca")[IssuerSetting.SIGNING_ALGORITHM] == "SHA256WITHRSA"


def test_without_the_private_ca_there_is_no_authority(sample_with):
    made = sample_with(issuers="iot-core")
    assert "AuthorityArn" not in made.json["Outputs"]
    assert not made.of_type("Custom::IotCaRegistration")


def test_for_a_throwaway_nothing_is_retained_but_the_accounts_logging_role(sample_with):
    made = sample_with(removal="destroy", synthesizer="cli-credentials")
    kept = {r["Type"] for r in made.resources.values() if r.get("DeletionPolicy") == "Retain"}
    assert kept == {"AWS::ApiGateway::Account", "AWS::IAM::Role"}
    assert made.stack.termination_protection is False
    assert "BootstrapVersion" not in made.json.get("Parameters", {})


def test_every_key_of_the_context_is_read():
    options = options_of(
        stack_name="Cc32xx",
        product="sensor",
        issuers="iot-core, private-ca",
        ca_arn=ARN,
        ca_key_algorithm="EC_secp384r1",
        match_policy="PUBLIC_KEY",
        device_profile="TI_CC32XX",
        bundle="host",
        removal="destroy",
        synthesizer="cli-credentials",
    )
    assert (options.stack_name, options.product, options.ca_arn) == ("Cc32xx", "sensor", ARN)
    assert options.issuers == ("iot-core", "private-ca")
    assert options.ca_key_algorithm is KeyAlgorithm.EC_P384
    assert options.match_policy is MatchPolicy.PUBLIC_KEY
    assert options.device_profile.value == "TI_CC32XX"
    assert options.bundle is BundleTarget.HOST
    assert options.removal is RemovalPolicy.DESTROY
    assert options.synthesizer == "cli-credentials"


def test_without_context_the_defaults_hold():
    assert options_of() == SampleOptions()
    assert options_of(product="", removal="") == SampleOptions()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            {"issuers": "private"},
            "context secretfree:issuers: 'private' was given; accepted: one or more of private-ca",
        ),
        ({"issuers": "iot-core,iot-core"}, "context secretfree:issuers: "),
        ({"match_policy": "KEY"}, "context secretfree:match-policy: 'KEY' was given; accepted: UDID_AND_PUBLIC_KEY"),
        ({"bundle": "docker"}, "context secretfree:bundle: 'docker' was given; accepted: lambda, host"),
        ({"removal": "keep"}, "context secretfree:removal: 'keep' was given; accepted: retain, destroy"),
        ({"product": 7}, "context secretfree:product: '7' was given; accepted: text"),
        ({"ca_key_algorithm": ["RSA_2048"]}, "context secretfree:ca-key-algorithm: "),
    ],
)
def test_a_context_value_that_is_not_accepted_is_named(context, message):
    with pytest.raises(InvalidArgumentError, match=message):
        options_of(**context)


def test_the_template_is_the_one_that_was_reviewed(sample):
    """Renew with SNAPSHOT_UPDATE=1 and read the difference: it is what a deployment would change."""
    scrubbed = scrub(sample.json)
    if os.environ.get("SNAPSHOT_UPDATE"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(scrubbed)
    assert scrubbed == SNAPSHOT.read_text()


def scrub(template):
    """The template's text without what every change of the Lambdas' code, or of aws-cdk-lib, changes."""
    text = json.dumps(template, indent=1, sort_keys=True)
    text = re.sub(r"\b[0-9a-f]{64}\.zip\b", "ASSET.zip", text)
    # API Gateway's deployment carries a hash of what it deploys, the functions' code included.
    text = re.sub(r"(Deployment[0-9A-F]{8})[0-9a-f]{32}", r"\1HASH", text)
    # The contract alone decides on the names of the metrics: the snapshot has their members in it.
    text = re.sub(rf'("MetricName": ")({_METRICS})(?=",\n *"Namespace": "{METRIC_NAMESPACE}")', _member, text)
    text = re.sub(rf'(\\"{METRIC_NAMESPACE}\\",\\")({_METRICS})(?=\\")', _member, text)
    return text + "\n"


_METRICS = "|".join(Metric)


def _member(found):
    return f"{found[1]}Metric.{Metric(found[2]).name}"
