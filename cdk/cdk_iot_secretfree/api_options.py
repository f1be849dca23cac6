"""The settings of the API: throttle, endpoint, TLS, logs and web ACL."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.est_options import EstOptions
from cdk_iot_secretfree.validation import (
    HOST_NAME,
    HOST_NAME_FORM,
    refuse,
    require_match,
    require_range,
    require_seconds,
)


class TlsPolicy(StrEnum):
    """Which TLS versions and key agreements the API accepts (API Gateway developer guide, security policies).

    Most microcontrollers support only TLS 1.2: check the devices' firmware before you change the policy.
    """

    TLS_1_2 = "TLS_1_2"
    """TLS 1.2 or later. The default."""

    TLS_1_2_POST_QUANTUM = "SecurityPolicy_TLS13_1_2_PQ_2025_09"
    """TLS 1.3 and 1.2, with post-quantum key agreement for clients that offer it."""

    TLS_1_2_FORWARD_SECRECY_POST_QUANTUM = "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09"
    """As `TLS_1_2_POST_QUANTUM`, without cipher suites that lack forward secrecy."""

    TLS_1_3 = "SecurityPolicy_TLS13_1_3_2025_09"
    """TLS 1.3 alone."""

    TLS_1_3_FIPS = "SecurityPolicy_TLS13_1_3_FIPS_2025_09"
    """TLS 1.3 alone, with FIPS cryptography."""

    @property
    def takes_access_mode(self) -> bool:
        """Whether API Gateway requires an endpoint access mode with the policy."""
        return self.value.startswith("SecurityPolicy_")


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiDomain:
    """Your own domain name for the API. Devices then keep their URL when the API is replaced.

    The default `execute-api` endpoint is switched off, so that the name is the only way in. Point it at
    `SecretFreeProvisioning.api.domain_name` with an alias record.

    Args:
        name: for example `provisioning.example.com`; part of the devices' URL, so no wildcard. certificate: for that
        name, in the stack's Region. base_path: the first segment of the URL's path; none when absent.
    """

    name: str
    certificate: acm.ICertificate
    base_path: str | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid host name or path segment."""
        require_match("name", self.name, HOST_NAME, HOST_NAME_FORM)
        if self.base_path is not None:
            _require_base_path(self.base_path)


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class SharedApiDomain:
    """A domain name of API Gateway that several APIs share, each under a base path of its own.

    Its TLS policy and endpoint access mode are set where it is made. The API's `execute-api` endpoint is switched off.

    Args:
        domain: Regional, in the stack's Region.
        base_path: the first segment of the URL's path, one for each API.
    """

    domain: apigateway.IDomainName
    base_path: str

    def __post_init__(self) -> None:
        """Refuse an invalid path segment."""
        _require_base_path(self.base_path)


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """The API's settings.

    Args:
        rate_limit: requests a second over all callers. API Gateway applies it before the authorizer, so forged requests
            count too: with a low limit, a flood of them would shut out good devices. The limit bounds the cost of a
            flood. `FunctionOptions.issuer_concurrency` and the ledger bound what is issued. To limit single sources,
            set `source_rate_limit`.
        burst_limit: requests at once above that rate.
        source_rate_limit: requests of one IP address within five minutes, 10 to 2,000,000,000. Above it, AWS WAF
            refuses with 429. This makes a web ACL, which AWS charges monthly. A factory's devices may all have one
            address.
        web_acl_arn: a Regional web ACL of yours, instead of `source_rate_limit`.
        stage_name: the first segment of the default URL's path.
        retry_after: `Retry-After` of the API's own 429 and 503 answers, whole seconds.
        csr_in_body: also accept the CSR as the body of `POST {base}/new/csr`, for clients with a short limit of
            headers. A separate function decides by the authorizer's rules, then invokes the issuer.
        est: also answer EST (RFC 7030), the standard protocol of enrolment over TLS. A separate function decides by the
            authorizer's rules, then invokes the issuer.
        domain: a name of your own: `ApiDomain`, or `SharedApiDomain` for several APIs under one name.
        tls_policy: of the API, and of the domain that is made here.
        strict_endpoint_access: requires that the TLS server name is the host of the request, and that the request
            comes through the API's own endpoint. It applies to every `tls_policy` but `TlsPolicy.TLS_1_2`. False is
            for an API in use that changes its policy: switch to True once no device is refused.
        private_endpoints: makes the API private: it is reachable only through these VPC endpoints (`execute-api`).
        resource_policy: who may call the API, before the authorizer decides. With `private_endpoints` it replaces the
            policy that names these.
        execution_logging: of API Gateway's own steps, into a log group with the retention and key of the functions'
            logs. Requests and answers are never logged: they hold CSRs and certificates.
        tracing: AWS X-Ray for the API.
        access_log_group: an existing log group for the access log. Its retention, key and removal are yours to set.
        set_account_logging_role: API Gateway writes logs through one role for each account and Region. True makes one
            (kept when the stack is deleted); False where your account has it. By default it is made unless the
            feature flag `@aws-cdk/aws-apigateway:disableCloudWatchRole` is set, as `cdk init` does. In an account
            without a role, the deployment of the stage fails.
    """

    rate_limit: int = 500
    burst_limit: int = 1_000
    source_rate_limit: int | None = None
    web_acl_arn: str | None = None
    stage_name: str = "v1"
    retry_after: Duration = field(default_factory=lambda: Duration.seconds(5))
    csr_in_body: bool = False
    est: EstOptions | None = None
    domain: ApiDomain | SharedApiDomain | None = None
    tls_policy: TlsPolicy = TlsPolicy.TLS_1_2
    strict_endpoint_access: bool = True
    private_endpoints: Sequence[ec2.IVpcEndpoint] = ()
    resource_policy: iam.PolicyDocument | None = None
    execution_logging: apigateway.MethodLoggingLevel = apigateway.MethodLoggingLevel.OFF
    tracing: bool = False
    access_log_group: logs.ILogGroup | None = None
    set_account_logging_role: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what API Gateway or AWS WAF would refuse at deploy time."""
        require_range("rate_limit", self.rate_limit, 1, 10_000, "requests a second")
        require_range("burst_limit", self.burst_limit, 1, 5_000, "requests")
        require_match("stage_name", self.stage_name, r"[A-Za-z0-9_-]{1,128}", "1 to 128 of A-Z a-z 0-9 _ -", known=True)
        require_seconds("retry_after", self.retry_after, 1, 3_600, "whole seconds, from 1 second to 1 hour")
        if self.source_rate_limit is not None:
            require_range("source_rate_limit", self.source_rate_limit, 10, 2_000_000_000, "requests in five minutes")
        if self.web_acl_arn is not None:
            require_match("web_acl_arn", self.web_acl_arn, _WEB_ACL_ARN, "a Regional web ACL's ARN: arn:aws:wafv2:...")
            if self.source_rate_limit is not None:
                refuse("web_acl_arn", "one beside source_rate_limit", "one of the two: a stage has one web ACL")
        if self.private_endpoints and self.domain is not None:
            refuse("domain", "one beside private_endpoints", "none: private DNS of the VPC endpoint finds the API")
        self._check_reenrollment()

    def _check_reenrollment(self) -> None:
        reenroll = None if self.est is None else self.est.reenroll
        if reenroll is None:
            return
        if self.private_endpoints:
            refuse("reenroll", "a domain beside private_endpoints", "none: a private API has no mutual TLS")
        if isinstance(self.domain, ApiDomain) and self.domain.name == reenroll.name:
            refuse("reenroll", f"the API's own domain {reenroll.name}", "another: a new device has no certificate yet")


def _require_base_path(value: str) -> None:
    require_match("base_path", value, r"[A-Za-z0-9_-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ -, without slash", known=True)


_WEB_ACL_ARN: Final = r"arn:[a-z-]+:wafv2:[a-z0-9-]+:\d{12}:regional/webacl/[A-Za-z0-9_-]{1,128}/[0-9a-f-]{36}"
