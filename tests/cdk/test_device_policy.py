"""DevicePolicy: what a provisioned device may do, and what is caught before IoT Core would catch it."""

import json

import pytest
from aws_cdk import App, Fn, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from cdk_iot_secretfree import DevicePolicy, InvalidArgumentError, Issuer, SecretFreeProvisioning
from cdk_iot_secretfree.device_policy import check_document

THING = "${iot:Connection.Thing.ThingName}"


def allow(resource, **extra):
    return iam.PolicyStatement(actions=["iot:Publish"], resources=[resource], **extra)


def bound(stack, policy):
    return policy.bind(stack, "Policy", removal_policy=RemovalPolicy.RETAIN)


@pytest.fixture
def document(stack_in_ireland):
    """The least-privilege document with the partition resolved."""
    made = bound(stack_in_ireland, DevicePolicy.least_privilege("widget"))
    text = json.dumps(stack_in_ireland.resolve(made.document))
    assert '{"Ref": "AWS::Partition"}' in text
    flattened = stack_in_ireland.resolve(made.document)

    def flat(value):
        if isinstance(value, dict) and "Fn::Join" in value:
            return "".join(part if isinstance(part, str) else "aws" for part in value["Fn::Join"][1])
        if isinstance(value, dict):
            return {key: flat(item) for key, item in value.items()}
        return [flat(item) for item in value] if isinstance(value, list) else value

    return flat(flattened)


class TestLeastPrivilege:
    def test_a_device_connects_as_its_own_thing_and_only_while_attached(self, document):
        (connect,) = [s for s in document["Statement"] if s["Action"] == "iot:Connect"]
        assert connect["Resource"] == f"arn:aws:iot:eu-west-1:111122223333:client/{THING}"
        assert connect["Condition"] == {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}

    def test_every_topic_it_reaches_holds_its_own_name(self, document):
        topics = [
            resource
            for statement in document["Statement"]
            if statement["Action"] != "iot:Connect"
            for resource in statement["Resource"]
        ]
        assert len(topics) == 6
        assert all(f"/{THING}/" in topic for topic in topics)
        assert all(topic.count("*") == 1 and topic.endswith("/*") for topic in topics)

    def test_it_reaches_its_own_topics_shadows_and_jobs(self, document):
        (data,) = [s for s in document["Statement"] if "iot:Publish" in s["Action"]]
        prefix = "arn:aws:iot:eu-west-1:111122223333:topic/"
        assert data["Action"] == ["iot:Publish", "iot:Receive"]
        assert data["Resource"] == [
            f"{prefix}widget/{THING}/*",
            f"{prefix}$aws/things/{THING}/shadow/*",
            f"{prefix}$aws/things/{THING}/jobs/*",
        ]

    def test_it_gets_no_other_action(self, document):
        actions = {
            action
            for s in document["Statement"]
            for action in (s["Action"] if isinstance(s["Action"], list) else [s["Action"]])
        }
        assert actions == {"iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe"}

    def test_the_longest_prefix_fits_in_every_region_and_partition(self, stack):
        assert bound(stack, DevicePolicy.least_privilege("x" * 64)).resource is not None

    @pytest.mark.parametrize(
        "prefix", ["", "a/", "/a", "a//b", "a/+", "#", "a b", "$aws", "a/b/c/d/e/f", "${iot:ClientId}"]
    )
    def test_a_prefix_that_could_reach_elsewhere_is_refused(self, prefix):
        with pytest.raises(InvalidArgumentError, match=r"topic_prefix: .*1 to 5 topic levels"):
            DevicePolicy.least_privilege(prefix)

    def test_a_prefix_that_leaves_no_room_for_a_topic_is_refused(self, stack):
        longest = "/".join(["x" * 62] * 3)
        assert len(longest) + len(f"/{'t' * 64}/y") <= 256
        assert bound(stack, DevicePolicy.least_privilege(longest)).resource is not None
        with pytest.raises(
            InvalidArgumentError, match=r"topic_prefix: '190 characters' was given; accepted: at most 189"
        ):
            DevicePolicy.least_privilege(f"{longest}/y")

    def test_a_prefix_known_at_deploy_time_only_is_refused(self, stack):
        with pytest.raises(InvalidArgumentError, match=r"topic_prefix: 'a token'"):
            DevicePolicy.least_privilege(stack.account)


class TestStatementsOfYourOwn:
    def test_they_become_the_document(self, stack):
        made = bound(stack, DevicePolicy.from_statements([allow(f"arn:aws:iot:eu-west-1:1:topic/a/{THING}")]))
        (statement,) = made.document["Statement"]
        assert statement["Action"] == "iot:Publish"

    @pytest.mark.parametrize(
        "variable",
        [
            "iot:ClientId",
            "iot:Connection.Thing.ThingName",
            "iot:Connection.Thing.ThingTypeName",
            "iot:Connection.Thing.Attributes[line]",
            "iot:Certificate.Subject.CommonName",
            "iot:Certificate.Subject.Organization.1",
            "iot:Certificate.Subject.AlternativeName.DNSName",
            "iot:Certificate.Issuer.CommonName",
            "iot:Certificate.SerialNumber",
            "iot:CertificateId",
            "aws:SourceIp",
            "*",
        ],
    )
    def test_variables_of_iot_core_pass(self, stack, variable):
        policy = DevicePolicy.from_statements([allow(f"arn:aws:iot:eu-west-1:1:topic/${{{variable}}}")])
        assert bound(stack, policy).resource is not None

    @pytest.mark.parametrize(
        "variable",
        [
            "iot:Connection.Thing.Name",
            "iot:ClientID",
            "iot:Connection.Thing.Attributes",
            "iot:Certificate.Subject.Email",
            "aws:username",
            "",
        ],
    )
    def test_a_variable_that_would_never_resolve_is_named(self, stack, variable):
        policy = DevicePolicy.from_statements([allow(f"arn:aws:iot:eu-west-1:1:topic/${{{variable}}}")])
        with pytest.raises(InvalidArgumentError) as refused:
            bound(stack, policy)
        assert f"${{{variable}}}" in str(refused.value)
        assert "accepted: a policy variable of AWS IoT Core" in str(refused.value)

    @pytest.mark.parametrize(
        "key",
        [
            "iot:Connection.Thing.IsAttached",
            "iot:Connection.Thing.Attributes[line]",
            "iot:Certificate.Subject.CommonName",
            "iot:ConnectAttributes",
            "aws:SourceIp",
        ],
    )
    def test_condition_keys_of_iot_core_pass(self, stack, key):
        policy = DevicePolicy.from_statements([allow("*", conditions={"StringEquals": {key: "true"}})])
        assert bound(stack, policy).resource is not None

    @pytest.mark.parametrize("key", ["iot:Connection.Thing.IsAtached", "iot:Certificate.Subject.Email"])
    def test_a_condition_key_that_never_holds_is_named(self, stack, key):
        policy = DevicePolicy.from_statements([allow("*", conditions={"Bool": {key: "true"}})])
        with pytest.raises(InvalidArgumentError, match=f"device_policy: 'condition key {key}' was given"):
            bound(stack, policy)

    @pytest.mark.parametrize(
        "resource",
        [
            Fn.sub("arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:topic/${!iot:ClientId}/x"),
            Fn.sub("arn:aws:iot:${Where}:1:topic/x", {"Where": Fn.ref("AWS::Region")}),
            Fn.sub("arn:aws:iot:eu-west-1:1:topic/${Line.Name}/${AWS::StackName}"),
        ],
    )
    def test_what_cloudformation_substitutes_is_no_policy_variable(self, stack, resource):
        assert bound(stack, DevicePolicy.from_statements([allow(resource)])).resource is not None

    def test_a_policy_variable_within_a_substitution_is_checked(self, stack):
        policy = DevicePolicy.from_statements([allow(Fn.sub("arn:aws:iot:${AWS::Region}:1:topic/${!iot:ClientID}"))])
        with pytest.raises(InvalidArgumentError, match=r"\$\{iot:ClientID\}"):
            bound(stack, policy)

    def test_the_limit_is_2048_characters_without_white_space(self, stack):
        def document(length):
            frame = len('{"Version":"2012-10-17","Statement":""}')
            return {"Version": "2012-10-17", "Statement": "x" * (length - frame)}

        check_document(document(2048), stack)
        with pytest.raises(
            InvalidArgumentError, match=r"device_policy: 'a document of 2049 characters' .* at most 2048"
        ):
            check_document(document(2049), stack)

    def test_white_space_does_not_count(self, stack):
        check_document({"Version": "2012-10-17", "Statement": "x" * 1000 + " " * 2000}, stack)

    def test_what_is_known_at_deploy_time_only_counts_at_its_longest(self, stack):
        # Partition, Region and account become 10, 14 and 12 characters at most.
        arn = Stack.of(stack).format_arn(service="iot", resource="topic", resource_name="x")
        length = len("arn:aws-us-gov:iot:ap-northeast-1:000000000000:topic/x")
        frame = len('{"a":"","b":""}')
        check_document({"a": arn, "b": "y" * (2048 - frame - length)}, stack)
        with pytest.raises(InvalidArgumentError, match=r"2049 characters"):
            check_document({"a": arn, "b": "y" * (2049 - frame - length)}, stack)

    def test_no_statement_at_all_is_refused(self):
        with pytest.raises(InvalidArgumentError, match=r"statements: 'none' was given"):
            DevicePolicy.from_statements([])

    def test_a_statement_with_a_principal_is_refused(self, stack):
        policy = DevicePolicy.from_statements([allow("*", principals=[iam.AnyPrincipal()])])
        with pytest.raises(InvalidArgumentError, match=r"statements: 'a statement with a principal'"):
            bound(stack, policy)


class TestNamed:
    def test_an_existing_policy_is_attached_by_its_name(self, stack):
        made = bound(stack, DevicePolicy.from_name("Widget-Policy_1"))
        assert (made.policy_name, made.resource, made.document) == ("Widget-Policy_1", None, None)

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 129])
    def test_what_is_no_policys_name_is_refused(self, name):
        with pytest.raises(InvalidArgumentError, match=r"policy_name: .*1 to 128"):
            DevicePolicy.from_name(name)


class TestNestedPrefixes:
    @staticmethod
    def lines(*prefixes, stacks=1):
        app = App(context={"aws:cdk:bundling-stacks": []})
        scopes = [Stack(app, f"Stack{number}") for number in range(stacks)]
        lines = [
            SecretFreeProvisioning(
                scopes[number % stacks],
                f"Line{number}",
                product=f"line{number}",
                issuers=[Issuer.iot_core()],
                device_policy=DevicePolicy.least_privilege(prefix),
            )
            for number, prefix in enumerate(prefixes)
        ]
        notes = [str(entry.data) for line in lines for entry in line.node.metadata]
        return [note for note in notes if "topic prefix" in note]

    @pytest.mark.parametrize("stacks", [1, 2])
    @pytest.mark.parametrize("prefixes", [("widget", "widget/x"), ("widget/x/y", "widget")])
    def test_a_prefix_below_another_line_s_is_warned_about(self, prefixes, stacks):
        (warning,) = self.lines(*prefixes, stacks=stacks)
        assert "with the id 'x' has its topics" in warning

    @pytest.mark.parametrize("prefixes", [("widget", "widgets"), ("a/b", "a/c"), ("widget", "widget")])
    def test_prefixes_beside_each_other_are_fine(self, prefixes):
        assert self.lines(*prefixes) == []
