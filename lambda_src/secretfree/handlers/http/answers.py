"""The issuers' answers on the wire (docs/reference/wire-contract.md): certificate, not ready, problem document."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers.http.problem import json_response, problem_response, proxy_response
from secretfree.issuance.model import IssuanceAnswer, NotReady

PEM_TYPE: Final = "application/x-pem-file"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_NO_WEIGHT: Final = frozenset({"q=0", "q=0.", "q=0.0", "q=0.00", "q=0.000"})


def for_outcome(outcome: IssuanceAnswer, *, endpoint: str, accepted: Sequence[str], request_id: str) -> dict[str, Any]:
    """200 with the certificate, as JSON or as the leaf's PEM alone, or 202. `accepted`: the values of `Accept`."""
    if isinstance(outcome, NotReady):
        return problem_response(
            SecretFreeError(ErrorCode.NOT_READY, "not ready", reason=outcome.reason, retry_after=outcome.retry_after),
            request_id,
        )
    if _wants_pem(accepted):
        return proxy_response(200, {"Content-Type": PEM_TYPE, **_NO_STORE}, outcome.certificate_pem)
    document = {
        "certificate": outcome.certificate_pem,
        "certificateChain": outcome.chain_pem,
        "endpoint": endpoint,
        "thingName": outcome.thing_name,
        "certificateId": outcome.certificate_id,
        "notAfter": _rfc3339(outcome.not_after),
        "renewAfter": _rfc3339(outcome.renew_after),
    }
    return json_response(200, {name: value for name, value in document.items() if value is not None}, _NO_STORE)


def for_error(error: Exception, *, request_id: str) -> dict[str, Any]:
    """A problem document; behind the authorizer, a missing or changed header is the client's error (400)."""
    if isinstance(error, SecretFreeError) and error.code in {ErrorCode.MISSING_CSR, ErrorCode.MALFORMED_REQUEST}:
        error = SecretFreeError(ErrorCode.INVALID_REQUEST, error.detail, reason=error.reason)
    return problem_response(error, request_id)


def _wants_pem(accepted: Sequence[str]) -> bool:
    """Whether `Accept` names the PEM (RFC 9110 section 12.5.1). A wildcard gets JSON; weight 0 excludes the PEM."""
    ranges = (part.lower().replace(" ", "").split(";") for value in accepted for part in value.split(","))
    return any(name == PEM_TYPE and not _NO_WEIGHT.intersection(parameters) for name, *parameters in ranges)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
