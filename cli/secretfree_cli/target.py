"""Which cloud a command talks to, and which stack in it: the local one or an account, told apart by the endpoint."""

from __future__ import annotations

import functools
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
from botocore.exceptions import ClientError
from secretfree.contract import Output

from secretfree_cli.command_line import section
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project
from secretfree_cli.output import CliError, ExitCode, note

DEFAULT_STACK = "SecretFree"
_target_option = section("The cloud")
MQTT_TLS_PORT = 8883
_CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5})


@dataclass(frozen=True)
class Target:
    """A stack of the product in some cloud. Fields that its kind of target has not are None."""

    session: boto3.Session
    endpoint_url: str | None
    """Where AWS's APIs answer; None for AWS itself."""
    region: str
    stack_name: str | None
    """None for a registry named by `--table`."""
    registry_table: str
    ledger_table: str | None = None
    url: str | None = None
    """Base of the provisioning API; `/new` and `/proto` are below it."""
    iot_endpoint: str | None = None
    """IoT Core's data endpoint, as devices are told it."""
    mqtt_host: str | None = None
    mqtt_port: int = MQTT_TLS_PORT
    broker_ca: Path | None = None
    """PEM to trust the broker by; None means the system's roots (Amazon Trust Services)."""
    ca_certificate: Path | None = None
    """PEM of the Private CA that signs devices, where it lies on this machine."""
    authority_arn: str | None = None
    product: str | None = None
    """The product line's name: thing type, and the topics' first level in the least-privilege policy."""
    match_policy: str | None = None
    """Name of the stack's `secretfree.registry.authorization.MatchPolicy`."""
    device_profile: str | None = None
    """Name of the stack's `secretfree.request.device_profile.DeviceProfile`."""
    is_local: bool = False
    service_endpoints: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Services that answer elsewhere than `endpoint_url`."""

    def client(self, service: str) -> Any:
        """Return a boto3 client of this target's cloud."""
        return self.session.client(service, endpoint_url=self._endpoint(service), config=_CLIENT_CONFIG)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """Return a boto3 resource of this target's cloud."""
        return self.session.resource(service, endpoint_url=self._endpoint(service), config=_CLIENT_CONFIG)  # type: ignore[call-overload]

    def require_url(self) -> str:
        """Return the provisioning API's base, or fail with exit code 4."""
        if self.url is None:
            raise CliError(
                "this target has no provisioning API", hint="name a stack with --stack", exit_code=ExitCode.NOT_FOUND
            )
        return self.url

    def _endpoint(self, service: str) -> str | None:
        return self.service_endpoints.get(service, self.endpoint_url)


def resolve_target(
    *,
    local: bool = False,
    stack: str | None = None,
    table: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    project: Path | None = None,
) -> Target:
    """Return the target that the options mean.

    With none at all it is the local cloud of this project if one is up, else the stack `SecretFree` of the account
    that the environment's credentials belong to.

    Raises: CliError with exit code 4 where the cloud, the stack or one of its outputs is not there; UsageError where
        options contradict each other.
    """
    if table is not None and stack is not None:
        raise click.UsageError("--table names a registry on its own: give it without --stack")
    elsewhere = region or profile or endpoint_url
    if local and elsewhere:
        raise click.UsageError("--local is a cloud of its own: give it without --region, --profile and --endpoint-url")
    folder = StateFolder(project or find_project())
    if local:
        return local_target(folder.require_up(), stack=stack, table=table)
    if not (stack or table or elsewhere):
        record = folder.read()
        if record is not None and record.is_up:
            return local_target(record)
    return _account_target(
        boto3.Session(region_name=region, profile_name=profile), stack=stack, table=table, endpoint_url=endpoint_url
    )


def local_target(record: CloudRecord, *, stack: str | None = None, table: str | None = None) -> Target:
    """Return the target of a running local cloud: `stack`, or the one deployed first."""
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
    outputs = _stack_outputs(session, name, record.endpoint_url)
    return in_this_cloud(
        stack_name=name,
        registry_table=_required(outputs, Output.REGISTRY_TABLE, name),
        ledger_table=outputs.get(Output.LEDGER_TABLE),
        url=local_api_url(_required(outputs, Output.PROVISIONING_URL, name), record.endpoint_url),
        iot_endpoint=outputs.get(Output.IOT_ENDPOINT),
        product=outputs.get(Output.PRODUCT),
        match_policy=outputs.get(Output.MATCH_POLICY),
        device_profile=outputs.get(Output.DEVICE_PROFILE),
    )


def local_api_url(deployed: str, endpoint_url: str) -> str:
    """Return the address at which this host reaches a REST API of the local cloud.

    CloudFormation gives the name that AWS would (`https://{api}.execute-api.{region}.{suffix}/{stage}`), which no
    resolver of this host knows; the emulator answers for it below its own address.
    """
    parts = urlsplit(deployed)
    named = re.fullmatch(r"(?P<api>[a-z0-9]+)\.execute-api\..+", parts.hostname or "")
    if named is None:
        raise CliError(
            f"{Output.PROVISIONING_URL} is {deployed!r}; expected https://API.execute-api.REGION.SUFFIX/STAGE"
        )
    return f"{endpoint_url}/_aws/execute-api/{named['api']}/{parts.path.strip('/')}"


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a target to a click command; it gets the resolved one as the keyword `target`."""

    @target_finder_options
    @functools.wraps(function)
    def with_target(*args: Any, find_target: Callable[[], Target], **kwargs: Any) -> Any:
        return function(*args, target=find_target(), **kwargs)

    return with_target


def target_finder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options to a command that can do without a target; it gets a function as the keyword `find_target`.

    Nothing is looked up, and no credentials are needed, until that is called.
    """

    @_target_option("--local", is_flag=True, help="The local cloud of this project (`secretfree local up`).")
    @_target_option("--stack", metavar="NAME", help=f"CloudFormation stack of the product.  [default: {DEFAULT_STACK}]")
    @_target_option("--table", metavar="NAME", help="A registry table alone, of any stack or none.")
    @_target_option("--region", metavar="REGION", help="AWS Region.")
    @_target_option("--profile", metavar="NAME", help="Profile of the AWS configuration.")
    @_target_option("--endpoint-url", metavar="URL", help="Where AWS's APIs answer, if not at AWS.")
    @functools.wraps(function)
    def with_finder(
        *args: Any,
        local: bool,
        stack: str | None,
        table: str | None,
        region: str | None,
        profile: str | None,
        endpoint_url: str | None,
        **kwargs: Any,
    ) -> Any:
        def find_target() -> Target:
            target = resolve_target(
                local=local, stack=stack, table=table, region=region, profile=profile, endpoint_url=endpoint_url
            )
            _announce(target)
            return target

        return function(*args, find_target=find_target, **kwargs)

    return with_finder


def _account_target(
    session: boto3.Session, *, stack: str | None, table: str | None, endpoint_url: str | None
) -> Target:
    region = session.region_name
    if not region:
        raise CliError(
            "no AWS region is set", hint="give --region, set AWS_REGION, or use --local", exit_code=ExitCode.USAGE
        )
    if table is not None:
        return Target(session=session, endpoint_url=endpoint_url, region=region, stack_name=None, registry_table=table)
    name = stack or DEFAULT_STACK
    outputs = _stack_outputs(session, name, endpoint_url)
    iot_endpoint = outputs.get(Output.IOT_ENDPOINT)
    return Target(
        session=session,
        endpoint_url=endpoint_url,
        region=region,
        stack_name=name,
        registry_table=_required(outputs, Output.REGISTRY_TABLE, name),
        ledger_table=outputs.get(Output.LEDGER_TABLE),
        url=_required(outputs, Output.PROVISIONING_URL, name).rstrip("/"),
        iot_endpoint=iot_endpoint,
        mqtt_host=iot_endpoint,
        authority_arn=outputs.get(Output.AUTHORITY_ARN),
        product=outputs.get(Output.PRODUCT),
        match_policy=outputs.get(Output.MATCH_POLICY),
        device_profile=outputs.get(Output.DEVICE_PROFILE),
    )


def _stack_outputs(session: boto3.Session, name: str, endpoint_url: str | None) -> Mapping[str, str]:
    client = session.client("cloudformation", endpoint_url=endpoint_url, config=_CLIENT_CONFIG)
    try:
        stacks = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # CloudFormation has no not-found error of its own: DescribeStacks answers ValidationError "... does not exist".
        if error.response["Error"].get("Code") != "ValidationError":
            raise
        stacks = []
    if not stacks:
        raise CliError(
            f"there is no stack {name!r} in {session.region_name}",
            hint="deploy it (`cdk deploy`), name another with --stack, or use the local cloud (`secretfree local up`)",
            exit_code=ExitCode.NOT_FOUND,
        )
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def _required(outputs: Mapping[str, str], key: Output, stack: str) -> str:
    if key not in outputs:
        present = ", ".join(sorted(outputs)) or "none"
        raise CliError(
            f"stack {stack!r} has no output {key.value!r} (it has: {present})",
            hint="a stack made of SecretFreeStack has it; for another, give its registry with --table",
            exit_code=ExitCode.NOT_FOUND,
        )
    return outputs[key]


def _announce(target: Target) -> None:
    what = f"stack {target.stack_name}" if target.stack_name else f"table {target.registry_table}"
    where = f"the local cloud at {target.endpoint_url}" if target.is_local else target.endpoint_url or "AWS"
    note(f"using {what} in {where}, {target.region}")
