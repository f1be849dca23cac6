"""The rights of the diagnosis: all that the command calls, and nothing that changes anything."""

import re

import pytest
from aws_cdk import aws_iam as iam
from cdk_iot_secretfree import DeviceAuthority, Issuer, SecretFreeProvisioning

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
READS = re.compile(r"[a-z-]+:(Describe|Get|List|Query|Filter|Receive|Search)[A-Za-z]*")


@pytest.fixture(scope="module")
def granted(synthesise):
    def fill(stack):
        authority = DeviceAuthority.from_arn(stack, "Authority", ARN)
        provisioning = SecretFreeProvisioning(
            stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.private_ca(authority)],
        )
        role = iam.Role(stack, "OnCall", assumed_by=iam.AccountRootPrincipal())
        provisioning.grant_diagnose(role)

    made = synthesise(fill)
    (policy,) = [
        resource["Properties"]["PolicyDocument"]["Statement"]
        for name, resource in made.of_type("AWS::IAM::Policy").items()
        if name.startswith("OnCall")
    ]
    return policy


def actions_of(statements, in_list):
    return {action for statement in statements for action in in_list(statement["Action"])}


def test_every_right_reads(granted, in_list):
    actions = actions_of(granted, in_list)
    assert actions
    assert [action for action in actions if not READS.fullmatch(action)] == []
    assert "dynamodb:Scan" not in actions


def test_the_rights_are_what_the_command_calls(granted, in_list):
    assert actions_of(granted, in_list) == {
        "acm-pca:DescribeCertificateAuthority",
        "acm-pca:GetCertificateAuthorityCertificate",
        "cloudformation:DescribeStacks",
        "cloudformation:ListStackResources",
        "cloudwatch:GetMetricStatistics",
        "dynamodb:DescribeTable",
        "dynamodb:GetItem",
        "dynamodb:Query",
        "iot:DescribeCACertificate",
        "iot:DescribeCertificate",
        "iot:DescribeThing",
        "iot:GetPolicy",
        "iot:ListAttachedPolicies",
        "iot:ListPrincipalThings",
        "iot:SearchIndex",
        "logs:FilterLogEvents",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    }


def test_only_what_has_no_resources_is_granted_on_all(granted, in_list):
    everywhere = [statement for statement in granted if statement["Resource"] == "*"]
    assert actions_of(everywhere, in_list) == {"cloudwatch:GetMetricStatistics", "iot:ListPrincipalThings"}
