"""Maps AWS's errors to those of the ports: throttled, unanswered or refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError

# A conflict with another write in DynamoDB ends in milliseconds. Like a throttled call, the call had no effect and soon
# succeeds. Private CA's ThrottlingException is not in its service model, so the code compares error codes.
# LimitExceededException is absent: a quota of existing resources is used up, and waiting does not help.
THROTTLES: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceededException",
        "SlowDown",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ReplicatedWriteConflictException",
    }
)
_NEVER_SENT: Final = (NoCredentialsError, NoRegionError, ParamValidationError, PartialCredentialsError)
_CALLERS_FAULTS: Final = frozenset({"InvalidRequestException", "InvalidArgsException", "MalformedCSRException"})


@contextmanager
def aws_call() -> Iterator[None]:
    """Translate the errors of one AWS call into ThrottledError, UnreachableError or SecretFreeError."""
    try:
        yield
    except ClientError as error:
        raise _translated(error) from error
    except _NEVER_SENT as error:
        detail = f"a call was not sent: {type(error).__name__}"
        raise SecretFreeError(ErrorCode.INTERNAL, detail, reason=Reason.CONFIGURATION) from error
    except BotoCoreError as error:
        raise UnreachableError(type(error).__name__) from error


def error_code(error: ClientError) -> str:
    """The error's code, as the service names it."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _translated(error: ClientError) -> Exception:
    code = error_code(error)
    detail = f"{error.operation_name}: {code}"
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in THROTTLES or status == 429:
        return ThrottledError(f"{detail}; the account's quota of {error.operation_name} calls a second is used up")
    if status >= 500:
        return UnreachableError(detail)
    if code in _CALLERS_FAULTS:
        return SecretFreeError(ErrorCode.INVALID_REQUEST, detail, reason=Reason.UPSTREAM_REFUSED)
    return SecretFreeError(ErrorCode.INTERNAL, detail, reason=Reason.UPSTREAM_REFUSED)
