"""A product line in several Regions: a stack each, replicas of two tables, the follower's feed and rights."""

import json

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    ApiDomain,
    ApiOptions,
    AuthoritySubject,
    DeviceAuthority,
    DeviceRegistry,
    InvalidArgumentError,
    Issuer,
    LatencyRecord,
    MultiRegionProvisioning,
    SecretFreeProvisioning,
)

from tests.cdk.conftest import rights_of

ACCOUNT = "111122223333"
HOME, OTHER = "us-east-1", "eu-west-1"
CA = f"arn:aws:acm-pca:{HOME}:{ACCOUNT}:certificate-authority/11111111-2222-3333-4444-555555555555"


def _domain(stack):
    arn = f"arn:aws:acm:{stack.region}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"
    certificate = acm.Certificate.from_certificate_arn(stack, "Certificate", arn)
    return ApiDomain(name="provision.example.com", certificate=certificate)


def own_ca(stack):
    return DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Device CA"))


def shared_ca(stack):
    return DeviceAuthority.from_arn(stack, "Authority", CA)


def synthesised(authority, *, named=False):
    app = App(context={"aws:cdk:bundling-stacks": []})

    def line(stack):
        made = SecretFreeProvisioning(
            stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.private_ca(authority(stack)), Issuer.iot_core()],
            membership=stack.membership,
            api=ApiOptions(domain=_domain(stack)) if named else None,
        )
        if named:
            LatencyRecord(stack, "Name", made, hosted_zone_id="Z0123456789ABC")
        made.add_alarms()
        made.add_outputs()
        return made

    both = MultiRegionProvisioning(app, "Widget", account=ACCOUNT, regions=[HOME, OTHER], line=line)
    return {region: Template.from_stack(stack).to_json()["Resources"] for region, stack in both.stacks.items()}


@pytest.fixture(scope="module")
def stacks():
    return synthesised(own_ca)


@pytest.fixture(scope="module")
def sharing():
    return synthesised(shared_ca, named=True)


def of_type(resources, kind):
    return {name: one for name, one in resources.items() if one["Type"] == kind}


def function(resources, handler):
    (found,) = [
        one["Properties"]
        for one in of_type(resources, "AWS::Lambda::Function").values()
        if one["Properties"]["Handler"] == f"secretfree.handlers.{handler}.handler"
    ]
    return found


def environment(resources, handler):
    return function(resources, handler)["Environment"]["Variables"]


def statements(resources, handler):
    role = function(resources, handler)["Role"]["Fn::GetAtt"][0]
    return rights_of(resources, role)


def actions(resources, handler):
    found = [statement["Action"] for statement in statements(resources, handler)]
    return {action for given in found for action in ([given] if isinstance(given, str) else given)}


def test_the_first_region_makes_both_global_tables_and_each_region_its_ledger(stacks):
    home, other = (of_type(stacks[region], "AWS::DynamoDB::GlobalTable") for region in (HOME, OTHER))
    replicas = {
        name: sorted(replica["Region"] for replica in one["Properties"]["Replicas"]) for name, one in home.items()
    }
    assert sorted(replicas.values()) == [[OTHER, HOME], [OTHER, HOME], [HOME]]
    assert len(other) == 1
    for table in home.values():
        if len(table["Properties"]["Replicas"]) > 1:
            assert table["Properties"]["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
            assert table["DeletionPolicy"] == "Retain"
            for replica in table["Properties"]["Replicas"]:
                assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
                assert replica["DeletionProtectionEnabled"] is True


def test_both_regions_name_the_same_tables_and_use_the_same_tokens(stacks):
    variables = ("SECRETFREE_REGISTRY_TABLE", "SECRETFREE_ANNOUNCEMENTS_TABLE", "SECRETFREE_DEPLOYMENT")
    home, other = (_issuer(stacks[region]) for region in (HOME, OTHER))
    tables = of_type(stacks[HOME], "AWS::DynamoDB::GlobalTable")
    named = {name: one["Properties"].get("TableName") for name, one in tables.items()}
    for variable in variables[:2]:
        assert named[home[variable]["Ref"]] == other[variable]
    announcements = home[variables[1]]["Ref"]
    assert home[variables[2]] == {"Fn::GetAtt": [announcements, "Arn"]}
    text = json.dumps(other[variables[2]])
    assert text.endswith(f':dynamodb:{HOME}:{ACCOUNT}:table/{other[variables[1]]}"]]}}')


def _issuer(resources):
    (found,) = [
        one["Properties"]["Environment"]["Variables"]
        for one in of_type(resources, "AWS::Lambda::Function").values()
        if one["Properties"]["Environment"]["Variables"].get("SECRETFREE_ISSUER") == "private-ca"
    ]
    return found


@pytest.mark.parametrize("region", [HOME, OTHER])
def test_the_follower_reads_what_other_regions_announce_alone(stacks, region):
    feeds = [one["Properties"] for one in of_type(stacks[region], "AWS::Lambda::EventSourceMapping").values()]
    patterns = [
        json.loads(one["Pattern"]) for feed in feeds for one in feed.get("FilterCriteria", {}).get("Filters", [])
    ]
    assert {
        "eventName": ["INSERT", "MODIFY"],
        "dynamodb": {"NewImage": {"region": {"S": [{"anything-but": [region]}]}}},
    } in patterns


@pytest.mark.parametrize("region", [HOME, OTHER])
def test_the_follower_may_register_and_revoke_and_neither_issue_nor_write_the_registry(stacks, region):
    assert actions(stacks[region], "follower") == {
        "dynamodb:DescribeStream",
        "dynamodb:GetItem",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "iot:AttachPolicy",
        "iot:AttachThingPrincipal",
        "iot:CreateThing",
        "iot:DeleteCertificate",
        "iot:DeleteConnection",
        "iot:DescribeCertificate",
        "iot:DescribeThing",
        "iot:DetachPolicy",
        "iot:DetachThingPrincipal",
        "iot:ListAttachedPolicies",
        "iot:RegisterCertificate",
        "iot:RegisterCertificateWithoutCA",
        "iot:UpdateCertificate",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    }
    announcements = environment(stacks[region], "follower")["SECRETFREE_ANNOUNCEMENTS_TABLE"]
    name = announcements["Ref"] if isinstance(announcements, dict) else announcements
    written = [one for one in statements(stacks[region], "follower") if "dynamodb:PutItem" in one["Action"]]
    assert written
    assert all(name not in json.dumps(one["Resource"]) for one in written)


def test_the_follower_follows_private_cas_alone(stacks):
    assert set(json.loads(_text(environment(stacks[HOME], "follower")["SECRETFREE_ISSUERS"]))) == {"private-ca"}


def _text(value):
    if isinstance(value, str):
        return value
    return "".join(part if isinstance(part, str) else "token" for part in value["Fn::Join"][1])


@pytest.mark.parametrize(
    ("handler", "rights"),
    [
        ("retirer", ["dynamodb:GetItem", "dynamodb:PutItem"]),
        ("revoker", "dynamodb:PutItem"),
        ("sweeper", ["dynamodb:GetItem", "dynamodb:PutItem"]),
    ],
)
def test_what_ends_a_certificate_announces_it_and_the_chain_of_one_in_use(stacks, handler, rights):
    for region in (HOME, OTHER):
        table = environment(stacks[region], handler)["SECRETFREE_ANNOUNCEMENTS_TABLE"]
        name = table["Ref"] if isinstance(table, dict) else table
        found = [one for one in statements(stacks[region], handler) if name in json.dumps(one["Resource"])]
        assert [one["Action"] for one in found] == [rights]


def test_a_shared_ca_is_called_and_registered_from_each_region(sharing):
    for region in (HOME, OTHER):
        assert not of_type(sharing[region], "AWS::ACMPCA::CertificateAuthority")
        assert CA in _text(_issuer(sharing[region])["SECRETFREE_ISSUERS"])
        (registration,) = of_type(sharing[region], "Custom::IotCaRegistration").values()
        assert registration["Properties"]["CertificateAuthorityArn"] == CA


@pytest.mark.parametrize("region", [HOME, OTHER])
def test_one_name_leads_to_the_nearest_region_that_is_healthy(sharing, region):
    (record,) = [one["Properties"] for one in of_type(sharing[region], "AWS::Route53::RecordSet").values()]
    (domain,) = of_type(sharing[region], "AWS::ApiGateway::DomainName")
    assert (record["Name"], record["Region"], record["SetIdentifier"]) == ({"Ref": domain}, region, region)
    assert record["AliasTarget"] == {
        "DNSName": {"Fn::GetAtt": [domain, "RegionalDomainName"]},
        "HostedZoneId": {"Fn::GetAtt": [domain, "RegionalHostedZoneId"]},
        "EvaluateTargetHealth": True,
    }
    checks = {
        name: one["Properties"]["HealthCheckConfig"]
        for name, one in of_type(sharing[region], "AWS::Route53::HealthCheck").items()
    }
    whole = checks.pop(record["HealthCheckId"]["Fn::GetAtt"][0])
    assert (whole["Type"], whole["HealthThreshold"]) == ("CALCULATED", 2)
    assert {one["Fn::GetAtt"][0] for one in whole["ChildHealthChecks"]} == set(checks)
    by_type = {one["Type"]: one for one in checks.values()}
    assert by_type["TCP"]["FullyQualifiedDomainName"] == record["AliasTarget"]["DNSName"]
    alarm = by_type["CLOUDWATCH_METRIC"]["AlarmIdentifier"]
    assert alarm["Region"] == region
    measured = sharing[region][alarm["Name"]["Ref"]]["Properties"]
    assert (measured["MetricName"], measured["Statistic"]) == ("5XXError", "Average")
    endpoint = _issuer(sharing[region])["SECRETFREE_IOT_ENDPOINT"]
    assert "Fn::GetAtt" in endpoint, "looked up in the stack of the Region that answers"


def test_a_record_needs_a_name_and_a_zone(stack):
    line = SecretFreeProvisioning(stack, "Provisioning", product="widget", issuers=[Issuer.iot_core()])
    with pytest.raises(InvalidArgumentError, match="provisioning"):
        LatencyRecord(stack, "Name", line, hosted_zone_id="Z0123456789ABC")
    with pytest.raises(InvalidArgumentError, match="hosted_zone_id"):
        LatencyRecord(stack, "Other", line, hosted_zone_id="example.com")


def test_each_region_has_the_alarms_of_replication(stacks):
    for region in (HOME, OTHER):
        described = [
            one["Properties"]["AlarmDescription"] for one in of_type(stacks[region], "AWS::CloudWatch::Alarm").values()
        ]
        assert len([text for text in described if text.endswith("replication.md")]) == 2


@pytest.mark.parametrize(
    ("changed", "argument"),
    [
        ({"regions": [HOME]}, "regions"),
        ({"regions": [HOME, HOME]}, "regions"),
        ({"regions": ["somewhere", HOME]}, "regions"),
        ({"account": "12"}, "account"),
        ({"line": "a text"}, "line"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(changed, argument):
    given = {"account": ACCOUNT, "regions": [HOME, OTHER], "line": lambda _stack: None, **changed}
    with pytest.raises(InvalidArgumentError, match=rf"^{argument}:"):
        MultiRegionProvisioning(App(), "Widget", **given)


def test_a_line_with_a_membership_takes_no_registry_of_its_own():
    app = App(context={"aws:cdk:bundling-stacks": []})

    def line(stack):
        return SecretFreeProvisioning(
            stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.iot_core()],
            registry=DeviceRegistry.from_table_name(stack, "Own", "devices"),
            membership=stack.membership,
        )

    with pytest.raises(InvalidArgumentError, match=r"^registry:"):
        MultiRegionProvisioning(app, "Widget", account=ACCOUNT, regions=[HOME, OTHER], line=line)


def test_replicas_need_a_stack_that_names_its_region():
    with pytest.raises(InvalidArgumentError, match=r"^replicas:"):
        DeviceRegistry(Stack(App(), "Stack"), "Registry", replicas=[OTHER])
