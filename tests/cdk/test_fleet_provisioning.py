"""Fleet provisioning in the template: who invokes whom, and what each function and role may do."""

import json

import pytest
from cdk_iot_secretfree import (
    DeviceAuthority,
    FleetProvisioning,
    InvalidArgumentError,
    Issuer,
    MatchPolicy,
    SecretFreeProvisioning,
    ThingGroup,
)
from secretfree.config.authorizer import AuthorizerConfig
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import FLEET_THING_NAME, Variable

from tests.cdk.conftest import deployed

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


def line(scope, *, private=True, **arguments):
    authority = DeviceAuthority.from_arn(scope, "Authority", ARN)
    issuers = [Issuer.iot_core(), *([Issuer.private_ca(authority)] if private else [])]
    return SecretFreeProvisioning(scope, "Provisioning", product="widget", issuers=issuers, **arguments)


def with_fleet(scope, **arguments):
    return FleetProvisioning(scope, "Fleet", line(scope, **arguments), template_name="widget-fleet")


@pytest.fixture(scope="module")
def made(synthesise):
    return synthesise(lambda scope: with_fleet(scope, thing_groups=[ThingGroup.named("benches")]))


def template_body(made):
    return json.loads(deployed(made.only("AWS::IoT::ProvisioningTemplate")["TemplateBody"]))


def test_the_provider_signs_for_create_certificate_from_csr(made):
    provider = made.only("AWS::IoT::CertificateProvider")
    assert provider["AccountDefaultForOperations"] == ["CreateCertificateFromCsr"]
    assert provider["CertificateProviderName"] == "widget-fleet"
    assert "ProviderFunction" in json.dumps(provider["LambdaFunctionArn"])


def test_the_template_has_the_hook_and_the_product_line_s_thing_and_policy(made):
    template = made.only("AWS::IoT::ProvisioningTemplate")
    assert template["TemplateType"] == "FLEET_PROVISIONING"
    assert template["PreProvisioningHook"]["PayloadVersion"] == "2020-04-01"
    assert "HookFunction" in json.dumps(template["PreProvisioningHook"]["TargetArn"])
    body = template_body(made)
    assert set(body["Parameters"]) == {FLEET_THING_NAME, "AWS::IoT::Certificate::Id"}
    thing = body["Resources"]["thing"]
    assert thing["Properties"] == {
        "ThingName": {"Ref": FLEET_THING_NAME},
        "ThingTypeName": "deployed",
        "ThingGroups": ["benches"],
    }
    assert thing["OverrideSettings"]["ThingTypeName"] == "DO_NOTHING"
    assert body["Resources"]["certificate"]["Properties"]["Status"] == "Active"
    assert body["Resources"]["policy"]["Properties"] == {"PolicyName": "deployed"}


@pytest.mark.parametrize(
    ("function", "source"),
    [("ProviderFunction", "certificateprovider:widget-fleet"), ("HookFunction", "provisioningtemplate/widget-fleet")],
)
def test_iot_core_alone_invokes_each_for_its_own_resource(function, source, made):
    permissions = [p["Properties"] for p in made.of_type("AWS::Lambda::Permission").values()]
    (own,) = [one for one in permissions if function in json.dumps(one["FunctionName"])]
    assert own["Principal"] == "iot.amazonaws.com"
    assert own["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert json.dumps(own["SourceArn"]).endswith(f':{source}"]]}}')


def test_they_come_after_the_permission_to_be_invoked(made):
    for kind in ("AWS::IoT::CertificateProvider", "AWS::IoT::ProvisioningTemplate"):
        (resource,) = made.of_type(kind).values()
        assert any("InvokedByIotCore" in name for name in resource["DependsOn"])


def test_both_read_what_the_authorizer_and_the_issuer_read(made):
    for handler in ("fleet_provider", "fleet_hook"):
        environment = made.deployed_environment(handler)
        assert IssuerConfig.from_environment(environment).issuer.name == "private-ca"
        assert AuthorizerConfig.from_environment(environment).product == "widget"
        assert made.environment("authorizer").items() <= made.environment(handler).items()
        assert environment[Variable.ISSUERS] == made.deployed_environment("issuer", "private-ca")[Variable.ISSUERS]


def test_the_provider_signs_and_records_and_registers_nothing(made):
    assert made.actions("fleet_provider") == {
        "acm-pca:GetCertificate",
        "acm-pca:IssueCertificate",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "iot:CreateThing",
        "iot:DescribeCertificate",
        "iot:DescribeThing",
    }


def test_the_hook_reads_the_registry_and_records(made):
    assert made.actions("fleet_hook") == {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
    written = [s["Resource"] for s in made.statements("fleet_hook") if "dynamodb:PutItem" in s["Action"]]
    assert "Registry" not in json.dumps(written)


def test_iot_core_s_role_may_carry_out_the_template_and_no_more(made, in_list):
    role = made.only("AWS::IoT::ProvisioningTemplate")["ProvisioningRoleArn"]["Fn::GetAtt"][0]
    actions = {action for s in made.rights(role) for action in in_list(s["Action"])}
    assert actions == {
        "iot:AddThingToThingGroup",
        "iot:AttachPolicy",
        "iot:AttachThingPrincipal",
        "iot:CreateThing",
        "iot:DescribeCertificate",
        "iot:DescribeThing",
        "iot:DescribeThingGroup",
        "iot:DescribeThingType",
        "iot:GetPolicy",
        "iot:ListThingGroupsForThing",
        "iot:UpdateCertificate",
    }
    trust = made.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [s["Condition"] for s in trust] == [{"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}]


def test_by_the_device_id_alone_the_environment_is_whole(synthesise):
    made = synthesise(lambda scope: with_fleet(scope, match=MatchPolicy.UDID))
    assert made.environment("authorizer").items() <= made.environment("fleet_provider").items()


def twice(scope):
    provisioning = line(scope)
    for name in ("One", "Two"):
        FleetProvisioning(scope, name, provisioning, template_name=name)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("issuer", lambda stack: with_fleet(stack, private=False)),
        ("issuer", lambda stack: FleetProvisioning(stack, "F", line(stack), template_name="f", issuer="iot-core")),
        ("issuer", lambda stack: FleetProvisioning(stack, "F", line(stack), template_name="f", issuer="other")),
        ("template_name", lambda stack: FleetProvisioning(stack, "F", line(stack), template_name="a b")),
        ("template_name", lambda stack: FleetProvisioning(stack, "F", line(stack), template_name="a" * 37)),
        ("template_name", lambda stack: FleetProvisioning(stack, "F", line(stack), template_name=7)),
        ("provisioning", lambda stack: FleetProvisioning(stack, "F", stack, template_name="f")),
        ("scope", twice),
    ],
)
def test_what_cannot_work_is_refused_by_name(argument, make, stack):
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        make(stack)
