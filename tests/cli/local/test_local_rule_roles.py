"""A topic rule sends to SQS as its role, and only as far as that role may. The broker, the rules and IAM are real."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from secretfree_cli.local.emulators.aws_rule_roles import trusts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-rule-roles")]  # one process for all of them


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def received(aws: Callable, name: str, *, service: str, actions: list[str]) -> list[str]:
    """What arrives in a queue that admits the rule's role alone, and TLS alone, when something is published."""
    iam, sqs, iot = aws("iam"), aws("sqs"), aws("iot")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))["Role"]["Arn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    deny = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": role}},
    }
    without_tls = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "sqs:*",
        "Resource": arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny, without_tls]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    allow = [{"Effect": "Allow", "Action": action, "Resource": arn} for action in actions]
    if allow:
        document = json.dumps({"Version": "2012-10-17", "Statement": allow})
        iam.put_role_policy(RoleName=name, PolicyName="send", PolicyDocument=document)
    iot.create_topic_rule(
        ruleName=name,
        topicRulePayload={
            "sql": f"SELECT a FROM '{name}/+'",  # noqa: S608 -- a topic rule's
            "actions": [{"sqs": {"queueUrl": url, "roleArn": role, "useBase64": False}}],
        },
    )
    aws("iot-data").publish(topic=f"{name}/x", payload=b'{"a": 1, "b": 2}')
    messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", [])
    return [message["Body"] for message in messages]


def test_a_rule_whose_role_may_send_reaches_a_queue_that_admits_that_role_alone(aws):
    bodies = received(aws, "allowed", service="iot.amazonaws.com", actions=["sqs:SendMessage"])
    assert [json.loads(body) for body in bodies] == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "service", "actions"),
    [
        ("without_rights", "iot.amazonaws.com", []),
        ("with_other_rights", "iot.amazonaws.com", ["sqs:ReceiveMessage"]),
        ("of_another_service", "lambda.amazonaws.com", ["sqs:SendMessage"]),
    ],
)
def test_a_rule_whose_role_may_not_send_sends_nothing(aws, name, service, actions):
    assert received(aws, name, service=service, actions=actions) == []


def test_no_other_principal_reaches_that_queue(aws):
    sqs = aws("sqs")
    url = sqs.get_queue_url(QueueName="allowed")["QueueUrl"]
    with pytest.raises(sqs.exceptions.ClientError, match="AccessDenied"):
        sqs.send_message(QueueUrl=url, MessageBody="forged")


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ({"Service": "iot.amazonaws.com"}, True),
        ({"Service": ["lambda.amazonaws.com", "iot.amazonaws.com"]}, True),
        ({"Service": "lambda.amazonaws.com"}, False),
        ({"AWS": "*"}, False),
        ("*", False),
    ],
)
def test_a_trust_policy_names_the_service_or_not(principal, expected):
    document = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
    assert trusts(document, "iot.amazonaws.com") is expected
    assert trusts(json.dumps(document), "iot.amazonaws.com") is expected
