"""A failed call of AWS's is one line and what to do about it."""

from __future__ import annotations

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from secretfree_cli.aws_failures import explain_aws_error
from secretfree_cli.output import ExitCode


def answer(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"RequestId": "r-1"}}, "Query")


@pytest.mark.parametrize(
    ("error", "said", "cure"),
    [
        (answer("ExpiredTokenException"), "expired", "aws sso login"),
        (answer("UnrecognizedClientException"), "does not accept the credentials", "--profile"),
        (
            answer("AccessDeniedException", "User: arn is not authorized to perform: dynamodb:Query on resource: x"),
            "lack a permission",
            "grant dynamodb:Query",
        ),
        (answer("AccessDenied", "no"), "lack a permission", "the permission for Query"),
        (answer("ThrottlingException"), "throttles", "--parallelism"),
        (answer("ResourceNotFoundException"), "ResourceNotFoundException", "--table"),
        (ResponseParserError("not xml"), "did not answer as AWS does", "AWS_ENDPOINT_URL"),
        (botocore.exceptions.NoCredentialsError(), "credentials", "AWS_PROFILE"),
        (botocore.exceptions.ProfileNotFound(profile="me"), "(me)", "list-profiles"),
        (botocore.exceptions.UnauthorizedSSOTokenError(), "SSO", "aws sso login"),
        (botocore.exceptions.InvalidRegionError(region_name="a/b"), "a/b", "--region"),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
            "http://127.0.0.1:1",
            "secretfree local up",
        ),
        (
            botocore.exceptions.ConnectTimeoutError(endpoint_url="https://dynamodb.eu-nowhere-1.amazonaws.com"),
            "timeout",
            "--region",
        ),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="https://a"), "timeout", "--endpoint-url"),
    ],
)
def test_a_failure_says_what_happened_and_the_cure(error: Exception, said: str, cure: str) -> None:
    explained = explain_aws_error(error)
    assert explained is not None
    assert said in explained.message
    assert "\n" not in explained.message
    assert cure in (explained.hint or "")


def test_a_missing_resource_has_the_exit_code_of_what_does_not_exist() -> None:
    explained = explain_aws_error(answer("ResourceNotFoundException"))
    assert explained is not None
    assert explained.exit_code == ExitCode.NOT_FOUND


def test_a_defect_of_ours_is_not_explained_away() -> None:
    assert explain_aws_error(RuntimeError("a defect")) is None
