"""The REST API in front of the Lambdas, with the answers that it gives itself."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from aws_cdk import CfnResource, Duration, FeatureFlags, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree.contract import CSR_BODY_SEGMENT, EST_BASE_PATH, EST_LABEL, EstOperation

from cdk_iot_secretfree import acknowledgments
from cdk_iot_secretfree.api_options import ApiDomain, ApiOptions, SharedApiDomain
from cdk_iot_secretfree.est_options import MutualTlsDomain
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.functions import API_TIMEOUT, make_log_group


class ProvisioningApi(Construct):
    """A Regional REST API with one POST method for each issuer, behind the authorizer.

    API Gateway's own answers are the same problem documents, byte for byte, as the Lambdas' answers. The form of a
    refusal thus does not reveal which of them refused.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        name: str,
        authorizer: lambda_.IFunction,
        options: ApiOptions,
        functions: FunctionOptions,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, id)
        self._options = options
        self._issuers: dict[str, apigateway.Resource] = {}
        self.access_log = options.access_log_group or make_log_group(self, "AccessLog", functions, removal_policy)
        domain = options.domain
        self.rest_api = apigateway.RestApi(
            self,
            "Resource",
            rest_api_name=name,
            description="Secret-free provisioning of devices",
            endpoint_configuration=_endpoint(options),
            policy=options.resource_policy or _only_from(options.private_endpoints),
            cloud_watch_role=False,
            disable_execute_api_endpoint=domain is not None,
            domain_name=_own_domain(domain) if isinstance(domain, ApiDomain) else None,
            deploy_options=apigateway.StageOptions(
                stage_name=options.stage_name,
                throttling_rate_limit=options.rate_limit,
                throttling_burst_limit=options.burst_limit,
                metrics_enabled=True,
                logging_level=options.execution_logging,
                # Data traces would hold the CSRs.
                data_trace_enabled=False,
                tracing_enabled=options.tracing or None,
                access_log_destination=apigateway.LogGroupLogDestination(self.access_log),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG_FIELDS)),
            ),
        )
        # `add_outputs` makes the outputs instead.
        self.rest_api.node.try_remove_child("Endpoint")
        reenroll = None if options.est is None else options.est.reenroll
        self.reenroll_domain = None if reenroll is None else self._make_reenroll_domain(reenroll)
        self._apply_tls_policy()
        if isinstance(domain, SharedApiDomain):
            self._map_into(domain)
        self._add_logs(functions, removal_policy)
        self._add_web_acl()
        self._authorizer = apigateway.RequestAuthorizer(
            self,
            "Authorizer",
            handler=authorizer,
            # Without a cache, a block takes effect at the next request. API Gateway does not enforce an identity source
            # without a cache, so the authorizer itself checks that the header is present.
            results_cache_ttl=Duration.seconds(0),
            identity_sources=[],
        )
        # CDK renders "no source" as an empty one.
        resource = cast("apigateway.CfnAuthorizer", self._authorizer.node.default_child)
        resource.add_property_deletion_override("IdentitySource")
        self._add_gateway_responses()
        self._acknowledge()

    @property
    def url(self) -> str:
        """The base of the devices' URLs, without a slash at its end: `{url}/new`."""
        if (domain := self._options.domain) is not None:
            name = domain.name if isinstance(domain, ApiDomain) else domain.domain.domain_name
            return f"https://{name}/{domain.base_path}" if domain.base_path else f"https://{name}"
        stack = Stack.of(self)
        host = f"{self.rest_api.rest_api_id}.execute-api.{stack.region}.{stack.url_suffix}"
        return f"https://{host}/{self.rest_api.deployment_stage.stage_name}"

    def add_post(self, path: str, function: lambda_.IFunction) -> apigateway.Method:
        """`POST /{path}`, answered by the function after the authorizer allowed it."""
        resource = self._issuers[path] = self.rest_api.root.add_resource(path)
        return resource.add_method(
            "POST",
            _integration(function),
            authorization_type=apigateway.AuthorizationType.CUSTOM,
            authorizer=self._authorizer,
        )

    def add_csr_post(self, path: str, front: lambda_.IFunction) -> apigateway.Method:
        """`POST /{path}/csr`, where the CSR is the body.

        API Gateway passes no body to an authorizer, so the function decides itself.
        """
        resource = self._issuers[path].add_resource(CSR_BODY_SEGMENT)
        method = resource.add_method("POST", _integration(front), authorization_type=apigateway.AuthorizationType.NONE)
        acknowledgments.acknowledge(method, acknowledgments.CSR_IN_BODY)
        return method

    def add_est(self, function: lambda_.IFunction) -> None:
        """The operations of EST, without a label and with one. Re-enrolment exists only with its domain."""
        base = self.rest_api.root.resource_for_path(EST_BASE_PATH)
        for parent in (base, base.add_resource(f"{{{EST_LABEL}}}")):
            for operation in EstOperation:
                if operation is EstOperation.SIMPLE_REENROLL and self.reenroll_domain is None:
                    continue
                method = parent.add_resource(operation.value).add_method(
                    "POST" if operation in _POSTED else "GET",
                    _integration(function),
                    authorization_type=apigateway.AuthorizationType.NONE,
                )
                acknowledgments.acknowledge(method, acknowledgments.EST)

    def _make_reenroll_domain(self, chosen: MutualTlsDomain) -> apigateway.DomainName:
        domain = apigateway.DomainName(
            self,
            "ReenrollDomain",
            domain_name=chosen.name,
            certificate=chosen.certificate,
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
            mtls=apigateway.MTLSConfig(
                bucket=chosen.truststore_bucket, key=chosen.truststore_key, version=chosen.truststore_version
            ),
        )
        if chosen.ownership_certificate is not None:
            resource = cast("CfnResource", domain.node.default_child)
            arn = chosen.ownership_certificate.certificate_arn
            resource.add_property_override("OwnershipVerificationCertificateArn", arn)
        apigateway.BasePathMapping(
            self,
            "ReenrollMapping",
            domain_name=domain,
            rest_api=self.rest_api,
            stage=self.rest_api.deployment_stage,
        )
        return domain

    def _acknowledge(self) -> None:
        options = self._options
        reasons = dict(acknowledgments.API)
        if not self._has_web_acl:
            reasons |= acknowledgments.API_WITHOUT_WEB_ACL
        if options.execution_logging is apigateway.MethodLoggingLevel.OFF:
            reasons |= acknowledgments.API_WITHOUT_EXECUTION_LOG
        if not options.tracing:
            reasons |= acknowledgments.API_WITHOUT_TRACING
        acknowledgments.acknowledge(self, reasons)

    def _apply_tls_policy(self) -> None:
        policy = self._options.tls_policy
        domain = self.rest_api.domain_name
        for owner in filter(None, (self.rest_api, domain, self.reenroll_domain)):
            # Overrides: older releases of aws-cdk-lib lack these properties.
            resource = cast("CfnResource", owner.node.default_child)
            resource.add_property_override("SecurityPolicy", policy.value)
            if policy.takes_access_mode:
                mode = "STRICT" if self._options.strict_endpoint_access else "BASIC"
                resource.add_property_override("EndpointAccessMode", mode)

    def _map_into(self, domain: SharedApiDomain) -> None:
        apigateway.BasePathMapping(
            self,
            "Mapping",
            domain_name=domain.domain,
            rest_api=self.rest_api,
            stage=self.rest_api.deployment_stage,
            base_path=domain.base_path,
        )

    def _add_logs(self, functions: FunctionOptions, removal_policy: RemovalPolicy) -> None:
        stage = self.rest_api.deployment_stage
        sets_role = self._options.set_account_logging_role
        if sets_role is None:
            sets_role = not FeatureFlags.of(self).is_enabled(_NO_LOGGING_ROLE)
        if sets_role:
            stage.node.add_dependency(_account_logging_role(self))
        if self._options.execution_logging is not apigateway.MethodLoggingLevel.OFF:
            # Otherwise API Gateway creates a group of this name that keeps its logs for ever.
            name = f"API-Gateway-Execution-Logs_{self.rest_api.rest_api_id}/{self._options.stage_name}"
            stage.node.add_dependency(make_log_group(self, "ExecutionLog", functions, removal_policy, name=name))

    @property
    def _has_web_acl(self) -> bool:
        return self._options.source_rate_limit is not None or self._options.web_acl_arn is not None

    def _add_web_acl(self) -> None:
        limit, web_acl_arn = self._options.source_rate_limit, self._options.web_acl_arn
        if not self._has_web_acl:
            return
        # Imported here, because the CDK's module is large and few apps need it.
        from cdk_iot_secretfree.web_acl import attach_web_acl, make_web_acl

        if limit is not None:
            web_acl_arn = make_web_acl(self, limit=limit)
        attach_web_acl(self, stage_arn=self.rest_api.deployment_stage.stage_arn, web_acl_arn=str(web_acl_arn))

    def _add_gateway_responses(self) -> None:
        retry_after = str(int(self._options.retry_after.to_seconds()))
        for kind, (status, code) in _GATEWAY_RESPONSES.items():
            if kind == _WAF_FILTERED and not self._has_web_acl:
                continue
            headers = {"Content-Type": "'application/problem+json'", "Cache-Control": "'no-store'"}
            if status in _RETRIED:
                headers["Retry-After"] = f"'{retry_after}'"
            self.rest_api.add_gateway_response(
                kind.title().replace("_", ""),
                type=apigateway.ResponseType.of(kind),
                status_code=str(int(status)),
                response_headers=headers,
                templates={"application/json": _problem(status, code)},
            )


def _integration(function: lambda_.IFunction) -> apigateway.LambdaIntegration:
    # No permission for the console's test button, which would be a further caller.
    return apigateway.LambdaIntegration(function, timeout=API_TIMEOUT, allow_test_invoke=False)


def _endpoint(options: ApiOptions) -> apigateway.EndpointConfiguration:
    if options.private_endpoints:
        return apigateway.EndpointConfiguration(
            types=[apigateway.EndpointType.PRIVATE], vpc_endpoints=list(options.private_endpoints)
        )
    return apigateway.EndpointConfiguration(types=[apigateway.EndpointType.REGIONAL])


def _only_from(endpoints: Sequence[ec2.IVpcEndpoint]) -> iam.PolicyDocument | None:
    """A policy that allows all callers of these endpoints, and no others. A private API must have a policy."""
    if not endpoints:
        return None
    ids = [endpoint.vpc_endpoint_id for endpoint in endpoints]

    def call(effect: iam.Effect, conditions: Mapping[str, Any] | None = None) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            effect=effect,
            actions=["execute-api:Invoke"],
            principals=[iam.AnyPrincipal()],
            resources=["execute-api:/*"],
            conditions=conditions,
        )

    elsewhere = {"StringNotEquals": {"aws:SourceVpce": ids}}
    return iam.PolicyDocument(statements=[call(iam.Effect.ALLOW), call(iam.Effect.DENY, elsewhere)])


def _own_domain(domain: ApiDomain) -> apigateway.DomainNameOptions:
    return apigateway.DomainNameOptions(
        domain_name=domain.name,
        certificate=domain.certificate,
        endpoint_type=apigateway.EndpointType.REGIONAL,
        security_policy=apigateway.SecurityPolicy.TLS_1_2,
        base_path=domain.base_path,
    )


_POSTED: Final = frozenset({EstOperation.SIMPLE_ENROLL, EstOperation.SIMPLE_REENROLL})
_NO_LOGGING_ROLE: Final = "@aws-cdk/aws-apigateway:disableCloudWatchRole"
_SINGLETON: Final = "SecretFreeApiLogging"
_RETRIED: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

# An allow-list without headers, because a header holds the CSR. API Gateway does not escape values here, so no field
# may hold text that a caller chooses. A caller can set `requestId` but not `extendedRequestId`; the runtime logs both.
_ACCESS_LOG_FIELDS: Final = {
    "extendedRequestId": "$context.extendedRequestId",
    "requestTime": "$context.requestTime",
    "sourceIp": "$context.identity.sourceIp",
    "httpMethod": "$context.httpMethod",
    "resourcePath": "$context.resourcePath",
    "status": "$context.status",
    "responseType": "$context.error.responseType",
    "responseLatency": "$context.responseLatency",
    "authorizerStatus": "$context.authorizer.status",
    "authorizerLatency": "$context.authorizer.latency",
    "integrationStatus": "$context.integration.status",
    "integrationLatency": "$context.integration.latency",
}

# API Gateway's response types, with the status and code of the wire contract. A device retries after 429 and 503. 404
# means that this product line has no such issuer. A stack has at most 500 resources, so this map omits each type
# whose answer equals the default's. Every failure of API Gateway itself is `unavailable`.
_WAF_FILTERED: Final = "WAF_FILTERED"
_GATEWAY_RESPONSES: Final = {
    "UNAUTHORIZED": (HTTPStatus.UNAUTHORIZED, "missing-csr"),
    "ACCESS_DENIED": (HTTPStatus.FORBIDDEN, "$context.authorizer.code"),
    # A web ACL limits addresses, not devices: a device that it refuses may retry soon.
    _WAF_FILTERED: (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    "MISSING_AUTHENTICATION_TOKEN": (HTTPStatus.NOT_FOUND, "not-found"),
    "REQUEST_TOO_LARGE": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid-request"),
    "THROTTLED": (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    "DEFAULT_4XX": (HTTPStatus.BAD_REQUEST, "invalid-request"),
    "DEFAULT_5XX": (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
}


def _problem(status: HTTPStatus, code: str) -> str:
    """A problem document (RFC 9457), byte for byte as the runtime's mapper writes it."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, status.phrase),
        "status": int(status),
        "code": code,
        "requestId": "$context.requestId",
    }
    return json.dumps(document, separators=(",", ":"))


# RFC 9110 renamed the phrase of 413, and Python's phrase depends on the Python version.
_TITLES: Final = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large"}


def _account_logging_role(scope: Construct) -> Construct:
    """The role through which API Gateway writes logs. An account has one in each Region, so it is retained."""
    stack = Stack.of(scope)
    if (existing := stack.node.try_find_child(_SINGLETON)) is not None:
        return cast("Construct", existing)
    singleton = Construct(stack, _SINGLETON)
    role = iam.Role(
        singleton,
        "Role",
        assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
        managed_policies=[
            iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonAPIGatewayPushToCloudWatchLogs")
        ],
    )
    managed = "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
    acknowledgments.acknowledge(
        role,
        {f"AwsSolutions-IAM4[Policy::{managed}]": "API Gateway asks for this policy on its account-wide role."},
    )
    # Other APIs of the account may use the role by now.
    role.apply_removal_policy(RemovalPolicy.RETAIN)
    account = apigateway.CfnAccount(singleton, "Resource", cloud_watch_role_arn=role.role_arn)
    account.apply_removal_policy(RemovalPolicy.RETAIN)
    return singleton
