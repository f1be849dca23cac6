"""The settings of the API: throttle, endpoint, TLS, logs and web ACL."""

from dataclasses import dataclass, field

from aws_cdk import Duration
from aws_cdk import aws_certificatemanager as acm

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import require_match, require_range, require_seconds


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiDomain:
    """A name of your own for the API. Devices then keep their URL when the API is replaced.

    The default `execute-api` endpoint is switched off, so that there is one door. Point the name at
    `SecretFreeProvisioning.api.domain_name` with an alias record.

    Args:
        name: as in `provisioning.example.com`; part of the devices' URL, so no wildcard.
        certificate: for that name, in the stack's Region.
    """

    name: str
    certificate: acm.ICertificate

    def __post_init__(self) -> None:
        """Refuse what is no host name."""
        form = "a lower-case host name, without a wildcard"
        require_match("name", self.name, r"([a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}", form)


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """The API's settings.

    Args:
        rate_limit: requests a second over all callers. It stands before the authorizer, so it is no measure of the
            devices: set low, a flood of forged requests would keep the good ones out. It bounds what a flood costs;
            what is issued is bounded behind it, by `FunctionOptions.issuer_concurrency` and the ledger. Against
            single sources, attach a web ACL with a rate-based rule to the stage (AWS WAF).
        burst_limit: requests at once above that rate.
        stage_name: the first segment of the default URL's path.
        retry_after: what the API's own 429 and 503 tell the device to wait, whole seconds.
        csr_in_body: also take the CSR as the body of `POST {base}/new/csr`, for clients whose headers are short. A
            function of its own decides there by the authorizer's rules and has the issuer answer.
        domain: a name of your own.
        set_account_logging_role: API Gateway writes access logs through one role for each account and Region.
            True makes one (kept when the stack goes); False where your account has it.
    """

    rate_limit: int = 500
    burst_limit: int = 1_000
    stage_name: str = "v1"
    retry_after: Duration = field(default_factory=lambda: Duration.seconds(5))
    csr_in_body: bool = False
    domain: ApiDomain | None = None
    set_account_logging_role: bool = True

    def __post_init__(self) -> None:
        """Refuse what API Gateway would refuse at deploy time."""
        require_range("rate_limit", self.rate_limit, 1, 10_000, "requests a second")
        require_range("burst_limit", self.burst_limit, 1, 5_000, "requests")
        require_match("stage_name", self.stage_name, r"[A-Za-z0-9_-]{1,128}", "1 to 128 of A-Z a-z 0-9 _ -", known=True)
        require_seconds("retry_after", self.retry_after, 1, 3_600, "whole seconds, from 1 second to 1 hour")
