"""The part of `cdk bootstrap` that a deployment into the local cloud needs.

The default synthesizer reads the bootstrap version from a parameter and publishes to a bucket. Its roles are missing
here, so the CDK CLI uses the operator's key. The stack has the name and the logical ids of the CDK's own, so that `cdk
bootstrap` updates it.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import WaiterError

from secretfree_cli.output import CliError

STACK = "CDKToolkit"
DEFAULT_QUALIFIER = "hnb659fds"  # aws-cdk-lib, DefaultStackSynthesizer.DEFAULT_QUALIFIER
_VERSION = "21"
"""Newer than every synthesizer of aws-cdk-lib 2 requires, and older than the CDK CLI's own version."""
_POLL_SECONDS = 1


def ensure_bootstrap(cloudformation: Any, *, account: str, region: str, qualifier: str = DEFAULT_QUALIFIER) -> None:
    """Create the bootstrap stack of a Region unless it exists. `cloudformation` is a boto3 client of that Region.

    Raises: CliError if the stack cannot be created.
    """
    name = STACK if qualifier == DEFAULT_QUALIFIER else f"{STACK}-{qualifier}"
    existing = {
        stack["StackName"]
        for page in cloudformation.get_paginator("list_stacks").paginate()
        for stack in page["StackSummaries"]
        if stack["StackStatus"] != "DELETE_COMPLETE"
    }
    if name in existing:
        return
    template = json.dumps(template_of(account=account, region=region, qualifier=qualifier))
    cloudformation.create_stack(StackName=name, TemplateBody=template)
    try:
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": _POLL_SECONDS})
    except WaiterError as error:
        raise CliError(
            f"the bootstrap stack {name} was not created: {error}", hint="`secretfree local logs aws`"
        ) from error


def template_of(*, account: str, region: str, qualifier: str) -> dict[str, Any]:
    """Return the template with a private bucket for assets and the bootstrap version."""
    bucket = {
        "BucketName": f"cdk-{qualifier}-assets-{account}-{region}",
        "VersioningConfiguration": {"Status": "Enabled"},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    }
    version = {"Type": "String", "Name": f"/cdk-bootstrap/{qualifier}/version", "Value": _VERSION}
    return {
        "Resources": {
            "StagingBucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "Properties": bucket},
            "CdkBootstrapVersion": {"Type": "AWS::SSM::Parameter", "Properties": version},
        },
        "Outputs": {
            "BucketName": {"Value": {"Ref": "StagingBucket"}},
            "BucketDomainName": {"Value": {"Fn::GetAtt": ["StagingBucket", "RegionalDomainName"]}},
            "BootstrapVersion": {"Value": {"Fn::GetAtt": ["CdkBootstrapVersion", "Value"]}},
        },
    }
