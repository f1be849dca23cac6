"""The outputs of a deployed stack, and its account and Region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from secretfree.contract import Output

from secretfree_cli.output import CliError, ExitCode

CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5})


@dataclass(frozen=True)
class DeployedStack:
    """A stack's outputs and its account, if known."""

    account: str | None
    outputs: Mapping[str, str]


def deployed_stack(session: boto3.Session, name: str, endpoint_url: str | None) -> DeployedStack:
    """Describe a stack. Its id, an ARN, contains the account.

    Raises: CliError with exit code 4 if there is none.
    """
    client = session.client("cloudformation", endpoint_url=endpoint_url, config=CLIENT_CONFIG)
    try:
        stacks = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # CloudFormation has no not-found error of its own: DescribeStacks answers ValidationError "... does not exist".
        if error.response["Error"].get("Code") != "ValidationError":
            raise
        stacks = []
    if not stacks:
        raise CliError(
            f"there is no stack {name!r} in {place_in_words(endpoint_url, None, session.region_name)}",
            hint="check --stack, --region and --profile; `cdk deploy` or `secretfree local up` deploys it",
            exit_code=ExitCode.NOT_FOUND,
        )
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
    return DeployedStack(_account_of(stacks[0].get("StackId", "")), outputs)


def required_output(outputs: Mapping[str, str], key: Output, stack: str) -> str:
    """Return an output; raise CliError with exit code 4 if the stack lacks it."""
    if key not in outputs:
        present = ", ".join(sorted(outputs)) or "none"
        raise CliError(
            f"stack {stack!r} has no output {key.value!r} (it has: {present})",
            hint="a stack of SecretFreeStack has it; for another stack, pass its registry with --table",
            exit_code=ExitCode.NOT_FOUND,
        )
    return outputs[key]


def place_in_words(endpoint_url: str | None, account: str | None, region: str) -> str:
    """Return the account and Region, or the custom endpoint, for a message."""
    if endpoint_url is not None:
        return f"the custom endpoint {endpoint_url}, Region {region}"
    return f"AWS account {account}, Region {region}" if account else f"AWS, Region {region}"


def _account_of(arn: str) -> str | None:
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 and parts[4] else None
