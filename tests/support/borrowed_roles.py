"""AWS calls under the role of a deployed Lambda, made by a Lambda of the test's own that borrows the role."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

PROBE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["operation"])(**event["parameters"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"
"""


class BorrowedRoles:
    """Makes one AWS call at a time; call `remove` at the end."""

    def __init__(self, lambda_: Any) -> None:
        self._lambda = lambda_
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("probe.py", PROBE)
        self._archive = archive.getvalue()
        self._made: dict[str, str] = {}

    def __call__(self, function: Mapping[str, Any], service: str, operation: str, **parameters: Any) -> str:
        """The call's error code under the role of `function`, or `allowed`."""
        role = function["Role"]
        if role not in self._made:
            self._made[role] = f"probe-{len(self._made)}"
            self._lambda.create_function(
                FunctionName=self._made[role],
                Role=role,
                Runtime=function["Runtime"],
                Handler="probe.handler",
                Code={"ZipFile": self._archive},
                Timeout=60,
            )
        answer = self._lambda.invoke(
            FunctionName=self._made[role],
            Payload=json.dumps({"service": service, "operation": operation, "parameters": parameters}),
        )
        result = json.loads(answer["Payload"].read())
        assert isinstance(result, str), result
        return result

    def remove(self) -> None:
        """Delete the functions."""
        for name in self._made.values():
            self._lambda.delete_function(FunctionName=name)


def is_denied(outcome: str) -> bool:
    """Whether the outcome is that IAM does not allow the call."""
    return "AccessDenied" in outcome or outcome in {"UnauthorizedException", "ForbiddenException"}
