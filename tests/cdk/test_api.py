"""The API: its doors, its limits, and what devices see when API Gateway itself answers."""

import json

import pytest
from aws_cdk import App, Duration, Environment, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    ApiDomain,
    ApiOptions,
    AuthoritySubject,
    DeviceAuthority,
    FunctionOptions,
    InvalidArgumentError,
    Issuer,
    SecretFreeProvisioning,
    SharedApiDomain,
    TlsPolicy,
)
from secretfree.errors import ErrorCode
from secretfree.handlers.http.problem import problem_body
from support.documents import ROOT

from tests.cdk.conftest import WITHOUT_BUNDLING, Synthesised

WEB_ACL = "arn:aws:wafv2:eu-west-1:111122223333:regional/webacl/ours/11111111-2222-3333-4444-555555555555"
OPTIONS = ROOT / "docs" / "reference" / "options.md"
CERTIFICATE = "arn:aws:acm:eu-west-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"

# API Gateway developer guide, variables for access logging: an override header, a body, a path or a name sets these.
CHOSEN_BY_CALLERS = {
    "$context.requestId",
    "$context.path",
    "$context.domainName",
    "$context.protocol",
    "$context.identity.userAgent",
    "$context.identity.caller",
    "$context.authorizer.principalId",
    "$context.error.message",
    "$context.error.messageString",
}


def with_api(scope, options=None):
    return SecretFreeProvisioning(
        scope, "Provisioning", product="widget", issuers=[Issuer.iot_core()], api=options or ApiOptions()
    )


def gateway_responses(made):
    found = made.of_type("AWS::ApiGateway::GatewayResponse").values()
    return {response["Properties"]["ResponseType"]: response["Properties"] for response in found}


class TestDoors:
    def test_each_issuer_has_its_own_post_and_there_is_no_other_method(self, sample):
        paths = {r["Properties"]["PathPart"] for r in sample.of_type("AWS::ApiGateway::Resource").values()}
        methods = [r["Properties"] for r in sample.of_type("AWS::ApiGateway::Method").values()]
        assert paths == {"new", "proto"}
        assert [method["HttpMethod"] for method in methods] == ["POST", "POST"]

    def test_an_issuer_that_was_not_given_has_no_path(self, synthesise):
        made = synthesise(with_api)
        paths = [r["Properties"]["PathPart"] for r in made.of_type("AWS::ApiGateway::Resource").values()]
        assert paths == ["proto"]

    def test_every_method_is_behind_the_authorizer(self, sample):
        (authorizer,) = sample.of_type("AWS::ApiGateway::Authorizer")
        for method in sample.of_type("AWS::ApiGateway::Method").values():
            assert method["Properties"]["AuthorizationType"] == "CUSTOM"
            assert method["Properties"]["AuthorizerId"] == {"Ref": authorizer}
            assert method["Properties"]["Integration"]["TimeoutInMillis"] == 29_000

    def test_every_request_is_judged_anew(self, sample):
        authorizer = sample.only("AWS::ApiGateway::Authorizer")
        assert authorizer["Type"] == "REQUEST"
        assert authorizer["AuthorizerResultTtlInSeconds"] == 0
        # An identity source would have API Gateway decide about a header whose letter case is the device's choice.
        assert "IdentitySource" not in authorizer

    def test_only_the_deployed_stage_may_invoke_the_functions(self, sample):
        permissions = [p["Properties"] for p in sample.of_type("AWS::Lambda::Permission").values()]
        from_api = [p for p in permissions if p["Principal"] == "apigateway.amazonaws.com"]
        assert len(from_api) == 3
        assert "test-invoke-stage" not in json.dumps(from_api)

    def test_it_is_regional_and_takes_tls_1_2_or_better(self, sample):
        api = sample.only("AWS::ApiGateway::RestApi")
        assert api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
        assert api["SecurityPolicy"] == "TLS_1_2"
        assert api["Name"] == "widget-provisioning"

    def test_without_a_domain_the_default_endpoint_is_the_door(self, sample):
        assert sample.only("AWS::ApiGateway::RestApi")["DisableExecuteApiEndpoint"] is False
        assert not sample.of_type("AWS::ApiGateway::DomainName")

    def test_a_domain_of_your_own_is_the_only_door(self, stack_in_ireland):
        certificate = acm.Certificate.from_certificate_arn(stack_in_ireland, "Certificate", CERTIFICATE)
        domain = ApiDomain(name="provisioning.example.com", certificate=certificate)
        made = with_api(stack_in_ireland, ApiOptions(domain=domain))
        assert made.url == "https://provisioning.example.com"
        template = Template.from_stack(stack_in_ireland)
        template.has_resource_properties("AWS::ApiGateway::RestApi", {"DisableExecuteApiEndpoint": True})
        template.has_resource_properties(
            "AWS::ApiGateway::DomainName",
            {
                "DomainName": "provisioning.example.com",
                "SecurityPolicy": "TLS_1_2",
                "EndpointConfiguration": {"Types": ["REGIONAL"]},
                "RegionalCertificateArn": CERTIFICATE,
            },
        )


class TestLimitsAndLogs:
    def test_requests_are_throttled_and_nothing_of_them_is_traced(self, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(rate_limit=7, burst_limit=9)))
        (settings,) = made.only("AWS::ApiGateway::Stage")["MethodSettings"]
        assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == (7, 9)
        assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("OFF", False)

    def test_the_access_log_holds_no_header_and_so_no_csr(self, sample):
        stage = sample.only("AWS::ApiGateway::Stage")
        fields = json.loads(stage["AccessLogSetting"]["Format"])
        assert all(value.startswith("$context.") for value in fields.values())
        assert not [value for value in fields.values() if "header" in value.lower() or "requestOverride" in value]
        assert fields["extendedRequestId"] == "$context.extendedRequestId"
        assert not CHOSEN_BY_CALLERS & {str(value) for value in fields.values()}

    def test_the_accounts_logging_role_is_made_once_and_outlives_the_stack(self, sample):
        (account,) = sample.of_type("AWS::ApiGateway::Account").values()
        assert account["DeletionPolicy"] == "Retain"
        stage = next(iter(sample.of_type("AWS::ApiGateway::Stage").values()))
        assert next(iter(sample.of_type("AWS::ApiGateway::Account"))) in stage["DependsOn"]

    def test_an_account_that_has_a_logging_role_keeps_it(self, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(set_account_logging_role=False)))
        assert not made.of_type("AWS::ApiGateway::Account")

    @pytest.mark.parametrize(("chosen", "made"), [(None, 0), (True, 1), (False, 0)])
    def test_the_cdks_flag_decides_about_the_role_unless_the_app_does(self, stack, chosen, made):
        stack.node.set_context("@aws-cdk/aws-apigateway:disableCloudWatchRole", value=True)
        with_api(stack, ApiOptions(set_account_logging_role=chosen))
        Template.from_stack(stack).resource_count_is("AWS::ApiGateway::Account", made)

    def test_execution_logs_have_the_options_of_the_other_logs_and_no_requests(self, stack_in_ireland):
        key = kms.Key(stack_in_ireland, "Key")
        SecretFreeProvisioning(
            stack_in_ireland,
            "Provisioning",
            product="widget",
            issuers=[Issuer.iot_core()],
            api=ApiOptions(execution_logging=apigateway.MethodLoggingLevel.INFO, tracing=True),
            functions=FunctionOptions(log_encryption_key=key, log_retention=logs.RetentionDays.ONE_MONTH),
        )
        made = Synthesised(stack_in_ireland)
        (name,) = [n for n in made.of_type("AWS::Logs::LogGroup") if "ApiExecutionLog" in n]
        group = made.resources[name]["Properties"]
        (api,) = made.of_type("AWS::ApiGateway::RestApi")
        assert group["LogGroupName"] == {"Fn::Join": ["", ["API-Gateway-Execution-Logs_", {"Ref": api}, "/v1"]]}
        assert group["RetentionInDays"] == 30
        assert group["KmsKeyId"]
        (stage,) = made.of_type("AWS::ApiGateway::Stage").values()
        assert name in stage["DependsOn"]
        (settings,) = stage["Properties"]["MethodSettings"]
        assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("INFO", False)
        assert stage["Properties"]["TracingEnabled"] is True

    def test_an_existing_access_log_is_used(self, synthesise):
        def fill(stack):
            group = logs.LogGroup.from_log_group_name(stack, "Ours", "/ours/access")
            with_api(stack, ApiOptions(access_log_group=group))

        made = synthesise(fill)
        assert "/ours/access" in json.dumps(made.only("AWS::ApiGateway::Stage")["AccessLogSetting"])
        assert not [name for name in made.of_type("AWS::Logs::LogGroup") if "AccessLog" in name]


class TestWebAcl:
    def test_a_limit_for_each_address_is_a_rate_based_rule_in_front_of_the_stage(self, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(source_rate_limit=300)))
        acl = made.only("AWS::WAFv2::WebACL")
        (rule,) = acl["Rules"]
        assert (acl["Scope"], acl["DefaultAction"], rule["Action"]) == ("REGIONAL", {"Allow": {}}, {"Block": {}})
        assert rule["Statement"] == {
            "RateBasedStatement": {"AggregateKeyType": "IP", "EvaluationWindowSec": 300, "Limit": 300}
        }
        (name,) = made.of_type("AWS::WAFv2::WebACL")
        attached = made.only("AWS::WAFv2::WebACLAssociation")
        assert attached["WebACLArn"] == {"Fn::GetAtt": [name, "Arn"]}
        (stage,) = made.of_type("AWS::ApiGateway::Stage")
        assert attached["ResourceArn"]["Fn::Join"][1][-2:] == ["/stages/", {"Ref": stage}]

    def test_no_request_is_sampled_since_it_holds_a_csr(self, synthesise):
        acl = synthesise(lambda stack: with_api(stack, ApiOptions(source_rate_limit=10))).only("AWS::WAFv2::WebACL")
        views = [acl["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in acl["Rules"])]
        assert [view["SampledRequestsEnabled"] for view in views] == [False, False]

    def test_a_web_acl_of_the_team_is_attached(self, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(web_acl_arn=WEB_ACL)))
        assert made.only("AWS::WAFv2::WebACLAssociation")["WebACLArn"] == WEB_ACL
        assert not made.of_type("AWS::WAFv2::WebACL")

    def test_the_default_has_none(self, sample):
        assert not sample.of_type("AWS::WAFv2::WebACLAssociation")


class TestPrivateEndpoint:
    @pytest.fixture
    def endpoint(self, stack_in_ireland):
        vpc = ec2.Vpc(stack_in_ireland, "Vpc")
        return vpc.add_interface_endpoint("Api", service=ec2.InterfaceVpcEndpointAwsService.APIGATEWAY)

    def test_the_api_is_reached_through_the_given_endpoints_alone(self, stack_in_ireland, endpoint):
        with_api(stack_in_ireland, ApiOptions(private_endpoints=[endpoint]))
        api = Synthesised(stack_in_ireland).only("AWS::ApiGateway::RestApi")
        through = stack_in_ireland.resolve(endpoint.vpc_endpoint_id)
        assert api["EndpointConfiguration"] == {"Types": ["PRIVATE"], "VpcEndpointIds": [through]}
        allowed, denied = api["Policy"]["Statement"]
        assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
        assert denied["Condition"] == {"StringNotEquals": {"aws:SourceVpce": [through]}}

    def test_a_policy_of_the_team_is_the_apis(self, stack_in_ireland):
        statement = iam.PolicyStatement(
            actions=["execute-api:Invoke"],
            principals=[iam.AnyPrincipal()],
            resources=["execute-api:/*"],
            conditions={"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
        )
        with_api(stack_in_ireland, ApiOptions(resource_policy=iam.PolicyDocument(statements=[statement])))
        (found,) = Synthesised(stack_in_ireland).only("AWS::ApiGateway::RestApi")["Policy"]["Statement"]
        assert found["Condition"] == {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}


class TestDomain:
    @pytest.mark.parametrize("policy", TlsPolicy)
    @pytest.mark.parametrize("strict", [True, False])
    def test_policy_and_access_mode_are_the_apis_and_the_domains(self, stack_in_ireland, policy, strict):
        certificate = acm.Certificate.from_certificate_arn(stack_in_ireland, "Certificate", CERTIFICATE)
        domain = ApiDomain(name="provisioning.example.com", certificate=certificate, base_path="widgets")
        options = ApiOptions(domain=domain, tls_policy=policy, strict_endpoint_access=strict)
        made = with_api(stack_in_ireland, options)
        assert made.url == "https://provisioning.example.com/widgets"
        synthesised = Synthesised(stack_in_ireland)
        mode = ("STRICT" if strict else "BASIC") if policy is not TlsPolicy.TLS_1_2 else None
        for kind in ("AWS::ApiGateway::RestApi", "AWS::ApiGateway::DomainName"):
            properties = synthesised.only(kind)
            assert (properties["SecurityPolicy"], properties.get("EndpointAccessMode")) == (policy.value, mode)
        assert synthesised.only("AWS::ApiGateway::BasePathMapping")["BasePath"] == "widgets"

    def test_two_lines_share_a_domain_under_their_own_paths(self, stack_in_ireland):
        certificate = acm.Certificate.from_certificate_arn(stack_in_ireland, "Certificate", CERTIFICATE)
        shared = apigateway.DomainName(
            stack_in_ireland, "Domain", domain_name="provisioning.example.com", certificate=certificate
        )
        urls = [
            SecretFreeProvisioning(
                stack_in_ireland,
                product.capitalize(),
                product=product,
                issuers=[Issuer.iot_core()],
                api=ApiOptions(domain=SharedApiDomain(domain=shared, base_path=product)),
            ).url
            for product in ("widget", "gadget")
        ]
        assert [stack_in_ireland.resolve(url)["Fn::Join"][1][-1] for url in urls] == ["/widget", "/gadget"]
        made = Synthesised(stack_in_ireland)
        mappings = [m["Properties"] for m in made.of_type("AWS::ApiGateway::BasePathMapping").values()]
        assert {m["BasePath"] for m in mappings} == {"widget", "gadget"}
        assert [a["Properties"]["DisableExecuteApiEndpoint"] for a in made.of_type("AWS::ApiGateway::RestApi").values()]
        assert len(made.of_type("AWS::ApiGateway::DomainName")) == 1


def resources_of(lines, *, key):
    """How many resources a stack of product lines with dashboards has."""
    stack = Stack(App(context=WITHOUT_BUNDLING), "Stack", env=Environment(account="111122223333", region="eu-west-1"))
    authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Devices"))
    ours = kms.Key(stack, "Key") if key else None
    for number in range(lines):
        line = SecretFreeProvisioning(
            stack,
            f"Line{number}",
            product=f"line-{number}",
            issuers=[Issuer.private_ca(authority)],
            encryption_key=ours,
            functions=FunctionOptions(log_encryption_key=ours),
        )
        line.add_dashboard()
        line.add_outputs()
    return len(Template.from_stack(stack).to_json()["Resources"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "lines", "sentence"),
    [
        (False, 10, "Ten product lines with dashboards fit a stack's 500 resources."),
        (True, 9, "With a key of yours for tables or logs, nine lines fit."),
    ],
)
def test_as_many_product_lines_fit_a_stack_as_the_reference_says(key, lines, sentence):
    """Each line adds what the second adds. CloudFormation's quota is 500 resources."""
    one, two = (resources_of(count, key=key) for count in (1, 2))
    assert 1 + (500 - one) // (two - one) == lines
    assert sentence in " ".join(OPTIONS.read_text(encoding="utf-8").split())


class TestGatewayResponses:
    @pytest.mark.parametrize(
        ("kind", "code"),
        [
            ("UNAUTHORIZED", ErrorCode.MISSING_CSR),
            ("ACCESS_DENIED", ErrorCode.NOT_AUTHORIZED),
            ("ACCESS_DENIED", ErrorCode.MALFORMED_REQUEST),
            ("THROTTLED", ErrorCode.TOO_MANY_REQUESTS),
            ("DEFAULT_5XX", ErrorCode.UNAVAILABLE),
            ("DEFAULT_4XX", ErrorCode.INVALID_REQUEST),
        ],
    )
    def test_a_refusal_has_the_bytes_that_the_runtime_would_give(self, sample, kind, code):
        response = gateway_responses(sample)[kind]
        body = response["ResponseTemplates"]["application/json"]
        rendered = body.replace("$context.authorizer.code", code.value).replace("$context.requestId", "r-1")
        assert rendered == problem_body(code, "r-1")
        assert response["StatusCode"] == str(code.status)

    def test_none_says_what_its_default_says(self, sample):
        """API Gateway answers for a type that is not listed as its default does. A stack has 500 resources at most."""
        told = {kind: (r["StatusCode"], r["ResponseTemplates"]) for kind, r in gateway_responses(sample).items()}
        defaults = [told.pop("DEFAULT_4XX"), told.pop("DEFAULT_5XX")]
        assert told
        assert not [kind for kind, answer in told.items() if answer in defaults]

    def test_a_path_or_method_that_is_not_there_is_not_found(self, sample):
        response = gateway_responses(sample)["MISSING_AUTHENTICATION_TOKEN"]
        assert response["StatusCode"] == "404"
        assert json.loads(response["ResponseTemplates"]["application/json"])["code"] == "not-found"

    def test_an_address_that_the_web_acl_blocks_waits(self, sample, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(source_rate_limit=100)))
        assert gateway_responses(made)["WAF_FILTERED"]["StatusCode"] == "429"
        assert "WAF_FILTERED" not in gateway_responses(sample)

    def test_all_are_problem_documents_that_nobody_caches(self, sample):
        for response in gateway_responses(sample).values():
            headers = response["ResponseParameters"]
            assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
            assert headers["gatewayresponse.header.Cache-Control"] == "'no-store'"
            document = json.loads(response["ResponseTemplates"]["application/json"])
            assert list(document) == ["type", "title", "status", "code", "requestId"]
            assert str(document["status"]) == response["StatusCode"]

    def test_what_is_to_be_sent_again_says_when(self, synthesise):
        made = synthesise(lambda stack: with_api(stack, ApiOptions(retry_after=Duration.minutes(2))))
        for response in gateway_responses(made).values():
            retried = response["StatusCode"] in {"429", "503"}
            waits = response["ResponseParameters"].get("gatewayresponse.header.Retry-After")
            assert waits == ("'120'" if retried else None)

    def test_nothing_of_the_gateways_own_messages_reaches_a_device(self, sample):
        assert "$context.error" not in json.dumps([r["ResponseTemplates"] for r in gateway_responses(sample).values()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate_limit": 0}, r"rate_limit: '0' was given; accepted: a whole number from 1 to 10000 requests a second"),
        ({"rate_limit": True}, "rate_limit: 'True'"),
        ({"burst_limit": 5001}, "burst_limit: '5001'"),
        ({"stage_name": "v 1"}, "stage_name: 'v 1' was given; accepted: 1 to 128"),
        ({"source_rate_limit": 9}, "source_rate_limit: '9' was given; accepted: a whole number from 10"),
        ({"web_acl_arn": "arn:aws:wafv2:us-east-1:111122223333:global/webacl/a/b"}, "web_acl_arn: .*Regional"),
        ({"web_acl_arn": WEB_ACL, "source_rate_limit": 10}, "web_acl_arn: .*one of the two"),
        ({"retry_after": Duration.hours(2)}, "retry_after: .*accepted: whole seconds, from 1 second to 1 hour"),
    ],
)
def test_api_options_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        ApiOptions(**arguments)


def test_a_private_api_has_no_domain(stack):
    certificate = acm.Certificate.from_certificate_arn(stack, "Certificate", CERTIFICATE)
    endpoint = ec2.Vpc(stack, "Vpc").add_interface_endpoint(
        "Api", service=ec2.InterfaceVpcEndpointAwsService.APIGATEWAY
    )
    with pytest.raises(InvalidArgumentError, match="domain: 'one beside private_endpoints'"):
        ApiOptions(
            domain=ApiDomain(name="provisioning.example.com", certificate=certificate), private_endpoints=[endpoint]
        )


@pytest.mark.parametrize("base_path", ["", "a/b", "/a", "a b"])
def test_a_base_path_is_one_segment(stack, base_path):
    certificate = acm.Certificate.from_certificate_arn(stack, "Certificate", CERTIFICATE)
    with pytest.raises(InvalidArgumentError, match=r"base_path: .*without slash"):
        ApiDomain(name="provisioning.example.com", certificate=certificate, base_path=base_path)


@pytest.mark.parametrize(
    "name", ["https://example.com", "Example.com", "localhost", "a_b.example.com", "*.example.com"]
)
def test_a_domain_that_is_no_host_name_is_refused(stack, name):
    certificate = acm.Certificate.from_certificate_arn(stack, "Certificate", CERTIFICATE)
    with pytest.raises(InvalidArgumentError, match=r"name: .*a lower-case host name"):
        ApiDomain(name=name, certificate=certificate)
