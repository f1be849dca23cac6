"""What retires old certificates when devices connect: its rule, its queue, its rights, and how it is left out."""

import json

import pytest
from aws_cdk import aws_sqs as sqs
from cdk_iot_secretfree import DeviceAuthority, InvalidArgumentError, Issuer, Retirement, SecretFreeProvisioning
from cdk_iot_secretfree.connect_events import ConnectEvents
from secretfree.config.retirement import RetirementConfig

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


def product_line(scope, **options):
    authority = DeviceAuthority.from_arn(scope, "Authority", ARN)
    return SecretFreeProvisioning(
        scope, "Provisioning", product="widget", issuers=[Issuer.private_ca(authority)], **options
    )


@pytest.fixture(scope="module")
def feed(sample):
    (mapping,) = [
        resource["Properties"]
        for resource in sample.of_type("AWS::Lambda::EventSourceMapping").values()
        if "Retirement" in json.dumps(resource["Properties"]["EventSourceArn"])
    ]
    return mapping


@pytest.fixture(scope="module")
def queue(sample, feed):
    return sample.resources[feed["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]


def test_the_rule_sends_the_connects_of_clients_with_a_certificate(sample):
    payload = sample.only("AWS::IoT::TopicRule")["TopicRulePayload"]
    assert payload["Sql"].startswith(
        "SELECT clientId, principalIdentifier FROM '$aws/events/presence/connected/+' WHERE"
    )
    (action,) = payload["Actions"]
    assert action["Sqs"]["UseBase64"] is False


def test_the_rule_may_send_to_the_queue_and_nothing_else(sample):
    role = sample.only("AWS::IoT::TopicRule")["TopicRulePayload"]["Actions"][0]["Sqs"]["RoleArn"]["Fn::GetAtt"][0]
    (statement,) = sample.rights(role)
    assert statement["Action"] == "sqs:SendMessage"
    trust = sample.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [one["Principal"] for one in trust] == [{"Service": "iot.amazonaws.com"}]
    assert trust[0]["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_no_other_principal_can_pretend_that_a_device_connected(sample):
    denials = [
        statement
        for name, policy in sample.of_type("AWS::SQS::QueuePolicy").items()
        if "Retirement" in name
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Action"] == "sqs:SendMessage"
    ]
    (denial,) = denials
    assert "SecretFreeConnectsRole" in json.dumps(denial["Condition"]["ArnNotEquals"]["aws:PrincipalArn"])


def test_messages_come_in_batches_fail_alone_and_end_in_the_dead_letters(feed, queue, sample):
    assert feed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert feed["BatchSize"] == 50
    assert feed["ScalingConfig"] == {"MaximumConcurrency": 5}
    dead_letters = sample.resources[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
    assert dead_letters["MessageRetentionPeriod"] == 14 * 86_400
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 10
    assert queue["VisibilityTimeout"] >= 6 * 60


def test_it_may_retire_and_neither_issue_nor_attach(sample):
    assert sample.actions("retirer") == {
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "iot:DeleteCertificate",
        "iot:DescribeCertificate",
        "iot:DetachPolicy",
        "iot:DetachThingPrincipal",
        "iot:ListAttachedPolicies",
        "iot:UpdateCertificate",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    }


def test_the_lines_of_a_stack_share_rules_of_ten_queues(synthesise):
    def fill(stack):
        for number in range(11):
            ConnectEvents.of(stack).send_to(sqs.Queue(stack, f"Queue{number}"))

    made = synthesise(fill)
    rules = [rule["Properties"]["TopicRulePayload"]["Actions"] for rule in made.of_type("AWS::IoT::TopicRule").values()]
    assert [len(actions) for actions in rules] == [10, 1]
    queues = {action["Sqs"]["QueueUrl"]["Ref"] for actions in rules for action in actions}
    assert len(queues) == 11
    (role,) = {action["Sqs"]["RoleArn"]["Fn::GetAtt"][0] for actions in rules for action in actions}
    assert {right["Resource"]["Fn::GetAtt"][0] for right in made.rights(role)} == queues


def test_it_takes_its_environment(sample):
    assert RetirementConfig.from_environment(sample.deployed_environment("retirer")).product == "widget"


def test_at_the_end_costs_no_event(synthesise):
    lines = []
    made = synthesise(lambda scope: lines.append(product_line(scope, retirement=Retirement.AT_END)))
    assert lines[0].retirement is None
    assert not made.of_type("AWS::IoT::TopicRule")


def test_what_is_no_retirement_is_refused(stack):
    with pytest.raises(InvalidArgumentError, match=r"retirement.*Retirement.ON_CONNECT, Retirement.AT_END"):
        product_line(stack, retirement="on-connect")
