"""Turns a failed call of AWS into one line and a hint for the operator. Imports no SDK."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final

from secretfree_cli.output import CliError, ExitCode

_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_UNKNOWN_CREDENTIALS: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "AuthFailure",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
    }
)
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "UnauthorizedException",
        "NotAuthorized",
        "AuthorizationError",
        "ForbiddenException",
        "403",
    }
)
_THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"}
)
_MISSING: Final = frozenset({"ResourceNotFoundException", "404"})
_SIGN_IN: Final = "sign in again (`aws sso login`, or new temporary credentials), or use another --profile"
_CREDENTIALS: Final = "set AWS_PROFILE, pass --profile, or use --local"
_ACTION: Final = re.compile(r"not authorized to perform: (?P<action>[A-Za-z0-9-]+:[A-Za-z0-9*]+)")
_ON_LOOPBACK: Final = re.compile(r"https?://(localhost|127\.|\[::1\])")


def explain_aws_error(error: Exception) -> CliError | None:
    """Return the CliError for an error of botocore, or None for any other error."""
    exceptions = sys.modules.get("botocore.exceptions")
    if exceptions is None:
        return None
    if isinstance(error, exceptions.ClientError):
        return _explain_answer(error)
    parsers = sys.modules.get("botocore.parsers")
    if parsers is not None and isinstance(error, parsers.ResponseParserError):
        return CliError(
            "the endpoint did not answer as AWS does",
            hint="check --endpoint-url and AWS_ENDPOINT_URL",
        )
    if isinstance(error, exceptions.BotoCoreError):
        return CliError(" ".join(str(error).split()), hint=_hint(error, exceptions))
    return None


def _explain_answer(error: Any) -> CliError:
    details = error.response.get("Error", {})
    request = error.response.get("ResponseMetadata", {}).get("RequestId", "-")
    code, message = str(details.get("Code", "unknown")), str(details.get("Message", ""))
    failure = f"{error.operation_name}: {code}: {message} (request {request})"
    if code in _EXPIRED:
        return CliError(f"the AWS credentials have expired: {failure}", hint=_SIGN_IN)
    if code in _UNKNOWN_CREDENTIALS:
        return CliError(
            f"AWS does not accept the credentials: {failure}",
            hint="check AWS_PROFILE or --profile, --endpoint-url and the clock of this machine",
        )
    if code in _DENIED:
        named = _ACTION.search(message)
        action = named["action"] if named else f"the permission for {error.operation_name}"
        return CliError(
            f"the AWS credentials lack a permission: {failure}",
            hint=f"grant {action} to this user or role, or use another --profile",
        )
    if code in _THROTTLED:
        return CliError(f"AWS throttles: {failure}", hint="wait, then run it again; a lower --parallelism may help")
    if code in _MISSING:
        return CliError(failure, hint="check --stack, --table and --region", exit_code=ExitCode.NOT_FOUND)
    return CliError(failure)


def _hint(error: Any, exceptions: Any) -> str | None:
    hints: tuple[tuple[str, Callable[[], str]], ...] = (
        ("NoCredentialsError", lambda: _CREDENTIALS),
        ("PartialCredentialsError", lambda: _CREDENTIALS),
        ("ProfileNotFound", lambda: "`aws configure list-profiles` lists the profiles of this machine"),
        ("NoRegionError", lambda: "pass --region, or set AWS_REGION"),
        ("InvalidRegionError", lambda: "pass a --region such as eu-central-1"),
        ("CredentialRetrievalError", lambda: _SIGN_IN),
        ("SSOError", lambda: _SIGN_IN),
        ("TokenRetrievalError", lambda: _SIGN_IN),
        ("HTTPClientError", lambda: _endpoint_hint(error)),
        ("ConnectionError", lambda: _endpoint_hint(error)),
    )
    for name, hint in hints:
        kind = getattr(exceptions, name, None)
        if kind is not None and isinstance(error, kind):
            return hint()
    return None


def _endpoint_hint(error: Any) -> str:
    endpoint = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    if _ON_LOOPBACK.match(endpoint):
        return "nothing answers there; for the local cloud: `secretfree local status`, `secretfree local up`"
    return "check the network, --region, and --endpoint-url or AWS_ENDPOINT_URL if one is set"
