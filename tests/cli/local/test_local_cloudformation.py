"""Private CAs as resources of a stack in the local cloud: made, changed, replaced, taken down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import WaiterError
from cryptography import x509
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.cloud import without_effect
from secretfree_cli.local.emulators.cloudformation_private_ca import typed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-cloudformation")]  # one process for all of them


@pytest.fixture
def cloud(shared_cloud):
    return shared_cloud


@pytest.fixture
def private_ca(cloud):
    return local_client(cloud, "acm-pca")


def authority(name: str, kind: str, **more: Any) -> dict[str, Any]:
    properties = {
        "Type": kind,
        "KeyAlgorithm": "EC_prime256v1",
        "SigningAlgorithm": "SHA256WITHECDSA",
        "Subject": {"CommonName": name},
        **more,
    }
    return {"Type": "AWS::ACMPCA::CertificateAuthority", "Properties": properties}


def certificate(of: str, by: str, template: str, days: str) -> dict[str, Any]:
    properties = {
        "CertificateAuthorityArn": {"Ref": by},
        "CertificateSigningRequest": {"Fn::GetAtt": [of, "CertificateSigningRequest"]},
        "SigningAlgorithm": "SHA256WITHECDSA",
        "TemplateArn": f"arn:aws:acm-pca:::template/{template}/V1",
        "Validity": {"Type": "DAYS", "Value": days},
    }
    return {"Type": "AWS::ACMPCA::Certificate", "Properties": properties}


def activation(of: str, certificate_of: str, **more: Any) -> dict[str, Any]:
    properties = {
        "CertificateAuthorityArn": {"Fn::GetAtt": [of, "Arn"]},
        "Certificate": {"Fn::GetAtt": [certificate_of, "Certificate"]},
        "Status": "ACTIVE",
        **more,
    }
    return {"Type": "AWS::ACMPCA::CertificateAuthorityActivation", "Properties": properties}


def hierarchy(*, root: str = "Root", **root_options: Any) -> dict[str, Any]:
    below = certificate("Below", "Root", "SubordinateCACertificate_PathLen0", "30")
    return {
        "Root": authority(root, "ROOT", **root_options),
        "RootCertificate": certificate("Root", "Root", "RootCACertificate", "3650"),
        "RootActivation": activation("Root", "RootCertificate"),
        "Below": authority("Below", "SUBORDINATE"),
        "BelowCertificate": {**below, "DependsOn": ["RootActivation"]},
        "BelowActivation": activation(
            "Below", "BelowCertificate", CertificateChain={"Fn::GetAtt": ["RootActivation", "CompleteCertificateChain"]}
        ),
    }


class Stack:
    """A stack of these resources."""

    def __init__(self, cloud: Any, name: str) -> None:
        self.client, self.name = local_client(cloud, "cloudformation"), name

    def create(self, resources: dict[str, Any]) -> None:
        self.client.create_stack(StackName=self.name, TemplateBody=self._template(resources))
        self.client.get_waiter("stack_create_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def update(self, resources: dict[str, Any]) -> None:
        self.client.update_stack(StackName=self.name, TemplateBody=self._template(resources))
        self.client.get_waiter("stack_update_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def delete(self) -> None:
        self.client.delete_stack(StackName=self.name)
        self.client.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    @property
    def ids(self) -> dict[str, str]:
        resources = self.client.describe_stack_resources(StackName=self.name)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}

    def output(self, key: str) -> str:
        outputs = self.client.describe_stacks(StackName=self.name)["Stacks"][0]["Outputs"]
        return next(output["OutputValue"] for output in outputs if output["OutputKey"] == key)

    @staticmethod
    def _template(resources: dict[str, Any]) -> str:
        last = next(name for name in reversed(resources) if "Activation" in name)
        value = {"Fn::GetAtt": [last, "CompleteCertificateChain"]}
        return json.dumps({"Resources": resources, "Outputs": {"Chain": {"Value": value}}})


def status(private_ca: Any, arn: str) -> str:
    described = private_ca.describe_certificate_authority(CertificateAuthorityArn=arn)
    return str(described["CertificateAuthority"]["Status"])


def test_a_root_and_a_subordinate_are_made_changed_and_taken_down(cloud, private_ca):
    stack = Stack(cloud, "hierarchy")
    stack.create(hierarchy())
    made = stack.ids
    chain = x509.load_pem_x509_certificates(stack.output("Chain").encode())
    assert [item.subject.rfc4514_string() for item in chain] == ["CN=Below", "CN=Root"]
    chain[0].verify_directly_issued_by(chain[1])
    assert {status(private_ca, made[name]) for name in ("Root", "Below")} == {"ACTIVE"}
    assert made["RootActivation"] == made["Root"]

    stack.update(hierarchy(Tags=[{"Key": "number", "Value": "5"}]))
    assert stack.ids == made
    assert private_ca.list_tags(CertificateAuthorityArn=made["Root"])["Tags"] == [{"Key": "number", "Value": "5"}]

    stack.update(hierarchy(root="Another root"))
    replaced = stack.ids
    assert replaced["Root"] != made["Root"]
    assert replaced["Below"] == made["Below"]
    assert status(private_ca, made["Root"]) == "DELETED"

    stack.delete()
    assert {status(private_ca, replaced[name]) for name in ("Root", "Below")} == {"DELETED"}


def test_a_ca_without_certificate_waits_and_is_deleted(cloud, private_ca):
    client = local_client(cloud, "cloudformation")
    template = {
        "Resources": {"Waiting": authority("Waiting", "SUBORDINATE")},
        "Outputs": {"Csr": {"Value": {"Fn::GetAtt": ["Waiting", "CertificateSigningRequest"]}}},
    }
    client.create_stack(StackName="waiting", TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName="waiting", WaiterConfig={"Delay": 1})
    stack = Stack(cloud, "waiting")
    csr = x509.load_pem_x509_csr(stack.output("Csr").encode())
    assert csr.subject.rfc4514_string() == "CN=Waiting"
    arn = stack.ids["Waiting"]
    assert status(private_ca, arn) == "PENDING_CERTIFICATE"
    stack.delete()
    assert status(private_ca, arn) == "DELETED"


def test_what_private_ca_refuses_fails_the_stack_with_its_reason(cloud):
    client = local_client(cloud, "cloudformation")
    resources = {"Wrong": authority("Wrong", "ROOT", SigningAlgorithm="SHA256WITHRSA")}
    client.create_stack(StackName="wrong", TemplateBody=json.dumps({"Resources": resources}), OnFailure="DO_NOTHING")
    with pytest.raises(WaiterError, match="StackCreateComplete"):
        client.get_waiter("stack_create_complete").wait(StackName="wrong", WaiterConfig={"Delay": 1})
    reasons = [
        event.get("ResourceStatusReason", "")
        for event in client.describe_stack_events(StackName="wrong")["StackEvents"]
    ]
    assert any("signing algorithm" in reason for reason in reasons)


def test_what_the_local_cloud_does_not_serve_is_accepted_without_effect(cloud):
    client = local_client(cloud, "cloudformation")
    address = {"Fn::GetAtt": ["Address", "AllocationId"]}
    template = {
        "Resources": {
            "Address": {"Type": "AWS::EC2::EIP", "Properties": {"Domain": "vpc"}},
            "Gateway": {"Type": "AWS::EC2::NatGateway", "Properties": {"AllocationId": address, "SubnetId": "s-1"}},
            "Network": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.1.0.0/16"}},
            "Provider": {
                "Type": "AWS::IoT::CertificateProvider",
                "Properties": {"AccountDefaultForOperations": ["CreateCertificateFromCsr"], "LambdaFunctionArn": "f"},
            },
        },
        "Outputs": {
            "Gateway": {"Value": {"Ref": "Gateway"}},
            "Range": {"Value": {"Fn::GetAtt": ["Network", "CidrBlock"]}},
        },
    }
    client.create_stack(StackName="network", TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName="network", WaiterConfig={"Delay": 1})
    assert without_effect(cloud, ["network"]) == [
        "AWS::EC2::EIP",
        "AWS::EC2::NatGateway",
        "AWS::IoT::CertificateProvider",
    ]
    stack = Stack(cloud, "network")
    assert stack.output("Gateway") == stack.ids["Gateway"]
    assert stack.output("Range") == "10.1.0.0/16"
    stack.delete()


def test_text_of_a_template_becomes_what_the_api_takes():
    given = {
        "Validity": {"Type": "DAYS", "Value": "30"},
        "RevocationConfiguration": {"CrlConfiguration": {"Enabled": "true", "ExpirationInDays": "7"}},
        "Tags": [{"Key": "number", "Value": "5"}],
    }
    assert typed(given) == {
        "Validity": {"Type": "DAYS", "Value": 30},
        "RevocationConfiguration": {"CrlConfiguration": {"Enabled": True, "ExpirationInDays": 7}},
        "Tags": [{"Key": "number", "Value": "5"}],
    }
