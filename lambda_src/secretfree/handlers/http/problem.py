"""The one place that turns an error into an answer: a problem document (RFC 9457) in API Gateway's proxy form."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from secretfree.errors import ErrorCode, Reason, SecretFreeError

PROBLEM_TYPE: Final = "application/problem+json"


def problem(error: BaseException, request_id: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body for `error`; any other exception becomes a bare 500.

    The body has the members and the order of API Gateway's own responses, so that refusals by both have the same
    bytes. Nothing of `detail` or `reason` is in it.
    """
    known = error if isinstance(error, SecretFreeError) else _UNEXPECTED
    headers = {"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store"}
    if known.retry_after is not None:
        headers["Retry-After"] = str(known.retry_after)
    return known.status, headers, problem_body(known.code, request_id)


def problem_body(code: ErrorCode, request_id: str) -> str:
    """The problem document; the title is the status's phrase, as RFC 9457 section 4.2.1 requires for `about:blank`."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(code.status).phrase,
        "status": code.status,
        "code": code.value,
        "requestId": request_id,
    }
    return json.dumps(document, separators=(",", ":"))


def problem_response(error: BaseException, request_id: str) -> dict[str, Any]:
    """`problem` as the answer of a Lambda proxy integration."""
    return proxy_response(*problem(error, request_id))


def json_response(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A JSON answer of a Lambda proxy integration."""
    body = json.dumps(document, separators=(",", ":"))
    return proxy_response(status, {"Content-Type": "application/json", **(headers or {})}, body)


def proxy_response(status: int, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    """The answer of a Lambda proxy integration (API Gateway REST, payload of a text)."""
    return {"statusCode": status, "headers": dict(headers), "body": body, "isBase64Encoded": False}


_UNEXPECTED: Final = SecretFreeError(ErrorCode.INTERNAL, "unexpected", reason=Reason.UNEXPECTED)
