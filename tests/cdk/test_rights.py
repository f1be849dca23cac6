"""What each function may do, and nothing else."""

import json
import re

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    AuthoritySubject,
    DeviceAuthority,
    FunctionOptions,
    IotRegistration,
    Issuer,
    SecretFreeProvisioning,
)
from secretfree.contract import IssuerSetting
from support.product_lines import iot_core_only

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
