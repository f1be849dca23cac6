"""What three linters say of the sample: nothing unexplained here, and no explanation without a finding."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import Acknowledgment, App, RemovalPolicy, Stack, Validations
from cdk_iot_secretfree import (
    AuthoritySubject,
    DeviceAuthority,
    Issuer,
    MatchPolicy,
    Revocation,
    RevocationList,
    SecretFreeProvisioning,
    SecretFreeStack,
    ThingGroup,
)
from cdk_nag import AwsSolutionsChecks

REPOSITORY = Path(__file__).parents[2]
IOT = "arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>"
ISSUING = "Provisioning/(PrivateCaIssuer|IotCoreIssuer|SweeperFunction)/Role/DefaultPolicy/Resource"
ANY_FUNCTION = "(SecretFreeIotAccount/Function|Provisioning/[A-Za-z]+(Function|Issuer))/Resource/Resource"

# (cdk-nag's rule, the constructs that it names): why it is so.
NAG = {
    ("AwsSolutions-IAM5[Resource::*]", f"({ISSUING}|SecretFreeIotAccount/Function/Role/DefaultPolicy/Resource)"): (
        "AWS's service authorization reference gives these actions of IoT Core no resource type; "
        "test_provisioning.py holds the list of them."
    ),
    (f"AwsSolutions-IAM5[Resource::{IOT}:thing/*]", ISSUING): "A thing is named by its device id, not by the stack.",
    (f"AwsSolutions-IAM5[Resource::{IOT}:cert/*]", ISSUING): "A certificate's ARN is its own fingerprint.",
    (
        f"AwsSolutions-IAM5[Resource::{IOT}:cacert/*]",
        "SecretFreeIotAccount/Function/Role/DefaultPolicy/Resource",
    ): "A CA certificate's ARN is its own fingerprint, which deploy time alone knows.",
    ("AwsSolutions-L1", ANY_FUNCTION): "Python 3.13 by default and 3.14 by choice: both are supported for years.",
    ("AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]",
     "SecretFreeApiLogging/Role/Resource"): "API Gateway takes this managed policy for its account-wide logging role.",
    ("AwsSolutions-APIG2", "Provisioning/Api/Resource/Resource"): (
        "The one input is a header, which the authorizer parses with bounds; a body is ignored."
    ),
    ("AwsSolutions-APIG3", r"Provisioning/Api/Resource/DeploymentStage\.v1/Resource"): (
        "A web ACL is a team's own, and costs by the month; the API is throttled, and tells nothing to who is unknown."
    ),
    ("AwsSolutions-APIG6", r"Provisioning/Api/Resource/DeploymentStage\.v1/Resource"): (
        "Execution logs would hold the devices' CSRs; the access log has the allow-listed fields."
    ),
    ("AwsSolutions-COG4", "Provisioning/Api/Resource/Default/(new|proto)/POST/Resource"): (
        "A device proves the possession of its key to the authorizer; it has no account in a user pool."
    ),
}  # fmt: skip

# checkov's check: why it is so.
CHECKOV = {
    "CKV_AWS_73": "X-Ray's active tracing needs actions on every resource; the runtime writes its own stage latencies.",
    "CKV_AWS_115": (
        "Reserved concurrency is FunctionOptions': a default would fail in accounts whose whole quota is ten."
    ),
    "CKV_AWS_116": "API Gateway and CloudFormation call synchronously; the sweeper's next run finds what one left.",
    "CKV_AWS_117": "The functions reach AWS's public endpoints alone; a VPC would add a way in, not take one away.",
    "CKV_AWS_120": "A cached answer would be another device's certificate.",
    "CKV_AWS_158": "CloudWatch Logs encrypts each group; no CSR, key or header is logged, so there is nothing to hide.",
    "CKV_AWS_173": "The environment holds names and settings; there is no secret in the product to encrypt.",
}

# cfn-lint's rule: why it is so.
CFN_LINT = {"W3005": "CDK has a function wait for its role and the role's policy in one list, which repeats the role."}


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    """The sample, and a stack with what the sample does not have, as files."""
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path_factory.mktemp("cdk.out")))
    SecretFreeStack(app, "Sample")
    everything = Stack(app, "Everything")
    root = DeviceAuthority.root(everything, "Root", subject=AuthoritySubject(common_name="root"))
    devices = DeviceAuthority.subordinate_of(
        everything,
        "Devices",
        root,
        subject=AuthoritySubject(common_name="devices", state="Bavaria", locality="Munich"),
        revocation=Revocation(crl=RevocationList(), ocsp=True),
        removal_policy=RemovalPolicy.DESTROY,
    )
    DeviceAuthority.pending_offline_parent(everything, "Offline", subject=AuthoritySubject(common_name="offline"))
    SecretFreeProvisioning(
        everything,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(devices)],
        match=MatchPolicy.PUBLIC_KEY,
        thing_groups=[ThingGroup.created(description="every widget")],
        removal_policy=RemovalPolicy.DESTROY,
    )
    return Path(app.synth().directory)


def findings_of_nag(report):
    return {
        (violation["ruleName"], construct["constructPath"].removeprefix("Sample/"))
        for plugin in json.loads(report.read_text())["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    }


def sample_with_nag(directory):
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(directory))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app, SecretFreeStack(app, "Sample")


@pytest.fixture(scope="module")
def nag_findings(tmp_path_factory):
    """(rule, construct path) of each of cdk-nag's findings."""
    directory = tmp_path_factory.mktemp("nag")
    app, _ = sample_with_nag(directory)
    with pytest.raises(RuntimeError, match=r"ValidationFailed"):
        app.synth()
    return findings_of_nag(directory / "validation-report.json")


@pytest.fixture(scope="module")
def checkov_findings(assembly):
    """(check, resource) of each of checkov's findings."""
    checkov = REPOSITORY / ".venv-checkov" / "bin" / "checkov"
    if not checkov.is_file():
        pytest.fail(f"{checkov.relative_to(REPOSITORY)} is not installed: run `make setup`")
    command = [str(checkov), "--file", str(assembly / "Sample.template.json"), "--framework", "cloudformation"]
    nowhere = "http://127.0.0.1:9"  # nothing of this test may depend on the network
    finished = subprocess.run(
        [*command, "--compact", "--quiet", "--skip-download", "--output", "json"],
        env={**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(finished.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 50
    return {(failed["check_id"], failed["resource"]) for failed in report["results"]["failed_checks"]}


class TestNag:
    def test_every_finding_is_explained(self, nag_findings):
        unexplained = {
            (rule, path)
            for rule, path in nag_findings
            if not any(rule == known and re.fullmatch(paths, path) for known, paths in NAG)
        }
        assert unexplained == set()

    @pytest.mark.parametrize("explained", NAG, ids=[rule for rule, _ in NAG])
    def test_every_explanation_has_its_finding(self, nag_findings, explained):
        known, paths = explained
        assert [path for rule, path in nag_findings if rule == known and re.fullmatch(paths, path)]

    def test_acknowledged_one_by_one_the_stack_passes(self, nag_findings, tmp_path):
        app, stack = sample_with_nag(tmp_path)
        nodes = {node.node.path.removeprefix("Sample/"): node for node in stack.node.find_all()}
        for rule, path in nag_findings:
            (reason,) = [why for (known, paths), why in NAG.items() if rule == known and re.fullmatch(paths, path)]
            Validations.of(nodes[path]).acknowledge(Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))
        app.synth()


class TestCfnLint:
    @pytest.mark.parametrize("stack", ["Sample", "Everything"])
    def test_the_template_has_no_finding_that_is_not_explained(self, assembly, stack):
        template = assembly / f"{stack}.template.json"
        regions = ["us-east-1", "eu-west-1", "eu-central-1", "ap-northeast-1"]
        command = [
            str(Path(sys.executable).with_name("cfn-lint")),
            "--format",
            "json",
            "--regions",
            *regions,
            "--",
            str(template),
        ]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.stdout, finished.stderr
        found = json.loads(finished.stdout)
        unexplained = [
            (match["Rule"]["Id"], match["Message"]) for match in found if match["Rule"]["Id"] not in CFN_LINT
        ]
        assert unexplained == []
        assert set(CFN_LINT) == {match["Rule"]["Id"] for match in found}


class TestCheckov:
    def test_every_finding_is_explained(self, checkov_findings):
        assert {(check, resource) for check, resource in checkov_findings if check not in CHECKOV} == set()

    def test_every_explanation_has_its_finding(self, checkov_findings):
        assert set(CHECKOV) == {check for check, _ in checkov_findings}
