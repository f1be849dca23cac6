"""Handles requests with a CSR as the body: applies the authorizer's rules and invokes an issuer.

API Gateway passes no body to an authorizer, so each function that accepts a body decides itself, with this code.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from secretfree.adapters import single_try_clients
from secretfree.adapters.issuer_functions import IssuerFunctions
from secretfree.config.csr_front import CsrFrontConfig
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers import reports
from secretfree.handlers.decision import Allowed, Decision
from secretfree.handlers.http.problem import problem_response
from secretfree.handlers.http.request import CSR_HEADER, body_csr, request_id, request_ids
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr
from secretfree.telemetry import Telemetry


class CsrBodies:
    """Answers a request as the issuer answers the same CSR in the header."""

    def __init__(self, config: CsrFrontConfig, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._decide = Decision(config.authorizer, telemetry)
        self._retry_after = config.retry_after
        self._issuers = IssuerFunctions(
            single_try_clients.functions(), config.issuer_functions, retry_after=config.retry_after
        )

    def answer(
        self,
        event: dict[str, Any],
        *,
        path: str,
        accepted: Sequence[str],
        also: Callable[[AuthorizedDevice], None] | None = None,
    ) -> dict[str, Any]:
        """Return the answer of the issuer at `path`, or the refusal.

        `accepted`: the values of `Accept` for the issuer. `also`: see `Decision`.
        """
        try:
            allowed = self._decide(lambda: UnverifiedCsr.from_body(body_csr(event)), request_ids(event), also=also)
        except SecretFreeError as error:
            return problem_response(self._as_the_authorizer(error), request_id(event))
        finally:
            self._telemetry.flush()
        try:
            return self._issuers.invoke(path, _with_header(event, allowed, accepted))
        except SecretFreeError as error:
            reports.failure(self._telemetry, error, ids=request_ids(event), device=allowed.device)
            return problem_response(error, request_id(event))
        finally:
            self._telemetry.flush()

    def _as_the_authorizer(self, error: SecretFreeError) -> SecretFreeError:
        """API Gateway answers 503 where the authorizer could not decide, whatever the cause: see `DEFAULT_5XX`."""
        if error.status < 500:
            return error
        return SecretFreeError(ErrorCode.UNAVAILABLE, error.detail, reason=error.reason, retry_after=self._retry_after)


def _with_header(event: Mapping[str, Any], allowed: Allowed, accepted: Sequence[str]) -> dict[str, Any]:
    """The proxy event of the same request with its CSR in the header, as it would be after the authorizer."""
    context = {name: event["requestContext"].get(name) for name in ("requestId", "extendedRequestId")}
    headers = {CSR_HEADER: [base64.b64encode(allowed.csr.der).decode("ascii")], "accept": list(accepted)}
    return {
        "httpMethod": "POST",
        "multiValueHeaders": headers,
        "requestContext": {**context, "authorizer": allowed.device.to_context()},
    }
