"""What each function gets as configuration."""

import json
import re

import pytest
from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
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
    Issuer,
    MatchPolicy,
    SecretFreeProvisioning,
    ThingGroup,
    ThingType,
    UsageMode,
)
from secretfree.adapters.issuers.private_ca import PrivateCaConfig
from secretfree.config.authorizer import AuthorizerConfig
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import IssuerKind, Variable
from support.product_lines import iot_core_only


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
