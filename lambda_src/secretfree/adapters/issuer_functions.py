"""Invokes the issuers' Lambda functions for requests that API Gateway does not route to them."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from secretfree.adapters.aws_errors import THROTTLES
from secretfree.errors import ErrorCode, Reason, SecretFreeError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_PARTS: Final = {"statusCode": int, "headers": dict, "body": str}


class IssuerFunctions:
    """Invokes issuers by their path, each a function that answers API Gateway's proxy events."""

    def __init__(self, client: "LambdaClient", functions: Mapping[str, str], *, retry_after: int) -> None:
        self._client = client
        self._functions = functions
        self._retry_after = retry_after

    def invoke(self, path: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the issuer at `path` to a proxy event.

        The function is invoked once. Without an answer, it may still be running. The device can safely repeat its
        request. Raises SecretFreeError: `unavailable` without an answer, `internal` if the function fails or returns
        another form.
        """
        try:
            answer = self._client.invoke(FunctionName=self._functions[path], Payload=json.dumps(event).encode())
            payload = answer["Payload"].read()
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            reason = Reason.THROTTLED if code in THROTTLES else Reason.UPSTREAM_REFUSED
            raise self._failure(ErrorCode.UNAVAILABLE, f"Invoke: {code}", reason) from None
        except BotoCoreError as error:
            detail = f"Invoke: {type(error).__name__}"
            raise self._failure(ErrorCode.UNAVAILABLE, detail, Reason.UPSTREAM_UNAVAILABLE) from None
        if answer.get("FunctionError"):
            raise self._failure(ErrorCode.INTERNAL, "the issuer's function failed", Reason.UNEXPECTED)
        return self._proxy_answer(payload)

    def _proxy_answer(self, payload: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(payload)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not all(isinstance(answer.get(name), kind) for name, kind in _PARTS.items()):
            raise self._failure(ErrorCode.INTERNAL, "an answer of another form", Reason.UNEXPECTED)
        return answer

    def _failure(self, code: ErrorCode, detail: str, reason: Reason) -> SecretFreeError:
        return SecretFreeError(code, detail, reason=reason, retry_after=self._retry_after)
