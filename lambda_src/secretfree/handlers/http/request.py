"""What the authorizer and the issuers both read from API Gateway's event (REST, REQUEST authorizer and proxy)."""

import base64
from collections.abc import Mapping
from typing import Any, Final, NotRequired, TypedDict

from secretfree.errors import ErrorCode, Reason, SecretFreeError, malformed

CSR_HEADER: Final = "device-csr"
CSR_TYPES: Final = ("application/pkcs10", "application/x-pem-file")
"""Media types of a body that is a CSR: RFC 5967, and what the header `Accept` calls PEM."""


def header_values(event: Mapping[str, Any], name: str) -> list[str]:
    """All values of a header, its name in any letter case.

    Only `multiValueHeaders` has all of them. `headers` has only the last, so another value could pass unseen.
    """
    headers = event.get("multiValueHeaders") or {}
    return [value for key, values in headers.items() if key.lower() == name for value in values or []]


def device_csr(event: Mapping[str, Any]) -> str:
    """The one value of `device-csr`; raises SecretFreeError (`missing-csr`, or `malformed-request` for several)."""
    values = header_values(event, CSR_HEADER)
    if not values:
        raise SecretFreeError(ErrorCode.MISSING_CSR, f"no header {CSR_HEADER}", reason=Reason.MISSING_HEADER)
    if len(values) > 1:
        raise malformed(f"{len(values)} headers {CSR_HEADER}; accepted: one", reason=Reason.MULTIPLE_HEADERS)
    return values[0]


def body_csr(event: Mapping[str, Any]) -> bytes:
    """The request's body, of one of `CSR_TYPES`, of a request without a header `device-csr`.

    API Gateway passes a body on as text, or in base64 if its type is one of the API's binary types. Raises
    SecretFreeError: `missing-csr` for an empty body, `malformed-request` for another type and for both forms at once.
    """
    if header_values(event, CSR_HEADER):
        raise malformed(f"a header {CSR_HEADER} and a body; accepted: one", reason=Reason.HEADER_AND_BODY)
    body = _body(event)
    if not body:
        raise SecretFreeError(ErrorCode.MISSING_CSR, "no body", reason=Reason.MISSING_BODY)
    types = [value.partition(";")[0].strip().lower() for value in header_values(event, "content-type")]
    if len(types) != 1 or types[0] not in CSR_TYPES:
        raise malformed(f"not one Content-Type of {', '.join(CSR_TYPES)}", reason=Reason.CONTENT_TYPE)
    return body


def _body(event: Mapping[str, Any]) -> bytes:
    body = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        raise malformed("a body that is not in base64, as its event says", reason=Reason.NOT_BASE64) from None


def client_certificate(event: Mapping[str, Any]) -> str | None:
    """PEM of the client certificate that API Gateway verified, at a domain with mutual TLS; None without one.

    API Gateway itself writes this value. Headers are ignored, because a client can send any header.
    """
    identity = (event.get("requestContext") or {}).get("identity") or {}
    return str((identity.get("clientCert") or {}).get("clientCertPem") or "") or None


def domain_name(event: Mapping[str, Any]) -> str:
    """The domain name that the request came through, in lower case, as API Gateway writes it; empty if unknown."""
    return str((event.get("requestContext") or {}).get("domainName") or "").lower()


def request_id(event: Mapping[str, Any]) -> str:
    """The id in the device's answer (`$context.requestId`); empty if the event has none."""
    return str((event.get("requestContext") or {}).get("requestId") or "")


class RequestIds(TypedDict):
    """The log fields that identify a request."""

    request_id: str
    extended_request_id: NotRequired[str | None]


def request_ids(event: Mapping[str, Any]) -> RequestIds:
    """The ids of the request, from API Gateway's event.

    A caller can set the request id, but not the extended one (REST API's `$context` variables). If two requests have
    the same request id, the extended id distinguishes them and finds the line of the access log.
    """
    extended = (event.get("requestContext") or {}).get("extendedRequestId")
    return {"request_id": request_id(event), "extended_request_id": None if extended is None else str(extended)}
