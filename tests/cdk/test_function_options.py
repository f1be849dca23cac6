"""FunctionOptions: network, tracing, logs and dead letters reach every function, with the rights that they take."""

import json

import pytest
from aws_cdk import App, Aspects, CfnOutput, Environment, Stack, Tag, Tags
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from cdk_iot_secretfree import (
    AccountResources,
    ApiOptions,
    AuditTrail,
    AuthoritySubject,
    DeviceAuthority,
    DeviceRegistry,
    EstOptions,
    FleetProvisioning,
    FunctionKind,
    FunctionNetwork,
    FunctionOptions,
    FunctionOverrides,
    InvalidArgumentError,
    IotRegistration,
    Issuer,
    ManifestImport,
    RegionMembership,
    SecretFreeProvisioning,
)
from cdk_iot_secretfree.announcements import AnnouncementsGrants

from tests.cdk.conftest import WITHOUT_BUNDLING, Synthesised

# The handler of each kind of function that a product line of several Regions with an import has.
HANDLERS = {
    FunctionKind.AUTHORIZER: "authorizer",
    FunctionKind.CSR_FRONT: "csr_front",
    FunctionKind.EST: "est",
    FunctionKind.FLEET_PROVIDER: "fleet_provider",
    FunctionKind.FLEET_HOOK: "fleet_hook",
    FunctionKind.ISSUER: "issuer",
    FunctionKind.SWEEPER: "sweeper",
    FunctionKind.REVOKER: "revoker",
    FunctionKind.RETIRER: "retirer",
    FunctionKind.FOLLOWER: "follower",
    FunctionKind.MANIFEST_IMPORT: "manifest_import",
    FunctionKind.AUDIT_TRAIL: "audit_transformation",
    FunctionKind.ACCOUNT: "account_resources",
}
CA = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
TABLE = "arn:aws:dynamodb:eu-west-1:111122223333:table"
INTERFACES = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}


def membership(stack):
    """Of a Region whose tables another stack makes."""
    return RegionMembership(
        region="eu-west-1",
        regions=("us-east-1", "eu-west-1"),
        registry=DeviceRegistry.from_table_name(
            stack, "Registry", "devices", key_index="by-key", stream_arn=f"{TABLE}/devices/stream/1"
        ),
        announcements_table="announcements",
        announcements_stream=f"{TABLE}/announcements/stream/1",
        grants=AnnouncementsGrants(dynamodb.TableV2.from_table_name(stack, "Announcements", "announcements")),
        deployment_id=f"{TABLE}/announcements",
    )


def every_function(stack, functions):
    authority = DeviceAuthority.from_arn(stack, "Authority", CA, registration=IotRegistration.NONE)
    provisioning = SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(authority)],
        api=ApiOptions(csr_in_body=True, est=EstOptions()),
        functions=functions,
        membership=membership(stack),
    )
    FleetProvisioning(stack, "Fleet", provisioning, template_name="widget")
    ManifestImport(stack, "ManifestImport", provisioning)
    AuditTrail(stack, "AuditTrail", provisioning)
    return provisioning


def line(stack, name="Provisioning", **options):
    return SecretFreeProvisioning(stack, name, product=name.lower(), issuers=[Issuer.iot_core()], **options)


@pytest.fixture(scope="module")
def everything():
    """All options at once, on every function."""
    app = App(context=WITHOUT_BUNDLING)
    stack = Stack(app, "Stack", env=Environment(account="111122223333", region="eu-west-1"))
    vpc = ec2.Vpc(stack, "Vpc")
    key = kms.Key(stack, "Key")
    options = FunctionOptions(
        network=FunctionNetwork(
            vpc=vpc,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[ec2.SecurityGroup(stack, "Group", vpc=vpc)],
        ),
        tracing=True,
        log_encryption_key=key,
        dead_letter_queue=sqs.Queue(stack, "Failed", encryption_master_key=key),
    )
    every_function(stack, options)
    return Synthesised(stack)


@pytest.fixture(scope="module")
def plain(synthesise):
    return synthesise(lambda stack: every_function(stack, FunctionOptions()))


@pytest.fixture(scope="module")
def overridden():
    """Options of one kind of function each."""
    stack = Stack(App(context=WITHOUT_BUNDLING), "Stack")
    group = logs.LogGroup.from_log_group_name(stack, "Ours", "/ours/authorizer")
    vpc = ec2.Vpc(stack, "Vpc")
    every_function(
        stack,
        FunctionOptions(
            memory_size=1024,
            tracing=True,
            overrides={
                FunctionKind.AUTHORIZER: FunctionOverrides(log_group=group, memory_size=2048, tracing=False),
                FunctionKind.ISSUER: FunctionOverrides(reserved_concurrency=7),
                FunctionKind.FOLLOWER: FunctionOverrides(log_level="DEBUG"),
                FunctionKind.SWEEPER: FunctionOverrides(dead_letter_queue=sqs.Queue(stack, "Swept")),
                FunctionKind.REVOKER: FunctionOverrides(memory_size=512),
                FunctionKind.MANIFEST_IMPORT: FunctionOverrides(network=FunctionNetwork(vpc=vpc)),
                FunctionKind.ACCOUNT: FunctionOverrides(memory_size=768),
            },
        ),
    )
    return Synthesised(stack)


def test_every_kind_is_a_function_of_the_template(everything):
    ours = [f for f in everything.of_type("AWS::Lambda::Function").values() if "secretfree" in json.dumps(f)]
    assert len(ours) == len(HANDLERS) == len(FunctionKind)


@pytest.mark.parametrize("kind", FunctionKind)
class TestEveryFunction:
    def test_runs_in_the_vpc_with_the_given_group(self, everything, kind):
        network = everything.function(HANDLERS[kind])["VpcConfig"]
        assert ["Private" in json.dumps(subnet) for subnet in network["SubnetIds"]] == [True] * 3
        assert ["Group" in json.dumps(group) for group in network["SecurityGroupIds"]] == [True]

    def test_has_the_network_rights_and_its_code_has_them_not(self, everything, in_list, kind):
        by_effect = {
            s["Effect"]: s for s in everything.statements(HANDLERS[kind]) if INTERFACES & set(in_list(s["Action"]))
        }
        assert {effect: set(s["Action"]) for effect, s in by_effect.items()} == {
            "Allow": INTERFACES,
            "Deny": INTERFACES,
        }
        assert by_effect["Deny"]["Condition"] == {
            "ArnLike": {"lambda:SourceFunctionArn": "arn:*:lambda:*:*:function:*"}
        }

    def test_is_traced_with_the_rights_that_it_takes(self, everything, kind):
        assert everything.function(HANDLERS[kind])["TracingConfig"] == {"Mode": "Active"}
        assert {"xray:PutTraceSegments", "xray:PutTelemetryRecords"} <= everything.actions(HANDLERS[kind])

    def test_has_a_dead_letter_queue_only_if_it_is_invoked_asynchronously(self, everything, kind):
        has_one = "DeadLetterConfig" in everything.function(HANDLERS[kind])
        assert has_one == (kind in {FunctionKind.SWEEPER, FunctionKind.ACCOUNT})

    def test_without_options_has_none_of_that(self, plain, kind):
        function = plain.function(HANDLERS[kind])
        assert not {"VpcConfig", "TracingConfig", "DeadLetterConfig"} & set(function)


def test_a_failed_asynchronous_invocation_may_be_written_to_an_encrypted_queue(everything):
    sends = [s for s in everything.statements("sweeper") if s["Action"] == "sqs:SendMessage"]
    assert [list(s["Resource"]["Fn::GetAtt"])[1] for s in sends] == ["Arn"]
    (uses,) = [s for s in everything.statements("sweeper") if "kms:GenerateDataKey" in s["Action"]]
    assert uses["Condition"] == {"StringEquals": {"kms:ViaService": "sqs.eu-west-1.amazonaws.com"}}


class TestLogs:
    def test_every_log_group_is_encrypted_by_the_key(self, everything):
        groups = everything.of_type("AWS::Logs::LogGroup").values()
        assert len(groups) == len(HANDLERS) + 3  # API access, executions of the import, audit delivery
        assert all("Key" in json.dumps(group["Properties"]["KmsKeyId"]) for group in groups)

    def test_the_key_lets_cloudwatch_logs_of_this_account_use_it_once(self, everything):
        statements = everything.only("AWS::KMS::Key")["KeyPolicy"]["Statement"]
        (allowed,) = [s for s in statements if "logs.eu-west-1.amazonaws.com" in json.dumps(s["Principal"])]
        (pattern,) = allowed["Condition"]["ArnLike"].values()
        assert json.dumps(pattern).endswith(':logs:eu-west-1:111122223333:log-group:*"]]}')

    def test_an_imported_key_is_warned_about(self, stack):
        arn = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
        line(stack, functions=FunctionOptions(log_encryption_key=kms.Key.from_key_arn(stack, "Key", arn)))
        assert any("log_encryption_key is imported" in warning for warning in Synthesised(stack).warnings())

    def test_an_existing_log_group_is_used_and_none_made_beside_it(self, overridden):
        assert overridden.function("authorizer")["LoggingConfig"] == {"LogGroup": "/ours/authorizer"}
        assert not [name for name in overridden.of_type("AWS::Logs::LogGroup") if "AuthorizerFunction" in name]
        writes = [statement for statement in overridden.every_right() if "/ours/authorizer" in json.dumps(statement)]
        assert len(writes) == 1

    def test_grant_diagnose_includes_it(self, stack):
        group = logs.LogGroup.from_log_group_name(stack, "Ours", "/ours/authorizer")
        overrides = {FunctionKind.AUTHORIZER: FunctionOverrides(log_group=group)}
        provisioning = line(stack, functions=FunctionOptions(overrides=overrides))
        role = iam.Role(stack, "Support", assumed_by=iam.AccountRootPrincipal())
        provisioning.grant_diagnose(role)
        (policy,) = [
            p for n, p in Synthesised(stack).of_type("AWS::IAM::Policy").items() if n.startswith("SupportDefault")
        ]
        (search,) = [
            s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Action"] == "logs:FilterLogEvents"
        ]
        assert "/ours/authorizer" in json.dumps(search["Resource"])
        assert "SecretFreeIotAccountFunctionLog" in json.dumps(search["Resource"])


def test_an_override_is_of_its_kind_alone(overridden):
    functions = {kind: overridden.function(handler) for kind, handler in HANDLERS.items()}
    assert {kind: function["MemorySize"] for kind, function in functions.items()} == {
        **dict.fromkeys(FunctionKind, 1024),
        FunctionKind.AUTHORIZER: 2048,
        FunctionKind.REVOKER: 512,
        FunctionKind.ACCOUNT: 768,
    }
    of_one = {
        "ReservedConcurrentExecutions": FunctionKind.ISSUER,
        "DeadLetterConfig": FunctionKind.SWEEPER,
        "VpcConfig": FunctionKind.MANIFEST_IMPORT,
    }
    for argument, owner in of_one.items():
        assert [kind for kind, function in functions.items() if argument in function] == [owner]
    assert "TracingConfig" not in functions[FunctionKind.AUTHORIZER]
    levels = {kind: f["Environment"]["Variables"]["SECRETFREE_LOG_LEVEL"] for kind, f in functions.items()}
    assert [kind for kind, level in levels.items() if level == "DEBUG"] == [FunctionKind.FOLLOWER]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: FunctionOverrides(memory_size=128), "memory_size: '128'"),
        (lambda _: FunctionOverrides(reserved_concurrency=0), "reserved_concurrency: '0'"),
        (lambda _: FunctionOverrides(log_level="TRACE"), "log_level: 'TRACE'"),
        (
            lambda stack: FunctionOptions(
                overrides={FunctionKind.ISSUER: FunctionOverrides(dead_letter_queue=sqs.Queue(stack, "Queue"))}
            ),
            "dead_letter_queue: 'one for FunctionKind.ISSUER'",
        ),
        (
            lambda stack: FunctionNetwork(
                vpc=(vpc := ec2.Vpc(stack, "Vpc")),
                security_groups=[ec2.SecurityGroup(stack, f"Group{number}", vpc=vpc) for number in range(6)],
            ),
            "security_groups: '6 groups' was given; accepted: at most 5",
        ),
    ],
)
def test_an_option_that_cannot_work_is_refused(stack, make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make(stack)


class TestAccountFunction:
    """The function that a stack has once."""

    def test_it_takes_the_options_that_any_construct_was_given_whatever_the_order(self, stack):
        DeviceAuthority.root(stack, "First", subject=AuthoritySubject(common_name="first"))
        line(stack, functions=FunctionOptions(tracing=True))
        line(stack, "Last")
        assert Synthesised(stack).function("account_resources")["TracingConfig"] == {"Mode": "Active"}

    def test_options_that_are_equal_for_it_may_differ_for_others(self, stack):
        line(stack, "One", functions=FunctionOptions(memory_size=2048))
        line(stack, "Two", functions=FunctionOptions(memory_size=1024, issuer_concurrency=5))
        assert Synthesised(stack).function("account_resources")["MemorySize"] == 512

    def test_two_that_differ_are_refused(self, stack):
        line(stack, "One", functions=FunctionOptions(log_level="DEBUG"))
        with pytest.raises(InvalidArgumentError, match=r"functions: 'options that differ from those of Stack/One"):
            line(stack, "Two", functions=FunctionOptions(log_level="INFO"))

    def test_configured_it_ignores_the_lines_options(self, stack):
        account = AccountResources.of(stack)
        account.configure(functions=FunctionOptions(log_level="WARNING"))
        line(stack, "One", functions=FunctionOptions(log_level="DEBUG"))
        line(stack, "Two", functions=FunctionOptions(log_level="INFO"))
        assert Synthesised(stack).environment("account_resources")["SECRETFREE_LOG_LEVEL"] == "WARNING"

    def test_it_is_exposed_and_then_settled(self, stack):
        provisioning = line(stack)
        function = provisioning.account_function
        assert function is AccountResources.of(stack).function
        CfnOutput(stack, "AccountFunction", value=function.function_arn)
        with pytest.raises(InvalidArgumentError, match="after the function was made"):
            AccountResources.of(stack).configure(functions=FunctionOptions(tracing=True))
        AccountResources.of(stack).configure(functions=FunctionOptions())
        assert Synthesised(stack).json["Outputs"]["AccountFunction"]

    def test_an_aspect_of_the_app_reaches_it(self, stack):
        line(stack)
        Tags.of(stack.node.root).add("team", "devices")
        Aspects.of(stack).add(Tag("owner", "platform"))
        tags = {tag["Key"] for tag in Synthesised(stack).function("account_resources")["Tags"]}
        assert tags == {"team", "owner"}


@pytest.fixture(scope="module")
def restored(synthesise):
    return synthesise(lambda stack: every_function(stack, FunctionOptions(snap_start=True)))


class TestSnapStart:
    def test_what_devices_wait_for_starts_from_a_snapshot(self, restored):
        by_snapshot = {kind for kind, handler in HANDLERS.items() if "SnapStart" in restored.function(handler)}
        assert by_snapshot == {FunctionKind.AUTHORIZER, FunctionKind.CSR_FRONT, FunctionKind.EST, FunctionKind.ISSUER}

    def test_the_api_invokes_aliases_of_published_versions_and_may_invoke_nothing_else(self, restored):
        aliases = restored.of_type("AWS::Lambda::Alias")
        assert len(aliases) == len(restored.of_type("AWS::Lambda::Version")) == 4
        by_api = [
            permission["Properties"]["FunctionName"]
            for permission in restored.of_type("AWS::Lambda::Permission").values()
            if permission["Properties"]["Principal"] == "apigateway.amazonaws.com"
        ]
        assert {json.dumps(name) for name in by_api} == {json.dumps({"Ref": alias}) for alias in aliases}
        authorizer = json.dumps(restored.only("AWS::ApiGateway::Authorizer")["AuthorizerUri"])
        integrations = json.dumps(restored.of_type("AWS::ApiGateway::Method"))
        assert {alias for alias in aliases if alias in authorizer + integrations} == set(aliases)

    def test_no_warning_is_left_about_versions(self, restored):
        assert not [warning for warning in restored.warnings() if "SnapStart" in warning]
