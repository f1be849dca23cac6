"""What four linters find in the sample and its options: nothing unexplained.

The reasons for cdk-nag's findings are in the library, on the constructs. Those for the others are here.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import (
    Acknowledgment,
    App,
    CfnResource,
    CloudFormationValidatePlugin,
    Environment,
    RemovalPolicy,
    Stack,
    Validations,
)
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from cdk_iot_secretfree import (
    ApiDomain,
    ApiOptions,
    AuditTrail,
    AuthoritySubject,
    DeviceAuthority,
    EstOptions,
    FleetProvisioning,
    FunctionNetwork,
    FunctionOptions,
    Issuer,
    ManifestImport,
    MatchPolicy,
    MultiRegionProvisioning,
    MutualTlsDomain,
    Revocation,
    RevocationList,
    SecretFreeProvisioning,
    SecretFreeStack,
    ThingGroup,
    TlsPolicy,
)
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("linters")]  # one process synthesises for all of them

REPOSITORY = Path(__file__).parents[2]
ACCOUNT, REGION = "111122223333", "eu-west-1"

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

# The command would import all frameworks' checks, which takes longer than its work.
CHECKOV_RUN = """
import gc, json, sys
gc.disable()
from checkov.cloudformation.runner import Runner
from checkov.runner_filter import RunnerFilter
chosen = RunnerFilter(framework=["cloudformation"], download_external_modules=False)
report = Runner().run(root_folder=None, files=sys.argv[1:], runner_filter=chosen)
failed = [[record.check_id, record.resource] for record in report.failed_checks]
print(json.dumps({"errors": len(report.parsing_errors), "passed": len(report.passed_checks), "failed": failed}))
"""

# Without the garbage collector, which takes an eighth of the time.
CFN_LINT_RUN = "import gc; gc.disable(); from cfnlint.runner import main; main()"

# cfn-lint's rule: why it is so.
CFN_LINT = {"W3005": "CDK has a function wait for its role and the role's policy in one list, which repeats the role."}


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    """The sample, stacks with what the sample does not have, and one that is wrong, as files.

    Both reports of one synth are in it: the CDK's own validation, and cdk-nag's packs as a user's own run has them.
    """
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path_factory.mktemp("cdk.out")))
    Validations.of(app).add_plugins(CloudFormationValidatePlugin(), *(pack(app) for pack in PACKS))
    for make in STACKS.values():
        make(app)
    wrong = Stack(app, "Wrong")
    CfnResource(wrong, "Bucket", type="AWS::S3::Bucket", properties={"NoSuchProperty": "1"})
    everything = iam.PolicyStatement(actions=["*"], resources=["*"])
    iam.ManagedPolicy(wrong, "Everything", statements=[everything])
    # A finding of cdk-nag fails the synth. The files and the report are there in any case.
    with contextlib.suppress(RuntimeError):
        app.synth()
    return Path(app.outdir)


def options_stack(app):
    """What the sample does not have, in a stack of a known account and Region, as a customer key asks for."""
    stack = Stack(app, "Options", env=Environment(account=ACCOUNT, region=REGION))
    root = DeviceAuthority.root(stack, "Root", subject=AuthoritySubject(common_name="root"))
    DeviceAuthority.pending_offline_parent(stack, "Offline", subject=AuthoritySubject(common_name="offline"))
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
        thing_groups=[ThingGroup.created(description="every widget")],
        removal_policy=RemovalPolicy.DESTROY,
    )
    FleetProvisioning(stack, "Fleet", provisioning, template_name="widget")
    ManifestImport(stack, "ManifestImport", provisioning)
    AuditTrail(stack, "AuditTrail", provisioning)
    return stack


def hardened_stack(app):
    """Every option that mends a finding."""
    stack = Stack(app, "Hardened", env=Environment(account=ACCOUNT, region=REGION))
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    failed = sqs.Queue(stack, "Failed", encryption_master_key=key, enforce_ssl=True)
    Validations.of(failed).acknowledge(Acknowledgment(id="AwsSolutions-SQS3", reason="It has the dead letters."))
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-11111111111111111",
        availability_zones=[f"{REGION}a", f"{REGION}b"],
        private_subnet_ids=["subnet-11111111111111111", "subnet-22222222222222222"],
    )
    provisioning = SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.iot_core()],
        functions=FunctionOptions(
            network=FunctionNetwork(vpc=vpc),
            tracing=True,
            snap_start=True,
            log_encryption_key=key,
            dead_letter_queue=failed,
            authorizer_concurrency=10,
            issuer_concurrency=10,
        ),
        api=ApiOptions(
            execution_logging=apigateway.MethodLoggingLevel.ERROR,
            tracing=True,
            source_rate_limit=300,
            tls_policy=TlsPolicy.TLS_1_3,
            csr_in_body=True,
            est=EstOptions(
                reenroll=MutualTlsDomain(
                    name="renew.example.com",
                    certificate=acm.Certificate.from_certificate_arn(
                        stack,
                        "Certificate",
                        f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555",
                    ),
                    truststore_bucket=s3.Bucket.from_bucket_name(stack, "Truststore", "truststores"),
                    truststore_key="devices.pem",
                )
            ),
        ),
        encryption_key=key,
    )
    topic = sns.Topic(stack, "Topic", master_key=key, enforce_ssl=True)
    provisioning.add_alarms(topic=topic)
    ManifestImport(stack, "ManifestImport", provisioning)
    AuditTrail(stack, "AuditTrail", provisioning)
    return stack


def regions(app):
    """A product line in two Regions, a stack each."""

    def line(stack):
        authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="devices"))
        provisioning = SecretFreeProvisioning(
            stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.private_ca(authority)],
            membership=stack.membership,
        )
        provisioning.add_alarms()
        return provisioning

    return MultiRegionProvisioning(app, "Regions", account=ACCOUNT, regions=["us-east-1", REGION], line=line)


def files_of(assembly, stack, kind):
    """The file of a stack, or those of both Regions."""
    return sorted(assembly.glob(f"Regions*.{kind}.json" if stack == "Regions" else f"{stack}.{kind}.json"))


def templates_of(assembly, stack):
    return files_of(assembly, stack, "template")


STACKS = {
    "Sample": lambda app: SecretFreeStack(app, "Sample"),
    "Options": options_stack,
    "Hardened": hardened_stack,
    "Regions": regions,
}
VALIDATION = "CloudFormation Validate"
PACKS = (AwsSolutionsChecks, NIST80053R5Checks, HIPAASecurityChecks, PCIDSS321Checks)


def reports_of(directory):
    """The report of each plugin of a synth, by the plugin's name."""
    reports = json.loads((directory / "validation-report.json").read_text())["pluginReports"]
    return {report["pluginName"]: report for report in reports}


def findings_in(directory, stack):
    """Rule and construct path of each of cdk-nag's findings in a stack."""
    return {
        (violation["ruleName"], construct["constructPath"])
        for name, report in reports_of(directory).items()
        if name != VALIDATION
        for violation in report["violations"]
        for construct in violation["violatingConstructs"]
        if construct["constructPath"].split("/")[0] == stack
    }


@pytest.fixture(scope="module")
def checkov_findings(assembly):
    """(check, resource) of each of checkov's findings."""
    python = REPOSITORY / ".venv-checkov" / "bin" / "python"
    if not python.is_file():
        pytest.fail("checkov is not installed: run `make setup`")
    files = [str(file) for stack in ("Sample", "Options", "Regions") for file in templates_of(assembly, stack)]
    nowhere = "http://127.0.0.1:9"  # nothing of this test may depend on the network
    finished = subprocess.run(
        [str(python), "-c", CHECKOV_RUN, *files],
        env={**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(finished.stdout.splitlines()[-1])
    assert report["errors"] == 0
    assert report["passed"] > 50
    return {tuple(failed) for failed in report["failed"]}


class TestNag:
    @pytest.mark.parametrize("stack", STACKS)
    def test_a_users_own_run_shows_no_finding_of_four_packs(self, assembly, stack):
        assert findings_in(assembly, stack) == set()

    def test_what_a_user_adds_is_found(self, tmp_path):
        app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path))
        Validations.of(app).add_plugins(*(pack(app) for pack in PACKS))
        stack = SecretFreeStack(app, "Sample")
        role = stack.provisioning.authorizer_function.role
        role.add_to_principal_policy(iam.PolicyStatement(actions=["s3:*"], resources=["arn:aws:s3:::theirs/*"]))
        sqs.Queue(stack, "Theirs")
        with contextlib.suppress(RuntimeError):
            app.synth()

        rules = {rule for rule, _ in findings_in(tmp_path, "Sample")}
        assert {"AwsSolutions-SQS3", "AwsSolutions-SQS4", "AwsSolutions-IAM5[Action::s3:*]"} <= rules
        assert "AwsSolutions-IAM5[Resource::arn:aws:s3:::theirs/*]" in rules

    def test_an_option_mends_what_is_acknowledged_without_it(self, assembly):
        """Where the option is used, no reason stands for it: a lapse would be found."""
        mended = {"LambdaInsideVPC", "CloudWatchLogGroupEncrypted", "APIGWXrayEnabled", "APIGWAssociatedWithWAF"}
        of_hipaa = {f"HIPAA.Security-{rule}" for rule in mended}
        assert of_hipaa <= {rule for rule, _ in acknowledged_in(assembly, "Sample")}
        assert not of_hipaa & {rule for rule, _ in acknowledged_in(assembly, "Hardened")}

    @pytest.mark.parametrize("stack", STACKS)
    def test_every_reason_is_a_sentence(self, assembly, stack):
        reasons = {reason for _, reason in acknowledged_in(assembly, stack)}
        assert reasons
        assert {reason for reason in reasons if len(reason) <= 20 or not reason.endswith(".")} == set()


def acknowledged_in(assembly, stack):
    """(rule, reason) of each acknowledgment in a stack."""
    return {
        (rule.removeprefix("Annotation::"), reason)
        for file in files_of(assembly, stack, "metadata")
        for entries in json.loads(file.read_text()).values()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for rule, reason in entry["data"].items()
    }


@pytest.fixture(scope="module")
def cfn_lint_findings(assembly):
    """By stack: (rule, message) of each of cfn-lint's findings."""
    templates = {str(file): stack for stack in STACKS for file in templates_of(assembly, stack)}
    regions = ["us-east-1", "eu-central-1"]
    command = [sys.executable, "-c", CFN_LINT_RUN, "--format", "json", "--regions", *regions]
    finished = subprocess.run([*command, "--", *templates], capture_output=True, text=True, check=False)
    assert finished.stdout, finished.stderr
    found = {stack: set() for stack in templates.values()}
    for match in json.loads(finished.stdout):
        found[templates[match["Filename"]]].add((match["Rule"]["Id"], match["Message"]))
    return found


class TestCfnLint:
    @pytest.mark.parametrize("stack", STACKS)
    def test_the_template_has_no_finding_that_is_not_explained(self, cfn_lint_findings, stack):
        found = cfn_lint_findings[stack]
        assert {(rule, message) for rule, message in found if rule not in CFN_LINT} == set()
        assert set(CFN_LINT) == {rule for rule, _ in found}


class TestCdkValidation:
    """The CDK's own check of templates, which the other tests and the sample app leave out."""

    def test_it_finds_something_in_the_wrong_template_alone(self, assembly):
        reports = reports_of(assembly)
        paths = [
            construct["constructPath"]
            for report in reports.values()
            for violation in report["violations"]
            for construct in violation["violatingConstructs"]
        ]
        assert len(reports) == 1 + len(PACKS)
        assert {path.partition("/")[0] for path in paths} <= {*STACKS, "Wrong"}
        report = reports[VALIDATION]
        (violation,) = report["violations"]
        assert [construct["constructPath"] for construct in violation["violatingConstructs"]] == ["Wrong/Bucket"]


class TestCheckov:
    def test_every_finding_is_explained(self, checkov_findings):
        assert {(check, resource) for check, resource in checkov_findings if check not in CHECKOV} == set()

    def test_every_explanation_has_its_finding(self, checkov_findings):
        assert set(CHECKOV) == {check for check, _ in checkov_findings}
