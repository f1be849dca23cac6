"""SecretFreeProvisioning: what each function may do and gets as configuration, and what is refused at synth."""

import json
import re

import pytest
from aws_cdk import App, Duration, Environment, RemovalPolicy, Stack, Stage
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Match, Template
from cdk_iot_secretfree import (
    AuthoritySubject,
    Bundle,
    CertificateSubject,
    DeviceAuthority,
    DevicePolicy,
    DeviceProfile,
    DeviceRegistry,
    FunctionOptions,
    InvalidArgumentError,
    IotRegistration,
    Issuer,
    MatchPolicy,
    SecretFreeProvisioning,
    ThingGroup,
    ThingType,
    UsageMode,
)
from secretfree.adapters.issuers.private_ca import PrivateCaConfig
from secretfree.config import AuthorizerConfig, IssuerConfig
from secretfree.contract import METRIC_NAMESPACE, IssuerKind, IssuerSetting, Metric, Variable

THINGS = {
    "iot:AttachPolicy",
    "iot:AttachThingPrincipal",
    "iot:CreateThing",
    "iot:DescribeCertificate",
    "iot:DescribeThing",
    "iot:UpdateCertificate",
}
# An issuer closes what it takes back. The sweeper alone detaches and deletes.
RETIREMENT = {
    "iot:DeleteCertificate",
    "iot:DetachPolicy",
    "iot:DetachThingPrincipal",
    "iot:ListAttachedPolicies",
}
# An issuer writes the ledger and reads the registry, one item each.
RECORDS = {"dynamodb:GetItem", "dynamodb:PutItem"}
STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"}
# AWS's service authorization reference gives these no resource type, so "*" is the only resource they take.
WITHOUT_RESOURCE_TYPE = {
    "dynamodb:ListStreams",
    "iot:AttachThingPrincipal",
    "iot:CreateCertificateFromCsr",
    "iot:DescribeEndpoint",
    "iot:DetachThingPrincipal",
    "iot:GetRegistrationCode",
    "iot:ListCertificates",
    "iot:RegisterCACertificate",
    "iot:RegisterCertificate",
    "iot:RegisterCertificateWithoutCA",
}


def iot_core_only(scope, **options):
    return SecretFreeProvisioning(scope, "Provisioning", product="widget", issuers=[Issuer.iot_core()], **options)


def policy_by(variable):
    resource = f"arn:aws:iot:eu-west-1:111122223333:topic/${{{variable}}}/*"
    return DevicePolicy.from_statements([iam.PolicyStatement(actions=["iot:Publish"], resources=[resource])])


@pytest.fixture(scope="module")
def provisioning():
    return iot_core_only(Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack"))


class TestLeastPrivilege:
    def test_the_authorizer_reads_single_registry_items_and_nothing_else(self, sample):
        assert sample.actions("authorizer") == {"dynamodb:GetItem"}
        (statement,) = sample.statements("authorizer")
        (registry,) = [name for name in sample.of_type("AWS::DynamoDB::GlobalTable") if "Registry" in name]
        assert statement["Resource"] == {"Fn::GetAtt": [registry, "Arn"]}

    def test_the_private_ca_issuer_may_do_what_its_steps_do(self, sample):
        issuing = {"acm-pca:IssueCertificate", "acm-pca:GetCertificate", "iot:RegisterCertificate"}
        assert sample.actions("issuer", "private-ca") == THINGS | issuing | RECORDS | {"dynamodb:UpdateItem"}

    def test_the_iot_core_issuer_may_do_what_its_steps_do(self, sample):
        issuing = {"iot:CreateCertificateFromCsr"}
        assert sample.actions("issuer", "iot-core") == THINGS | issuing | RECORDS | {"dynamodb:UpdateItem"}

    def test_the_sweeper_can_finish_but_not_issue(self, sample):
        ledger = {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query"}
        authority = {"acm-pca:DescribeCertificateAuthority", "acm-pca:GetCertificate"}
        assert sample.actions("sweeper") == THINGS | RETIREMENT | ledger | authority | {"iot:ListCertificates"}

    def test_issuing_is_pinned_to_one_template_of_one_authority(self, sample):
        (statement,) = [
            s for s in sample.statements("issuer", "private-ca") if s["Action"] == "acm-pca:IssueCertificate"
        ]
        (authority,) = sample.of_type("AWS::ACMPCA::CertificateAuthority")
        assert statement["Resource"] == {"Fn::GetAtt": [authority, "Arn"]}
        template = statement["Condition"]["StringEquals"]["acm-pca:TemplateArn"]["Fn::Join"][1]
        assert template[-1] == ":acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
        assert {"Ref": "AWS::Partition"} in template

    def test_no_runtime_role_can_write_the_registry_or_make_a_policy(self, sample, in_list):
        (registry,) = [name for name in sample.of_type("AWS::DynamoDB::GlobalTable") if "Registry" in name]
        for statement in sample.every_right():
            if registry in json.dumps(statement["Resource"]):
                assert set(in_list(statement["Action"])) <= {"dynamodb:GetItem", "dynamodb:Query", *STREAM}
            assert not [
                action
                for action in in_list(statement["Action"])
                if re.search("Policy(Version)?$", action) and "Create" in action
            ]

    def test_a_wildcard_resource_stands_only_where_aws_takes_no_other(self, sample, in_list):
        for statement in sample.every_right():
            if "*" in in_list(statement["Resource"]):
                assert set(in_list(statement["Action"])) <= WITHOUT_RESOURCE_TYPE

    def test_no_action_is_a_wildcard(self, sample, in_list):
        assert len(sample.every_right()) > 30
        for statement in sample.every_right():
            assert not [action for action in in_list(statement["Action"]) if "*" in action]

    def test_without_registration_the_ca_is_not_presupposed(self, synthesise):
        def fill(stack):
            authority = DeviceAuthority.root(
                stack, "Ca", subject=AuthoritySubject(common_name="ca"), registration=IotRegistration.NONE
            )
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[Issuer.private_ca(authority)])

        made = synthesise(fill)
        assert "iot:RegisterCertificateWithoutCA" in made.actions("issuer")
        assert "iot:RegisterCertificate" not in made.actions("issuer")
        assert made.issuer_settings("private-ca")[IssuerSetting.REGISTERED] == "false"
        assert not made.of_type("Custom::IotCaRegistration")


class TestMatching:
    def test_by_key_the_authorizer_may_query_the_index_alone(self, synthesise):
        made = synthesise(lambda stack: iot_core_only(stack, match=MatchPolicy.PUBLIC_KEY))
        assert made.actions("authorizer") == {"dynamodb:GetItem", "dynamodb:Query"}
        (query,) = [s for s in made.statements("authorizer") if s["Action"] == "dynamodb:Query"]
        assert query["Resource"]["Fn::Join"][1][-1] == "/index/key-fingerprint-index"

    def test_by_device_id_alone_the_authorizer_reads_the_bindings_and_synth_warns(self, synthesise, in_list):
        made = synthesise(lambda stack: iot_core_only(stack, match=MatchPolicy.UDID))
        (ledger,) = [name for name in made.of_type("AWS::DynamoDB::GlobalTable") if "Ledger" in name]
        assert made.actions("authorizer") == {"dynamodb:GetItem"}
        assert {"Fn::GetAtt": [ledger, "Arn"]} in [
            resource for statement in made.statements("authorizer") for resource in in_list(statement["Resource"])
        ]
        assert made.environment("authorizer")["SECRETFREE_LEDGER_TABLE"] == {"Ref": ledger}
        assert any("to the first key that presents it" in warning for warning in made.warnings())

    def test_the_default_neither_warns_nor_shows_the_authorizer_the_ledger(self, sample):
        assert sample.warnings() == []
        assert "SECRETFREE_LEDGER_TABLE" not in sample.environment("authorizer")

    def test_by_key_a_brought_table_needs_an_index(self, stack):
        brought = DeviceRegistry.from_table_name(stack, "Registry", "devices")
        with pytest.raises(InvalidArgumentError, match=r"registry: .*without key_index.*index on key-fingerprint"):
            iot_core_only(stack, match=MatchPolicy.PUBLIC_KEY, registry=brought)

    def test_a_brought_table_is_read_under_its_own_names(self, synthesise):
        def fill(stack):
            brought = DeviceRegistry.from_table_name(stack, "Registry", "devices", key_index="by-key")
            iot_core_only(stack, match=MatchPolicy.PUBLIC_KEY, registry=brought)

        made = synthesise(fill)
        assert made.environment("authorizer")["SECRETFREE_REGISTRY_TABLE"] == "devices"
        assert made.environment("authorizer")["SECRETFREE_REGISTRY_KEY_INDEX"] == "by-key"
        assert ":table/devices/index/by-key" in json.dumps(made.statements("authorizer"))
        assert len(made.of_type("AWS::DynamoDB::GlobalTable")) == 1  # the ledger


class TestRuntimeConfiguration:
    """The functions' environments, read by the runtime's own parser."""

    def test_the_authorizer_takes_its_environment(self, sample):
        config = AuthorizerConfig.from_environment(sample.deployed_environment("authorizer"))
        assert (config.product, config.match.value) == ("widget", "UDID_AND_PUBLIC_KEY")

    @pytest.mark.parametrize("match", list(MatchPolicy))
    def test_the_authorizer_takes_it_under_every_match_policy(self, synthesise, match):
        made = synthesise(lambda stack: iot_core_only(stack, match=match))
        config = AuthorizerConfig.from_environment(made.deployed_environment("authorizer"))
        assert config.match.value == match.value

    @pytest.mark.parametrize("issuer", list(IssuerKind))
    def test_the_issuers_take_their_environment(self, sample, issuer):
        config = IssuerConfig.from_environment(sample.deployed_environment("issuer", issuer.value))
        assert (config.issuer.name, config.issuer.kind) == (issuer.value, issuer)
        assert config.renewal_window.days == 30

    def test_the_sweeper_takes_those_of_all_issuers(self, sample):
        config = IssuerConfig.from_environment(sample.deployed_environment("sweeper"))
        assert [issuer.kind for issuer in config.issuers] == [IssuerKind.PRIVATE_CA, IssuerKind.IOT_CORE]
        assert PrivateCaConfig.from_settings(config.issuers[0]).signing_algorithm == "SHA256WITHECDSA"

    def test_a_deployment_is_known_by_its_ledger_and_no_issuing_function_changes_the_registry(self, sample, in_list):
        for handler, issuer in (("issuer", "private-ca"), ("issuer", "iot-core"), ("sweeper", None)):
            environment = sample.environment(handler, issuer)
            (ledger,) = re.findall(r"ProvisioningLedger\w+", json.dumps(environment[Variable.DEPLOYMENT]))
            assert environment[Variable.LEDGER_TABLE] == {"Ref": ledger}
            registry = environment[Variable.REGISTRY_TABLE]["Ref"]
            on_registry = [s for s in sample.statements(handler, issuer) if registry in json.dumps(s["Resource"])]
            assert {action for s in on_registry for action in in_list(s["Action"])} <= {"dynamodb:GetItem"}

    def test_the_choices_of_a_product_line_arrive(self, synthesise):
        made = synthesise(
            lambda stack: iot_core_only(
                stack,
                device_profile=DeviceProfile.TI_CC32XX,
                subject=CertificateSubject(organization="Widgets", organizational_unit="Line 2", country="DE"),
                thing_type=ThingType.named("Widget"),
                thing_groups=[ThingGroup.named("field"), ThingGroup.named("eu")],
                thing_attributes={"line": "2"},
                renewal_window=Duration.days(14),
                device_policy=DevicePolicy.from_name("WidgetPolicy"),
                functions=FunctionOptions(log_level="DEBUG"),
            )
        )
        environment = made.environment("issuer")
        config = IssuerConfig.from_environment(
            {**environment, "SECRETFREE_LEDGER_TABLE": "l", "SECRETFREE_IOT_ENDPOINT": "e"}
        )
        assert config.device_profile.value == "TI_CC32XX"
        assert (config.subject.organization, config.subject.organizational_unit) == ("Widgets", "Line 2")
        assert config.subject.country == "DE"
        assert (config.thing_type, config.thing_groups) == ("Widget", ("field", "eu"))
        assert config.thing_attributes == {"line": "2"}
        assert config.renewal_window.days == 14
        assert config.policy_name == "WidgetPolicy"
        assert config.log_level.name == "DEBUG"
        assert not made.of_type("AWS::IoT::Policy")
        assert not made.of_type("AWS::IoT::ThingType")

    def test_a_created_group_reaches_the_function_by_its_name(self, synthesise):
        made = synthesise(lambda stack: iot_core_only(stack, thing_groups=[ThingGroup.created(description="all")]))
        (group,) = made.of_type("AWS::IoT::ThingGroup")
        rendered = json.dumps(made.environment("issuer")["SECRETFREE_THING_GROUPS"])
        assert group in rendered
        assert "iot:AddThingToThingGroup" in made.actions("issuer")
        assert made.only("AWS::IoT::ThingGroup")["ThingGroupProperties"] == {"ThingGroupDescription": "all"}

    def test_without_groups_no_function_may_join_things_to_groups(self, sample):
        assert "iot:AddThingToThingGroup" not in sample.actions("issuer", "private-ca")

    def test_the_thing_type_can_make_attributes_searchable(self, synthesise):
        made = synthesise(
            lambda stack: iot_core_only(stack, thing_type=ThingType.created(searchable_attributes=["line"]))
        )
        assert made.only("AWS::IoT::ThingType")["ThingTypeProperties"]["SearchableAttributes"] == ["line"]


class TestRenewalWindow:
    @pytest.mark.parametrize(("validity", "expected"), [(365, "720"), (30, "240"), (1, "8")])
    def test_the_default_is_a_third_of_the_validity_and_a_month_at_most(self, synthesise, validity, expected):
        def fill(stack):
            authority = DeviceAuthority.root(stack, "Ca", subject=AuthoritySubject(common_name="ca"))
            issuer = Issuer.private_ca(authority, validity=Duration.days(validity))
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[issuer])

        assert synthesise(fill).environment("issuer")["SECRETFREE_RENEWAL_WINDOW_HOURS"] == expected

    def test_a_window_longer_than_half_of_the_validity_is_refused(self, stack):
        authority = DeviceAuthority.root(
            stack, "Ca", subject=AuthoritySubject(common_name="ca"), usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE
        )
        with pytest.raises(InvalidArgumentError, match=r"renewal_window: .* accepted: whole hours, from 0 to 84"):
            SecretFreeProvisioning(
                stack,
                "P",
                product="widget",
                issuers=[Issuer.private_ca(authority)],
                renewal_window=Duration.hours(85),
            )


class TestFunctions:
    def test_all_run_one_bundle_on_arm_with_python_3_13(self, sample):
        functions = [resource["Properties"] for resource in sample.of_type("AWS::Lambda::Function").values()]
        assert len(functions) == 7
        assert {function["Runtime"] for function in functions} == {"python3.13"}
        assert {tuple(function["Architectures"]) for function in functions} == {("arm64",)}
        assert len({json.dumps(function["Code"], sort_keys=True) for function in functions}) == 1

    def test_python_architecture_memory_concurrency_and_logs_can_be_set(self, synthesise):
        options = FunctionOptions(
            bundle=Bundle(runtime=lambda_.Runtime.PYTHON_3_14, architecture=lambda_.Architecture.X86_64),
            memory_size=2048,
            authorizer_concurrency=50,
            issuer_concurrency=20,
            log_retention=logs.RetentionDays.ONE_MONTH,
            sweep_interval=Duration.minutes(15),
        )
        made = synthesise(lambda stack: iot_core_only(stack, functions=options))
        authorizer, issuer = made.function("authorizer"), made.function("issuer")
        assert (authorizer["Runtime"], authorizer["Architectures"], authorizer["MemorySize"]) == (
            "python3.14",
            ["x86_64"],
            2048,
        )
        assert (authorizer["ReservedConcurrentExecutions"], issuer["ReservedConcurrentExecutions"]) == (50, 20)
        retentions = {group["Properties"]["RetentionInDays"] for group in made.of_type("AWS::Logs::LogGroup").values()}
        assert retentions == {30}
        assert made.only("AWS::Events::Rule")["ScheduleExpression"] == "rate(15 minutes)"

    def test_each_has_a_role_and_a_retained_log_group_of_its_own(self, sample):
        functions = [resource["Properties"] for resource in sample.of_type("AWS::Lambda::Function").values()]
        assert len({json.dumps(function["Role"]) for function in functions}) == len(functions)
        groups = sample.of_type("AWS::Logs::LogGroup")
        kept = [name for name, group in groups.items() if group["DeletionPolicy"] == "Retain"]
        assert len({json.dumps(function["LoggingConfig"]) for function in functions}) == len(functions)
        assert len(kept) == len(groups) - 1  # the custom resources' log is no evidence

    def test_the_issuers_give_up_no_later_than_the_api_does(self, sample):
        assert sample.function("issuer", "private-ca")["Timeout"] == 29
        assert sample.function("authorizer")["Timeout"] < 30

    def test_the_sweeper_is_invoked_by_its_schedule_alone(self, sample):
        rule = sample.only("AWS::Events::Rule")
        assert rule["ScheduleExpression"] == "rate(5 minutes)"
        assert rule["Targets"][0]["RetryPolicy"] == {"MaximumRetryAttempts": 0}
        assert sample.only("AWS::Lambda::EventInvokeConfig")["MaximumRetryAttempts"] == 0

    def test_no_environment_holds_anything_secret(self, sample):
        for resource in sample.of_type("AWS::Lambda::Function").values():
            for name in resource["Properties"]["Environment"]["Variables"]:
                assert not re.search("SECRET(?!FREE)|PASSWORD|PRIVATE|TOKEN", name.removeprefix("SECRETFREE"))


class TestFace:
    def test_attributes_give_what_was_made(self, stack):
        authority = DeviceAuthority.root(stack, "Ca", subject=AuthoritySubject(common_name="ca"))
        made = SecretFreeProvisioning(
            stack, "P", product="widget", issuers=[Issuer.private_ca(authority), Issuer.iot_core()]
        )
        assert made.authority is authority
        assert set(made.issuer_functions) == {"private-ca", "iot-core"}
        assert isinstance(made.authorizer_function, lambda_.Function)
        assert isinstance(made.sweeper_function, lambda_.Function)
        assert isinstance(made.registry, DeviceRegistry)
        assert made.device_policy.resource is not None
        assert made.api.rest_api_id
        assert made.product == "widget"
        assert made.function_options.bundle == Bundle()
        assert iot_core_only(stack).authority is None

    def test_grants_for_people_and_importers(self, stack):
        made = iot_core_only(stack)
        importer = iam.Role(stack, "Importer", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        auditor = iam.Role(stack, "Auditor", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        assert made.grant_enroll(importer).success
        assert made.grant_read(auditor).success
        template = Template.from_stack(stack)
        template.has_resource_properties(
            "AWS::IAM::Policy",
            {
                "Roles": [{"Ref": Match.string_like_regexp("Importer")}],
                "PolicyDocument": {
                    "Statement": [{"Action": Match.array_with(["dynamodb:DeleteItem", "dynamodb:PutItem"])}]
                },
            },
        )
        (auditors,) = [
            policy["Properties"]
            for policy in template.find_resources("AWS::IAM::Policy").values()
            if "Auditor" in policy["Properties"]["Roles"][0]["Ref"]
        ]
        actions = {a for s in auditors["PolicyDocument"]["Statement"] for a in s["Action"]}
        assert not {a for a in actions if re.search("Put|Update|Delete|Write", a)}

    @pytest.mark.parametrize(
        ("metric", "arguments", "name", "dimensions"),
        [
            ("allowed", {}, Metric.ALLOWED, {"Product": "widget"}),
            ("denied", {}, Metric.DENIED, {"Product": "widget"}),
            (
                "denied",
                {"reason": "key-mismatch"},
                Metric.DENIED,
                {"Product": "widget", "Reason": "key-mismatch"},
            ),
            (
                "issued",
                {"issuer": "iot-core"},
                Metric.ISSUED,
                {"Product": "widget", "Issuer": "iot-core"},
            ),
            ("reused", {}, Metric.REUSED, {"Product": "widget"}),
            ("pending", {}, Metric.PENDING, {"Product": "widget"}),
            ("failed", {}, Metric.FAILED, {"Product": "widget"}),
            ("throttled", {}, Metric.THROTTLED, {"Product": "widget"}),
            (
                "stage_latency",
                {"stage": "sign"},
                Metric.STAGE_LATENCY,
                {"Product": "widget", "Stage": "sign"},
            ),
        ],
    )
    def test_metrics_are_those_that_the_runtime_writes(self, provisioning, metric, arguments, name, dimensions):
        made = getattr(provisioning, f"metric_{metric}")(**arguments)
        assert (made.namespace, made.metric_name, made.dimensions) == (METRIC_NAMESPACE, name, dimensions)
        assert made.period.to_minutes() == 5

    def test_a_metric_of_an_issuer_that_is_not_there_is_refused(self, provisioning):
        with pytest.raises(InvalidArgumentError, match=r"issuer: 'private-ca' was given; accepted: iot-core"):
            provisioning.metric_issued(issuer="private-ca")


class TestCopies:
    def test_two_product_lines_live_in_one_stack(self, synthesise):
        def fill(stack):
            for product in ("widget", "gadget"):
                authority = DeviceAuthority.root(stack, f"{product}Ca", subject=AuthoritySubject(common_name=product))
                SecretFreeProvisioning(
                    stack, product, product=product, issuers=[Issuer.private_ca(authority), Issuer.iot_core()]
                )

        made = synthesise(fill)
        assert len(made.of_type("AWS::ApiGateway::RestApi")) == 2
        assert len(made.of_type("AWS::DynamoDB::GlobalTable")) == 4
        assert len(made.of_type("AWS::ApiGateway::Account")) == 1
        handlers = [f["Properties"]["Handler"] for f in made.of_type("AWS::Lambda::Function").values()]
        assert handlers.count("secretfree.handlers.account_resources.handler") == 1

    def test_one_lives_in_a_stage(self):
        app = App(context={"aws:cdk:bundling-stacks": []})
        stage = Stage(app, "Prod")
        stack = Stack(stage, "Stack")
        iot_core_only(stack)
        assert Template.from_stack(stack).find_resources("AWS::ApiGateway::RestApi")

    def test_nothing_has_a_fixed_physical_name(self, sample):
        named = {
            "TableName",
            "FunctionName",
            "RoleName",
            "PolicyName",
            "ThingTypeName",
            "ThingGroupName",
            "LogGroupName",
            "BucketName",
        }
        for resource in sample.resources.values():
            # An inline policy's name is of its role alone, and these name the function that they are for.
            if resource["Type"] not in {
                "AWS::IAM::Policy",
                "AWS::Lambda::Permission",
                "AWS::Lambda::EventInvokeConfig",
                "AWS::Lambda::EventSourceMapping",
            }:
                assert not named & set(resource.get("Properties", {}))

    def test_retained_by_default_and_gone_on_request(self, sample, synthesise):
        kept = {
            "AWS::DynamoDB::GlobalTable",
            "AWS::IoT::Policy",
            "AWS::IoT::ThingType",
            "AWS::ACMPCA::CertificateAuthority",
        }
        for resource in sample.resources.values():
            if resource["Type"] in kept:
                is_ca = resource["Type"] == "AWS::ACMPCA::CertificateAuthority"
                assert resource["DeletionPolicy"] == ("RetainExceptOnCreate" if is_ca else "Retain")
        gone = synthesise(lambda stack: iot_core_only(stack, removal_policy=RemovalPolicy.DESTROY))
        for resource in gone.resources.values():
            if resource["Type"] in kept:
                assert resource["DeletionPolicy"] == "Delete"


def test_a_key_of_your_own_encrypts_both_tables_and_their_functions_may_use_it(stack_in_ireland):
    iot_core_only(stack_in_ireland, encryption_key=kms.Key(stack_in_ireland, "Key"))
    template = Template.from_stack(stack_in_ireland)
    tables = template.find_resources("AWS::DynamoDB::GlobalTable")
    assert len(tables) == 2
    for table in tables.values():
        assert "KMSMasterKeyId" in table["Properties"]["Replicas"][0]["SSESpecification"]
    users = [
        name for name, policy in template.find_resources("AWS::IAM::Policy").items() if "kms:" in json.dumps(policy)
    ]
    assert len(users) == 5  # the authorizer's, the issuer's, the sweeper's, the revoker's, the retirer's


def test_the_policy_of_a_key_of_your_own_may_name_the_functions_roles(stack_in_ireland):
    key, log_key = (kms.Key(stack_in_ireland, name) for name in ("Key", "LogKey"))
    functions = FunctionOptions(log_encryption_key=log_key)
    line = iot_core_only(stack_in_ireland, encryption_key=key, functions=functions)
    role = line.authorizer_function.role
    for one in (key, log_key):
        one.add_to_resource_policy(iam.PolicyStatement(actions=["kms:Decrypt"], principals=[role], resources=["*"]))
    Template.from_stack(stack_in_ireland)  # refuses resources that wait for each other


def test_a_right_that_a_team_adds_to_a_function_is_in_a_policy_apart(stack):
    line = iot_core_only(stack)
    line.authorizer_function.add_to_role_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=["arn:a:b"]))
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    assert policy["Properties"]["PolicyDocument"]["Statement"][0]["Action"] == "s3:ListBucket"


@pytest.fixture(scope="module")
def pair(synthesise):
    def fill(stack):
        first, second = (
            DeviceAuthority.root(stack, name, subject=AuthoritySubject(common_name=name))
            for name in ("First", "Second")
        )
        SecretFreeProvisioning(
            stack,
            "P",
            product="widget",
            issuers=[Issuer.private_ca(first), Issuer.private_ca(second, name="private-ca-2", path="new2")],
        )

    return synthesise(fill)


class TestTwoCertificateAuthorities:
    """The issuers of a rotation: the old CA under `new`, the one that takes over under a path of its own."""

    def test_each_has_a_path_and_a_function_of_its_own(self, pair):
        paths = {resource["Properties"]["PathPart"] for resource in pair.of_type("AWS::ApiGateway::Resource").values()}
        assert paths == {"new", "new2"}
        for name in ("private-ca", "private-ca-2"):
            config = IssuerConfig.from_environment(pair.deployed_environment("issuer", name))
            assert (config.issuer.name, config.issuer.kind) == (name, IssuerKind.PRIVATE_CA)

    def test_each_may_sign_with_its_own_alone(self, pair):
        signing = [
            json.dumps(next(s for s in pair.statements("issuer", name) if s["Action"] == "acm-pca:IssueCertificate"))
            for name in ("private-ca", "private-ca-2")
        ]
        assert ["First" in signing[0], "Second" in signing[0]] == [True, False]
        assert ["First" in signing[1], "Second" in signing[1]] == [False, True]

    def test_the_sweeper_knows_both(self, pair):
        config = IssuerConfig.from_environment(pair.deployed_environment("sweeper"))
        assert [issuer.name for issuer in config.issuers] == ["private-ca", "private-ca-2"]
        rendered = json.dumps(pair.environment("sweeper")[Variable.ISSUERS])
        assert all(name in rendered for name in ("First", "Second"))

    @pytest.mark.parametrize("name", ["", "Private", "1st", "a" * 33, "issuance#x"])
    def test_a_name_of_another_form_is_refused(self, name):
        with pytest.raises(InvalidArgumentError, match=r"name: .*accepted: 1 to 32"):
            Issuer.iot_core(name=name)
        with pytest.raises(InvalidArgumentError, match=r"path: .*accepted: 1 to 32"):
            Issuer.iot_core(path=name)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"product": "my widget"}, "product: 'my widget' was given; accepted: 1 to 64 of A-Z a-z 0-9 _ -"),
            ({"product": ""}, "product: '' was given"),
            ({"issuers": []}, r"issuers: 'none' was given; accepted: one or several of what Issuer makes"),
            ({"issuers": ["iot-core"]}, "issuers: .*iot-core.* was given; accepted: a list, each an Issuer"),
            ({"issuers": [Issuer.iot_core(), Issuer.iot_core()]}, "issuers: .*names that differ"),
            (
                {"issuers": [Issuer.iot_core(name="a-1"), Issuer.iot_core(name="a1", path="b")]},
                "issuers: 'the names a-1, a1'",
            ),
            ({"issuers": [Issuer.iot_core(), Issuer.iot_core(name="second")]}, "issuers: 'the paths proto, proto'"),
            ({"match": "UDID"}, "match: 'UDID' was given; accepted: MatchPolicy.UDID_AND_PUBLIC_KEY"),
            ({"device_profile": "TI"}, "device_profile: 'TI' was given; accepted: DeviceProfile.STANDARD"),
            ({"thing_groups": [ThingGroup.named(f"g{n}") for n in range(11)]}, "thing_groups: '11 groups'.*at most 10"),
            ({"removal_policy": RemovalPolicy.SNAPSHOT}, "removal_policy: 'SNAPSHOT' was given; accepted: RETAIN, "),
            ({"thing_attributes": {"a b": "c"}}, "thing_attributes: 'a b' was given; accepted: names"),
            ({"thing_attributes": {"a": "b c"}}, "thing_attributes: 'b c' was given; accepted: values"),
        ],
    )
    def test_an_argument_that_cannot_work_is_named_with_what_is_accepted(self, stack, arguments, message):
        with pytest.raises(InvalidArgumentError, match=message):
            SecretFreeProvisioning(stack, "P", **{"product": "widget", "issuers": [Issuer.iot_core()], **arguments})

    @pytest.mark.parametrize(
        ("variable", "match"),
        [
            ("iot:Certificate.Subject.CommonName", MatchPolicy.PUBLIC_KEY),
            ("iot:Certificate.Subject.Organization", MatchPolicy.UDID_AND_PUBLIC_KEY),
            ("iot:Certificate.Subject.OrganizationalUnit.1", MatchPolicy.UDID),
        ],
    )
    def test_no_policy_goes_by_a_subject_that_the_requester_chose(self, stack, variable, match):
        with pytest.raises(InvalidArgumentError, match=rf"device_policy: .*{re.escape(variable)}.*requester chooses"):
            iot_core_only(stack, match=match, device_policy=policy_by(variable))

    def test_a_policy_may_go_by_a_subject_that_was_checked_or_given(self, stack):
        by_name, by_organization = (
            policy_by(f"iot:Certificate.Subject.{part}") for part in ("CommonName", "Organization")
        )
        iot_core_only(stack, device_policy=by_name)
        authority = DeviceAuthority.root(stack, "Ca", subject=AuthoritySubject(common_name="ca"))
        SecretFreeProvisioning(
            stack, "P", product="gadget", issuers=[Issuer.private_ca(authority)], device_policy=by_organization
        )

    def test_a_product_known_at_deploy_time_only_is_refused(self, stack):
        with pytest.raises(InvalidArgumentError, match=r"product: 'a token'"):
            SecretFreeProvisioning(stack, "P", product=stack.stack_name + stack.account, issuers=[Issuer.iot_core()])

    @pytest.mark.parametrize("kind", [ThingType, ThingGroup])
    def test_a_name_that_iot_core_would_refuse_is_refused(self, kind):
        with pytest.raises(InvalidArgumentError, match=r"name: 'a b' was given; accepted: 1 to 128"):
            kind.named("a b")

    def test_a_thing_type_has_three_searchable_attributes_at_most(self):
        with pytest.raises(InvalidArgumentError, match=r"searchable_attributes: .*at most three"):
            ThingType.created(searchable_attributes=["a", "b", "c", "d"])

    def test_a_validity_that_leaves_the_authority_little_time_is_warned_about(self, synthesise):
        def issuing(days):
            def fill(stack):
                subject = AuthoritySubject(common_name="ca")
                authority = DeviceAuthority.root(stack, "Ca", subject=subject, validity=Duration.days(days))
                Issuer.private_ca(authority, validity=Duration.days(365))

            return synthesise(fill).warnings()

        (warning,) = issuing(400)
        assert "less than 35 days after it was made" in warning
        assert issuing(730) == []

    def test_an_authority_of_another_region_is_refused(self):
        app = App(context={"aws:cdk:bundling-stacks": []})
        here, there = (Stack(app, name, env=Environment(region=name)) for name in ("eu-west-1", "us-east-1"))
        authority = DeviceAuthority.root(there, "Ca", subject=AuthoritySubject(common_name="ca"))
        with pytest.raises(InvalidArgumentError, match=r"issuers: 'an authority in us-east-1'.*eu-west-1"):
            SecretFreeProvisioning(here, "Line", product="widget", issuers=[Issuer.private_ca(authority)])

    def test_what_took_an_authority_back_may_do_so_after_it_left_the_stack(self, synthesise):
        made = synthesise(
            lambda stack: SecretFreeProvisioning(stack, "Line", product="widget", issuers=[Issuer.iot_core()])
        )
        assert "iot:DeleteCACertificate" in json.dumps(made.every_right())

    def test_an_issuer_needs_an_authority(self):
        with pytest.raises(InvalidArgumentError, match=r"authority: .*a DeviceAuthority"):
            Issuer.private_ca("arn:aws:acm-pca:...")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("mode", "validity", "message"),
        [
            (UsageMode.SHORT_LIVED_CERTIFICATE, Duration.days(8), "validity: .*whole days, from 1 to 7"),
            (UsageMode.GENERAL_PURPOSE, Duration.hours(36), "validity: .*whole days"),
            (UsageMode.GENERAL_PURPOSE, Duration.days(3650), "validity: .*less than the authority's own 3650 days"),
        ],
    )
    def test_a_validity_that_the_authority_cannot_give_is_refused(self, stack, mode, validity, message):
        authority = DeviceAuthority.root(stack, "Ca", subject=AuthoritySubject(common_name="ca"), usage_mode=mode)
        with pytest.raises(InvalidArgumentError, match=message):
            Issuer.private_ca(authority, validity=validity)

    def test_short_lived_certificates_last_a_week_unless_told_otherwise(self, stack):
        authority = DeviceAuthority.root(
            stack, "Ca", subject=AuthoritySubject(common_name="ca"), usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE
        )
        assert Issuer.private_ca(authority).validity_days == 7
