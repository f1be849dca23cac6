"""What the authorizer and the issuers both read from API Gateway's event (REST, REQUEST authorizer and proxy)."""

from collections.abc import Mapping
from typing import Any, Final, NotRequired, TypedDict

from secretfree.errors import ErrorCode, Reason, SecretFreeError, malformed

CSR_HEADER: Final = "device-csr"


def header_values(event: Mapping[str, Any], name: str) -> list[str]:
    """All values of a header, its name in any letter case.

    `multiValueHeaders` alone has them all; `headers` keeps the last, behind which another could hide.
    """
    headers = event.get("multiValueHeaders") or {}
    return [value for key, values in headers.items() if key.lower() == name for value in values or []]


def device_csr(event: Mapping[str, Any]) -> str:
    """The one value of `device-csr`; raises SecretFreeError (`missing-csr`, or `malformed-request` for several)."""
    values = header_values(event, CSR_HEADER)
    if not values:
        raise SecretFreeError(ErrorCode.MISSING_CSR, f"no header {CSR_HEADER}", reason=Reason.MISSING_HEADER)
    if len(values) > 1:
        raise malformed(f"{len(values)} headers {CSR_HEADER}: accepted is one", reason=Reason.MULTIPLE_HEADERS)
    return values[0]


def request_id(event: Mapping[str, Any]) -> str:
    """The id in the device's answer (`$context.requestId`); empty if the event has none."""
    return str((event.get("requestContext") or {}).get("requestId") or "")


class RequestIds(TypedDict):
    """The log fields by which a request is found."""

    request_id: str
    extended_request_id: NotRequired[str | None]


def request_ids(event: Mapping[str, Any]) -> RequestIds:
    """The request's own, from API Gateway's event.

    A caller can set the request id, API Gateway alone the extended one (REST API's `$context` variables): where two
    requests have one id, the second tells them apart, and leads to the access log.
    """
    extended = (event.get("requestContext") or {}).get("extendedRequestId")
    return {"request_id": request_id(event), "extended_request_id": None if extended is None else str(extended)}
