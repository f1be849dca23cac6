"""What three linters find in the sample and its options: nothing unexplained, and no explanation without a finding."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import Acknowledgment, App, Environment, RemovalPolicy, Stack, Validations
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_kms as kms
from cdk_iot_secretfree import (
    ApiDomain,
    ApiOptions,
    AuditTrail,
    AuthoritySubject,
    DeviceAuthority,
    Issuer,
    ManifestImport,
    MatchPolicy,
    Revocation,
    RevocationList,
    SecretFreeProvisioning,
    SecretFreeStack,
    ThingGroup,
)
from cdk_nag import AwsSolutionsChecks

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("linters")]  # one process synthesises for all of them

REPOSITORY = Path(__file__).parents[2]
IOT = "arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>"
ISSUING = (
    "Provisioning/(PrivateCaIssuer|IotCoreIssuer|SweeperFunction|Blocking/Revoker|Retirement/Retirer)"
    "/Role/DefaultPolicy/Resource"
)
ANY_FUNCTION = (
    "(SecretFreeIotAccount/Function|ManifestImport/Function|AuditTrail/Transformation|Provisioning/[A-Za-z]+(Function|Issuer|/Revoker|/Retirer))"
    "/Resource/Resource"
)
IMPORTING = "ManifestImport/(Function/Role/DefaultPolicy|Role/DefaultPolicy)/Resource"
ACCOUNT, REGION = "111122223333", "eu-west-1"

# (cdk-nag's rule, the constructs that it names): why it is so.
NAG = {
    ("AwsSolutions-IAM5[Resource::*]", f"({ISSUING}|SecretFreeIotAccount/Function/Role/DefaultPolicy/Resource)"): (
        "AWS's service authorization reference gives these actions no resource type; "
        "test_provisioning.py holds the list of them."
    ),
    (f"AwsSolutions-IAM5[Resource::{IOT}:thing/*]", ISSUING): "A thing is named by its device id, not by the stack.",
    (f"AwsSolutions-IAM5[Resource::{IOT}:cert/*]", ISSUING): "A certificate's ARN is its own fingerprint.",
    (f"AwsSolutions-IAM5[Resource::{IOT}:client/*]", "Provisioning/Blocking/Revoker/Role/DefaultPolicy/Resource"): (
        "An MQTT client is named by its device id."
    ),
    ("AwsSolutions-SQS3", "Provisioning/Blocking/DeadLetters/Resource"): "This queue is the stream's dead letters.",
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

# What the sample does not have: manifest import, customer key, custom domain, subordinate CA.
NAG_OF_OPTIONS = {
    ("AwsSolutions-IAM5[Resource::*]", "ManifestImport/Role/DefaultPolicy/Resource"): (
        "The delivery of a state machine's logs and X-Ray have no resource types."
    ),
    (r"AwsSolutions-IAM5[Resource::<Bucket.Arn>/manifests/*]", IMPORTING): "A supplier names the manifests.",
    (r"AwsSolutions-IAM5[Resource::<Bucket.Arn>/results/*]", IMPORTING): "Each import writes a folder of its own.",
    ("AwsSolutions-IAM5[executions]", "ManifestImport/(ChildrenPolicy|Resource/DistributedMapPolicy)/Resource"): (
        "Step Functions names an execution when it starts it; the state machine is named."
    ),
    ("AwsSolutions-S1", "(Devices/RevocationLists|(ManifestImport|AuditTrail)/Bucket)/Resource"): (
        "Server access logs need a bucket of a team's own; CloudTrail's data events say more."
    ),
    (r"AwsSolutions-IAM5[Resource::<Bucket.Arn>/events/*]", "AuditTrail/DeliveryRole/DefaultPolicy/Resource"): (
        "Firehose names the objects."
    ),
    (r"AwsSolutions-IAM5[Resource::<Bucket.Arn>/unreadable/*]", "AuditTrail/DeliveryRole/DefaultPolicy/Resource"): (
        "Firehose names the objects."
    ),
    ("AwsSolutions-KDF1", "AuditTrail/Delivery"): "The stream that Firehose reads is encrypted; AWS takes no key here.",
    ("AwsSolutions-SF1", "ManifestImport/Resource/Resource"): (
        "Logs of every event would hold the rows; errors are logged, without execution data."
    ),
    ("AwsSolutions-SQS3", "ManifestImport/Undelivered/Resource"): "This queue is the dead letters of the rule.",
}

# checkov's check: why it is so.
CHECKOV = {
    "CKV_AWS_18": "Server access logs need a bucket of a team's own; CloudTrail's data events say more.",
    "CKV_AWS_27": "SQS encrypts each queue with a key that it manages; a message has a CSR, which is no secret.",
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
    """The sample, and two stacks with what the sample does not have, as files."""
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path_factory.mktemp("cdk.out")))
    SecretFreeStack(app, "Sample")
    options_stack(app)
    pending = Stack(app, "Pending")
    DeviceAuthority.pending_offline_parent(pending, "Offline", subject=AuthoritySubject(common_name="offline"))
    SecretFreeProvisioning(
        pending,
        "Provisioning",
        product="widget",
        issuers=[Issuer.iot_core()],
        thing_groups=[ThingGroup.created(description="every widget")],
        removal_policy=RemovalPolicy.DESTROY,
    )
    return Path(app.synth().directory)


def options_stack(app):
    """What the sample does not have, in a stack of a known account and Region, as a customer key asks for."""
    stack = Stack(app, "Options", env=Environment(account=ACCOUNT, region=REGION))
    root = DeviceAuthority.root(stack, "Root", subject=AuthoritySubject(common_name="root"))
    devices = DeviceAuthority.subordinate_of(
        stack,
        "Devices",
        root,
        subject=AuthoritySubject(common_name="devices", state="Bavaria", locality="Munich"),
        revocation=Revocation(crl=RevocationList(), ocsp=True),
    )
    certificate = acm.Certificate.from_certificate_arn(
        stack, "Certificate", f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"
    )
    provisioning = SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(devices), Issuer.iot_core()],
        match=MatchPolicy.PUBLIC_KEY,
        api=ApiOptions(domain=ApiDomain(name="provisioning.example.com", certificate=certificate)),
        encryption_key=kms.Key(stack, "Key", enable_key_rotation=True),
    )
    ManifestImport(stack, "ManifestImport", provisioning)
    AuditTrail(stack, "AuditTrail", provisioning)
    return stack


STACKS = {"Sample": lambda app: SecretFreeStack(app, "Sample"), "Options": options_stack}


def general(rule):
    """cdk-nag's rule without the names that CloudFormation and this test's account give."""
    rule = rule.replace(f":{REGION}:{ACCOUNT}:", ":<AWS::Region>:<AWS::AccountId>:")
    rule = re.sub(r"<\w*Bucket\w+\.Arn>", "<Bucket.Arn>", rule)
    return "AwsSolutions-IAM5[executions]" if ":states:" in rule and ":execution:" in rule else rule


def with_nag(directory, stack):
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(directory))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app, STACKS[stack](app)


@pytest.fixture(scope="module")
def nag_findings(tmp_path_factory):
    """By stack: rule, construct path and the rule in general of each of cdk-nag's findings."""
    found = {}
    for stack in STACKS:
        directory = tmp_path_factory.mktemp("nag")
        app, _ = with_nag(directory, stack)
        with pytest.raises(RuntimeError, match=r"ValidationFailed"):
            app.synth()
        found[stack] = {
            (violation["ruleName"], construct["constructPath"].removeprefix(f"{stack}/"))
            for plugin in json.loads((directory / "validation-report.json").read_text())["pluginReports"]
            for violation in plugin["violations"]
            for construct in violation["violatingConstructs"]
        }
    return found


def reasons(rule, path):
    """Why a finding is as it is: one reason, if it is explained."""
    explained = {**NAG, **NAG_OF_OPTIONS}
    return [why for (known, paths), why in explained.items() if known == general(rule) and re.fullmatch(paths, path)]


@pytest.fixture(scope="module")
def checkov_findings(assembly):
    """(check, resource) of each of checkov's findings."""
    checkov = REPOSITORY / ".venv-checkov" / "bin" / "checkov"
    if not checkov.is_file():
        pytest.fail(f"{checkov.relative_to(REPOSITORY)} is not installed: run `make setup`")
    files = [str(assembly / f"{stack}.template.json") for stack in STACKS]
    command = [str(checkov), "--file", *files, "--framework", "cloudformation"]
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
    @pytest.mark.parametrize("stack", STACKS)
    def test_every_finding_is_explained(self, nag_findings, stack):
        assert {(rule, path) for rule, path in nag_findings[stack] if not reasons(rule, path)} == set()

    @pytest.mark.parametrize("explained", [*NAG, *NAG_OF_OPTIONS], ids=[rule for rule, _ in [*NAG, *NAG_OF_OPTIONS]])
    def test_every_explanation_has_its_finding(self, nag_findings, explained):
        known, paths = explained
        stack = "Options" if explained in NAG_OF_OPTIONS else "Sample"
        assert [path for rule, path in nag_findings[stack] if general(rule) == known and re.fullmatch(paths, path)]

    @pytest.mark.parametrize("stack", STACKS)
    def test_acknowledged_one_by_one_the_stack_passes(self, nag_findings, tmp_path, stack):
        app, made = with_nag(tmp_path, stack)
        nodes = {node.node.path.removeprefix(f"{stack}/"): node for node in made.node.find_all()}
        for rule, path in nag_findings[stack]:
            (reason,) = reasons(rule, path)
            Validations.of(nodes[path]).acknowledge(Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))
        app.synth()


@pytest.fixture(scope="module")
def cfn_lint_findings(assembly):
    """By stack: (rule, message) of each of cfn-lint's findings."""
    templates = {str(assembly / f"{stack}.template.json"): stack for stack in ("Sample", "Options", "Pending")}
    regions = ["us-east-1", "eu-west-1", "eu-central-1", "ap-northeast-1"]
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json", "--regions", *regions]
    finished = subprocess.run([*command, "--", *templates], capture_output=True, text=True, check=False)
    assert finished.stdout, finished.stderr
    found = {stack: set() for stack in templates.values()}
    for match in json.loads(finished.stdout):
        found[templates[match["Filename"]]].add((match["Rule"]["Id"], match["Message"]))
    return found


class TestCfnLint:
    @pytest.mark.parametrize("stack", ["Sample", "Options", "Pending"])
    def test_the_template_has_no_finding_that_is_not_explained(self, cfn_lint_findings, stack):
        found = cfn_lint_findings[stack]
        assert {(rule, message) for rule, message in found if rule not in CFN_LINT} == set()
        assert set(CFN_LINT) == {rule for rule, _ in found}


class TestCheckov:
    def test_every_finding_is_explained(self, checkov_findings):
        assert {(check, resource) for check, resource in checkov_findings if check not in CHECKOV} == set()

    def test_every_explanation_has_its_finding(self, checkov_findings):
        assert set(CHECKOV) == {check for check, _ in checkov_findings}
