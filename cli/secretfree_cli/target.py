"""The target of a command: a stack of the product in the local cloud, an AWS account or at a custom endpoint."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from secretfree.contract import Output

from secretfree_cli.command_line import section
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project
from secretfree_cli.output import CliError, ExitCode, note
from secretfree_cli.product_line import outputs_of_line
from secretfree_cli.stack_outputs import CLIENT_CONFIG, deployed_stack, place_in_words, required_output

DEFAULT_STACK = "SecretFree"
_target_option = section("The cloud")
_ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
_ENDPOINT_FORM = "http://HOST[:PORT] or https://HOST[:PORT]"
MQTT_TLS_PORT = 8883


@dataclass(frozen=True)
class Target:
    """A stack of the product in a cloud. Fields that its kind of target lacks are None."""

    session: boto3.Session
    endpoint_url: str | None
    """Endpoint of AWS's APIs; None for AWS itself."""
    region: str
    stack_name: str | None
    """None for a registry named by `--table`."""
    registry_table: str
    ledger_table: str | None = None
    url: str | None = None
    """Base of the provisioning API; `/new` and `/proto` are below it."""
    tls_url: str | None = None
    """In the local cloud: the same base over TLS, for devices."""
    tls_ca: Path | None = None
    """PEM of the CA that the certificate at `tls_url` chains to."""
    est_reenroll_url: str | None = None
    """Base of the domain with mutual TLS, for EST's re-enrolment, if the stack has one."""
    iot_endpoint: str | None = None
    """IoT Core's data endpoint for devices."""
    mqtt_host: str | None = None
    mqtt_port: int = MQTT_TLS_PORT
    broker_ca: Path | None = None
    """PEM of the broker's CA; None means the system's roots (Amazon Trust Services)."""
    ca_certificate: Path | None = None
    """PEM of the Private CA that signs devices, if it is on this machine."""
    authority_arn: str | None = None
    authorities: str | None = None
    """The stack's output `Authorities`: the CAs of each issuer."""
    revoker: str | None = None
    """Name of the function that revokes certificates of blocked devices, if the stack has one."""
    product: str | None = None
    """The product line's name: thing type, and the topics' first level in the least-privilege policy."""
    match_policy: str | None = None
    """Name of the stack's `secretfree.registry.authorization.MatchPolicy`."""
    device_profile: str | None = None
    """Name of the stack's `secretfree.request.device_profile.DeviceProfile`."""
    policy_name: str | None = None
    """The IoT policy that each certificate gets."""
    thing_type: str | None = None
    """The type of the product line's things."""
    audit_bucket: str | None = None
    """The bucket of the audit trail, if the stack has one."""
    account: str | None = None
    """The AWS account, if known."""
    custom_endpoint: str | None = None
    """Endpoint from an option, a variable or the profile that replaces AWS's own."""
    is_local: bool = False
    service_endpoints: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Endpoints of services that are not at `endpoint_url`."""

    def client(self, service: str) -> Any:
        """Return a boto3 client of this target's cloud."""
        return self.session.client(service, endpoint_url=self.endpoint_of(service), config=CLIENT_CONFIG)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """Return a boto3 resource of this target's cloud."""
        return self.session.resource(service, endpoint_url=self.endpoint_of(service), config=CLIENT_CONFIG)  # type: ignore[call-overload]

    @property
    def place(self) -> str:
        """The cloud in words: local, an AWS account and Region, or a custom endpoint."""
        if self.is_local:
            return f"the local cloud at {self.endpoint_url}, Region {self.region}"
        return place_in_words(self.custom_endpoint, self.account, self.region)

    def require_url(self) -> str:
        """Return the provisioning API's base, or fail with exit code 4."""
        if self.url is None:
            raise CliError(
                "this target has no provisioning API", hint="name a stack with --stack", exit_code=ExitCode.NOT_FOUND
            )
        return self.url

    def device_url(self) -> tuple[str, Path | None]:
        """Return the API's base URL for devices, and the CA that they must trust (None: the system's roots).

        Raises: CliError with exit code 4 for a target without an API.
        """
        return (self.require_url(), None) if self.tls_url is None else (self.tls_url, self.tls_ca)

    def endpoint_of(self, service: str) -> str | None:
        """Return the endpoint of one service's API; None for AWS itself."""
        return self.service_endpoints.get(service, self.endpoint_url)


def resolve_target(
    *,
    local: bool = False,
    stack: str | None = None,
    table: str | None = None,
    product: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    project: Path | None = None,
) -> Target:
    """Return the target of the options.

    Without options, it is the local cloud of this project or, in a project that never had one, the stack `SecretFree`
    in the environment's account and Region. A local cloud that is down is an error, because a command for the local
    cloud must not change an AWS account.

    Raises: CliError with exit code 4 if the cloud, the stack or one of its outputs does not exist; UsageError if
        options contradict each other.
    """
    if table is not None and product is not None:
        raise click.UsageError("--table names a registry without its stack: omit --table or --product")
    if table is not None and stack is not None:
        raise click.UsageError("--table names a registry without its stack: omit --table or --stack")
    elsewhere = region or profile or endpoint_url
    if local and (profile or endpoint_url):
        raise click.UsageError("--local excludes --profile and --endpoint-url")
    if endpoint_url is not None and not _is_endpoint(endpoint_url):
        raise click.UsageError(f"--endpoint-url {endpoint_url!a}; accepted: {_ENDPOINT_FORM}")
    folder = StateFolder(project or find_project())
    if local:
        here = folder if region is None else folder.of_region(region)
        return local_target(here.require_up(), stack=stack, table=table, product=product)
    record = folder.read()
    is_up = record is not None and record.is_up
    if not (stack or table or elsewhere) and (record is not None or folder.recall()):
        if record is None or not is_up:
            raise CliError(
                f"the local cloud of {folder.project} is not up, and no option names a stack in AWS",
                hint="`secretfree local up` starts it; for AWS, pass --stack, --region or --profile",
                exit_code=ExitCode.NOT_FOUND,
            )
        return local_target(record, product=product)
    endpoint = endpoint_url or os.environ.get(_ENDPOINT_VARIABLE)
    if record is not None and is_up and endpoint == record.endpoint_url:
        return local_target(record, stack=stack, table=table, product=product)
    # boto3 reads only AWS_DEFAULT_REGION; AWS's other SDKs and its CLI read AWS_REGION first.
    region = region or os.environ.get("AWS_REGION") or None
    session = boto3.Session(region_name=region, profile_name=profile)
    return _account_target(session, stack=stack, table=table, product=product, endpoint_url=endpoint_url)


def local_target(
    record: CloudRecord, *, stack: str | None = None, table: str | None = None, product: str | None = None
) -> Target:
    """Return the target of a running local cloud: `stack`, or the first deployed one."""
    session = boto3.Session(
        aws_access_key_id=record.access_key_id,
        aws_secret_access_key=record.secret_access_key,
        region_name=record.region,
    )
    endpoints = MappingProxyType({"acm-pca": record.private_ca_endpoint_url})
    in_this_cloud = functools.partial(
        Target,
        session=session,
        endpoint_url=record.endpoint_url,
        region=record.region,
        is_local=True,
        service_endpoints=endpoints,
        mqtt_host=record.mqtt_host,
        mqtt_port=record.mqtt_port,
        broker_ca=Path(record.broker_ca),
        ca_certificate=Path(record.ca_certificate),
        authority_arn=record.authority_arn,
    )
    if table is not None:
        return in_this_cloud(stack_name=None, registry_table=table)
    name = stack or record.stack_name
    if name is None:
        raise CliError(
            "the local cloud is up, but nothing is deployed in it",
            hint="`secretfree local deploy`",
            exit_code=ExitCode.NOT_FOUND,
        )
    outputs = outputs_of_line(deployed_stack(session, name, record.endpoint_url).outputs, product, name)
    authority_arn = outputs.get(Output.AUTHORITY_ARN) or record.authority_arn
    return in_this_cloud(
        authority_arn=authority_arn,  # The stack's own CA, if it has one.
        ca_certificate=record.certificate_of(authority_arn),
        **_of_the_product(outputs, name),
        stack_name=name,
        url=local_api_url(required_output(outputs, Output.PROVISIONING_URL, name), record.endpoint_url),
        tls_url=local_api_url(required_output(outputs, Output.PROVISIONING_URL, name), record.tls_url),
        tls_ca=Path(record.tls_ca),
        est_reenroll_url=local_domain_url(outputs.get(Output.EST_REENROLL_URL), record.tls_url),
        iot_endpoint=outputs.get(Output.IOT_ENDPOINT),
    )


def local_api_url(deployed: str, endpoint_url: str) -> str:
    """Return the address of a REST API of the local cloud for this host.

    CloudFormation returns AWS's host name (`https://{api}.execute-api.{region}.{suffix}/{stage}`), which this host
    cannot resolve. The emulator serves the API below its own address.
    """
    parts = urlsplit(deployed)
    named = re.fullmatch(r"(?P<api>[a-z0-9]+)\.execute-api\..+", parts.hostname or "")
    if named is None:
        raise CliError(
            f"{Output.PROVISIONING_URL} is {deployed!r}; expected https://API.execute-api.REGION.SUFFIX/STAGE"
        )
    return f"{endpoint_url}/_aws/execute-api/{named['api']}/{parts.path.strip('/')}"


def local_domain_url(deployed: str | None, tls_url: str) -> str | None:
    """Return the address of a custom domain of the local cloud for this host; None without one."""
    return None if deployed is None else f"{tls_url}/_aws/domains/{urlsplit(deployed).hostname}"


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the target to a command; the target is passed as the keyword `target`."""

    @target_finder_options
    @functools.wraps(function)
    def with_target(*args: Any, find_target: Callable[[], Target], **kwargs: Any) -> Any:
        return function(*args, target=find_target(), **kwargs)

    return with_target


def target_finder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options to a command that may not need a target; a function is passed as the keyword `find_target`.

    No call is made and no credentials are needed before the command calls that function.
    """

    @_target_option("--local", is_flag=True, help="The local cloud of this project (`secretfree local up`).")
    @_target_option("--stack", metavar="NAME", help=f"CloudFormation stack of the product.  [default: {DEFAULT_STACK}]")
    @_target_option("--table", metavar="NAME", help="A registry table, without its stack.")
    @_target_option("--product", metavar="NAME", help="Product line, if the stack has several.")
    @_target_option(
        "--region",
        metavar="REGION",
        help="AWS Region, or with --local a Region of the local cloud.  [default: AWS_REGION, or the profile's]",
    )
    @_target_option("--profile", metavar="NAME", help="Profile of the AWS configuration.")
    @_target_option("--endpoint-url", metavar="URL", help="Endpoint of AWS's APIs, instead of AWS's own.")
    @functools.wraps(function)
    def with_finder(
        *args: Any,
        local: bool,
        stack: str | None,
        table: str | None,
        product: str | None,
        region: str | None,
        profile: str | None,
        endpoint_url: str | None,
        **kwargs: Any,
    ) -> Any:
        def find_target() -> Target:
            target = resolve_target(
                local=local,
                stack=stack,
                table=table,
                product=product,
                region=region,
                profile=profile,
                endpoint_url=endpoint_url,
            )
            _announce(target)
            return target

        return function(*args, find_target=find_target, **kwargs)

    return with_finder


def _account_target(
    session: boto3.Session, *, stack: str | None, table: str | None, product: str | None, endpoint_url: str | None
) -> Target:
    region = session.region_name
    if not region:
        raise CliError(
            "no AWS region is set", hint="pass --region, set AWS_REGION, or use --local", exit_code=ExitCode.USAGE
        )
    custom = _custom_endpoint(session, endpoint_url)
    in_this_cloud = functools.partial(
        Target, session=session, endpoint_url=endpoint_url, region=region, custom_endpoint=custom
    )
    if table is not None:
        account = _account(session) if custom is None else None
        return in_this_cloud(stack_name=None, registry_table=table, account=account)
    name = stack or DEFAULT_STACK
    described = deployed_stack(session, name, endpoint_url)
    outputs = outputs_of_line(described.outputs, product, name)
    iot_endpoint = outputs.get(Output.IOT_ENDPOINT)
    return in_this_cloud(
        **_of_the_product(outputs, name),
        stack_name=name,
        account=described.account,
        url=required_output(outputs, Output.PROVISIONING_URL, name).rstrip("/"),
        est_reenroll_url=outputs.get(Output.EST_REENROLL_URL),
        iot_endpoint=iot_endpoint,
        mqtt_host=iot_endpoint,
        authority_arn=outputs.get(Output.AUTHORITY_ARN),
    )


def _of_the_product(outputs: Mapping[str, str], stack: str) -> dict[str, Any]:
    return {
        "registry_table": required_output(outputs, Output.REGISTRY_TABLE, stack),
        "ledger_table": outputs.get(Output.LEDGER_TABLE),
        "product": outputs.get(Output.PRODUCT),
        "match_policy": outputs.get(Output.MATCH_POLICY),
        "device_profile": outputs.get(Output.DEVICE_PROFILE),
        "policy_name": outputs.get(Output.DEVICE_POLICY_NAME),
        "thing_type": outputs.get(Output.THING_TYPE_NAME),
        "authorities": outputs.get(Output.AUTHORITIES),
        "revoker": outputs.get(Output.REVOKER),
        "audit_bucket": outputs.get(Output.AUDIT_BUCKET),
    }


def _custom_endpoint(session: boto3.Session, endpoint_url: str | None) -> str | None:
    """Return the endpoint of AWS's APIs that an option, a variable or the profile names; None for AWS itself."""
    try:
        configured = session.client("dynamodb", endpoint_url=endpoint_url).meta.endpoint_url
    except ValueError as error:  # Not botocore's InvalidRegionError, which is explained elsewhere.
        if isinstance(error, BotoCoreError):
            raise
        raise CliError(
            f"the configured endpoint is not a URL: {error}",
            hint=f"correct {_ENDPOINT_VARIABLE} or the profile; accepted: {_ENDPOINT_FORM}",
            exit_code=ExitCode.USAGE,
        ) from error
    amazons = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg]  # the stubs lack it
    unconfigured = session.client("dynamodb", config=amazons).meta.endpoint_url
    if configured == unconfigured:
        return None
    return str(configured)


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _account(session: boto3.Session) -> str:
    return str(session.client("sts", config=CLIENT_CONFIG).get_caller_identity()["Account"])


def _announce(target: Target) -> None:
    what = f"stack {target.stack_name}" if target.stack_name else f"table {target.registry_table}"
    note(f"using {what} in {target.place}")
