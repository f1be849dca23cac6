"""The REST API in front of the Lambdas, with the answers that it gives itself."""

import json
from http import HTTPStatus
from typing import Final, cast

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree.contract import CSR_BODY_SEGMENT

from cdk_iot_secretfree.api_options import ApiOptions
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.functions import make_log_group


class ProvisioningApi(Construct):
    """A Regional REST API with one POST method for each issuer, behind the authorizer.

    Answers of API Gateway itself are problem documents with the bytes that the Lambdas would give, so that no one can
    tell by the form of a refusal who refused.
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
        self.access_log = make_log_group(self, "AccessLog", functions, removal_policy)
        domain = options.domain
        self.rest_api = apigateway.RestApi(
            self,
            "Resource",
            rest_api_name=name,
            description="Secret-free provisioning of devices",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            cloud_watch_role=False,
            disable_execute_api_endpoint=domain is not None,
            domain_name=None
            if domain is None
            else apigateway.DomainNameOptions(
                domain_name=domain.name,
                certificate=domain.certificate,
                endpoint_type=apigateway.EndpointType.REGIONAL,
                security_policy=apigateway.SecurityPolicy.TLS_1_2,
            ),
            deploy_options=apigateway.StageOptions(
                stage_name=options.stage_name,
                throttling_rate_limit=options.rate_limit,
                throttling_burst_limit=options.burst_limit,
                metrics_enabled=True,
                # Execution logs would hold the CSRs.
                logging_level=apigateway.MethodLoggingLevel.OFF,
                data_trace_enabled=False,
                access_log_destination=apigateway.LogGroupLogDestination(self.access_log),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG_FIELDS)),
            ),
        )
        # The stack names its outputs: `add_outputs`.
        self.rest_api.node.try_remove_child("Endpoint")
        self._require_tls_1_2()
        if options.set_account_logging_role:
            self.rest_api.deployment_stage.node.add_dependency(_account_logging_role(self))
        self._authorizer = apigateway.RequestAuthorizer(
            self,
            "Authorizer",
            handler=authorizer,
            # Every request is judged anew, so a device that is blocked now is refused now. With caching off the
            # identity source would not be enforced: the authorizer treats the missing header itself.
            results_cache_ttl=Duration.seconds(0),
            identity_sources=[],
        )
        # CDK renders "no source" as an empty one.
        resource = cast("apigateway.CfnAuthorizer", self._authorizer.node.default_child)
        resource.add_property_deletion_override("IdentitySource")
        self._add_gateway_responses()

    @property
    def url(self) -> str:
        """The base of the devices' URLs, without a slash at its end: `{url}/new`."""
        if self._options.domain is not None:
            return f"https://{self._options.domain.name}"
        stack = Stack.of(self)
        host = f"{self.rest_api.rest_api_id}.execute-api.{stack.region}.{stack.url_suffix}"
        return f"https://{host}/{self.rest_api.deployment_stage.stage_name}"

    def add_post(self, path: str, function: lambda_.IFunction) -> apigateway.Method:
        """`POST /{path}`, answered by the function once the authorizer allowed it."""
        resource = self._issuers[path] = self.rest_api.root.add_resource(path)
        return resource.add_method(
            "POST",
            _integration(function),
            authorization_type=apigateway.AuthorizationType.CUSTOM,
            authorizer=self._authorizer,
        )

    def add_csr_post(self, path: str, front: lambda_.IFunction) -> apigateway.Method:
        """`POST /{path}/csr`, where the CSR is the body. An authorizer sees no body, so the function decides itself."""
        resource = self._issuers[path].add_resource(CSR_BODY_SEGMENT)
        return resource.add_method("POST", _integration(front), authorization_type=apigateway.AuthorizationType.NONE)

    def _require_tls_1_2(self) -> None:
        # An override works with older versions of aws-cdk-lib too.
        resource = cast("apigateway.CfnRestApi", self.rest_api.node.default_child)
        resource.add_property_override("SecurityPolicy", "TLS_1_2")

    def _add_gateway_responses(self) -> None:
        retry_after = str(int(self._options.retry_after.to_seconds()))
        for kind, (status, code) in _GATEWAY_RESPONSES.items():
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
    # The console's test button would be one more principal that may invoke.
    return apigateway.LambdaIntegration(function, timeout=_INTEGRATION_TIMEOUT, allow_test_invoke=False)


_INTEGRATION_TIMEOUT: Final = Duration.seconds(29)
_SINGLETON: Final = "SecretFreeApiLogging"
# Where a function has no free execution, API Gateway answers 500: it is ours, and the device posts again later.
_RETRIED: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)

# An allow-list: no header, so no CSR. API Gateway escapes nothing here, so no field has text that a caller chooses: a
# caller can set `requestId`, and API Gateway alone sets `extendedRequestId`, which the runtime logs beside the other.
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

# API Gateway's gateway response types, with the status and code of the wire contract. What a device sends again
# later is 429 or 503; 404 says that this product line has no such issuer.
_GATEWAY_RESPONSES: Final = {
    "UNAUTHORIZED": (HTTPStatus.UNAUTHORIZED, "missing-csr"),
    "ACCESS_DENIED": (HTTPStatus.FORBIDDEN, "$context.authorizer.code"),
    "INVALID_API_KEY": (HTTPStatus.FORBIDDEN, "not-authorized"),
    "INVALID_SIGNATURE": (HTTPStatus.FORBIDDEN, "not-authorized"),
    "EXPIRED_TOKEN": (HTTPStatus.FORBIDDEN, "not-authorized"),
    # A web ACL blocks by address and cannot recognise devices, so a real device behind a blocked address posts again
    # soon.
    "WAF_FILTERED": (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    "MISSING_AUTHENTICATION_TOKEN": (HTTPStatus.NOT_FOUND, "not-found"),
    "RESOURCE_NOT_FOUND": (HTTPStatus.NOT_FOUND, "not-found"),
    "BAD_REQUEST_BODY": (HTTPStatus.BAD_REQUEST, "invalid-request"),
    "BAD_REQUEST_PARAMETERS": (HTTPStatus.BAD_REQUEST, "invalid-request"),
    "REQUEST_TOO_LARGE": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid-request"),
    "UNSUPPORTED_MEDIA_TYPE": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "invalid-request"),
    "THROTTLED": (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    "QUOTA_EXCEEDED": (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    "INTEGRATION_TIMEOUT": (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    "INTEGRATION_FAILURE": (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    "AUTHORIZER_FAILURE": (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
    "AUTHORIZER_CONFIGURATION_ERROR": (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
    "API_CONFIGURATION_ERROR": (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
    "DEFAULT_4XX": (HTTPStatus.BAD_REQUEST, "invalid-request"),
    "DEFAULT_5XX": (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
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


# RFC 9110 renamed it, and Python's phrase depends on the Python version.
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
    # Other APIs of the account may use it by then.
    role.apply_removal_policy(RemovalPolicy.RETAIN)
    account = apigateway.CfnAccount(singleton, "Resource", cloud_watch_role_arn=role.role_arn)
    account.apply_removal_policy(RemovalPolicy.RETAIN)
    return singleton
