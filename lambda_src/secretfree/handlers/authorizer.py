"""REQUEST authorizer of the provisioning API: decides whether the device that signed the CSR may get a certificate."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree.config.authorizer import AuthorizerConfig
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers.decision import Decision
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.request import device_csr, request_ids
from secretfree.request.csr import UnverifiedCsr
from secretfree.telemetry import Telemetry


class AuthorizerError(Exception):
    """Raised for API Gateway to answer 503, its `DEFAULT_5XX`. The text is fixed, because Lambda logs it."""


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Authorizer(AuthorizerConfig.from_environment(environment))


class _Authorizer:
    """Answers an IAM policy for the very method that was called; raises for 401 and 503."""

    def __init__(self, config: AuthorizerConfig) -> None:
        self._telemetry = Telemetry(config.product, level=config.log_level)
        self._decide = Decision(config, self._telemetry)

    def __call__(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        try:
            allowed = self._decide(lambda: UnverifiedCsr.from_header_value(device_csr(event)), request_ids(event))
        except SecretFreeError as error:
            return _refusal(event, error)
        finally:
            self._telemetry.flush()
        return _policy("Allow", event, principal=allowed.device.device_id, context=allowed.device.to_context())


def _refusal(event: dict[str, Any], error: SecretFreeError) -> dict[str, Any]:
    if error.status >= 500:
        raise AuthorizerError("the request could not be decided") from None
    if error.code is ErrorCode.MISSING_CSR:
        raise Exception("Unauthorized") from None  # noqa: TRY002 - exactly what API Gateway answers with 401
    return _policy("Deny", event, principal="refused", context={"code": error.code.value})


def _policy(effect: str, event: dict[str, Any], *, principal: str, context: dict[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }


handler: Final = lambda_handler(build)
