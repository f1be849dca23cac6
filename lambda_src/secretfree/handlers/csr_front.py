"""Takes a CSR as the body: decides by the authorizer's rules, then has the issuer answer. It issues nothing."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from secretfree.adapters import single_try_clients
from secretfree.adapters.issuer_functions import IssuerFunctions
from secretfree.config import CsrFrontConfig
from secretfree.contract import CSR_BODY_SEGMENT
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers import reports
from secretfree.handlers.decision import Allowed, Decision
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.problem import problem_response
from secretfree.handlers.http.request import CSR_HEADER, body_csr, header_values, request_id, request_ids
from secretfree.request.csr import UnverifiedCsr
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _CsrFront(CsrFrontConfig.from_environment(environment))


class _CsrFront:
    """Answers `POST /{issuer}/csr` as the issuer answers `POST /{issuer}` with the same CSR in the header."""

    def __init__(self, config: CsrFrontConfig) -> None:
        self._telemetry = Telemetry(config.authorizer.product, level=config.authorizer.log_level)
        self._decide = Decision(config.authorizer, self._telemetry)
        self._retry_after = config.retry_after
        self._issuers = IssuerFunctions(
            single_try_clients.functions(), config.issuer_functions, retry_after=config.retry_after
        )

    def __call__(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        try:
            allowed = self._decide(lambda: UnverifiedCsr.from_body(body_csr(event)), request_ids(event))
        except SecretFreeError as error:
            return problem_response(self._as_the_authorizer(error), request_id(event))
        finally:
            self._telemetry.flush()
        try:
            return self._issuers.invoke(_issuer_path(event), _with_header(event, allowed))
        except SecretFreeError as error:
            reports.failure(self._telemetry, error, ids=request_ids(event), device=allowed.device)
            return problem_response(error, request_id(event))
        finally:
            self._telemetry.flush()

    def _as_the_authorizer(self, error: SecretFreeError) -> SecretFreeError:
        """API Gateway answers 500 where the authorizer could not decide, whatever the cause."""
        if error.status < 500:
            return error
        return SecretFreeError(ErrorCode.INTERNAL, error.detail, reason=error.reason, retry_after=self._retry_after)


def _issuer_path(event: Mapping[str, Any]) -> str:
    """The issuer's path: `new` of the resource `/new/csr`."""
    return str(event["resource"]).removesuffix(f"/{CSR_BODY_SEGMENT}").strip("/")


def _with_header(event: Mapping[str, Any], allowed: Allowed) -> dict[str, Any]:
    """The proxy event of the same request with its CSR in the header, as the authorizer would have let it through."""
    context = {name: event["requestContext"].get(name) for name in ("requestId", "extendedRequestId")}
    headers = {
        CSR_HEADER: [base64.b64encode(allowed.csr.der).decode("ascii")],
        "accept": header_values(event, "accept"),
    }
    return {
        "httpMethod": "POST",
        "multiValueHeaders": headers,
        "requestContext": {**context, "authorizer": allowed.device.to_context()},
    }


handler: Final = lambda_handler(build)
