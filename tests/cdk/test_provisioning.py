"""SecretFreeProvisioning: what it offers, several in one app, and what is refused at synth."""

import json
import re

import pytest
from aws_cdk import App, Duration, Environment, RemovalPolicy, Stack, Stage
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Match, Template
from cdk_iot_secretfree import (
    AuthoritySubject,
    Bundle,
    DeviceAuthority,
    DevicePolicy,
    DeviceRegistry,
    InvalidArgumentError,
    Issuer,
    MatchPolicy,
    SecretFreeProvisioning,
    ThingGroup,
    ThingType,
    UsageMode,
)
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import METRIC_NAMESPACE, IssuerKind, Metric, Variable
from support.product_lines import iot_core_only


def policy_by(variable):
    resource = f"arn:aws:iot:eu-west-1:111122223333:topic/${{{variable}}}/*"
    return DevicePolicy.from_statements([iam.PolicyStatement(actions=["iot:Publish"], resources=[resource])])


@pytest.fixture(scope="module")
def provisioning():
    return iot_core_only(Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack"))


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

    def test_every_metric_of_the_runtime_has_a_method(self, provisioning):
        of_one = {Metric.STAGE_LATENCY, Metric.CALLS, Metric.CALLS_THROTTLED}
        methods = {metric: getattr(provisioning, f"metric_{metric.name.lower()}") for metric in Metric}
        made = {metric: method(*["x"] * (metric in of_one)) for metric, method in methods.items()}
        assert {metric: one.metric_name for metric, one in made.items()} == {metric: metric.value for metric in Metric}

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

    def test_the_sweeper_gets_both(self, pair):
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
    def test_no_policy_relies_on_a_subject_that_the_requester_chose(self, stack, variable, match):
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

    def test_short_lived_certificates_last_a_week_by_default(self, stack):
        authority = DeviceAuthority.root(
            stack, "Ca", subject=AuthoritySubject(common_name="ca"), usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE
        )
        assert Issuer.private_ca(authority).validity_days == 7
