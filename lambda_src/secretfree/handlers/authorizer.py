"""REQUEST authorizer of the provisioning API: may the device that signed this CSR have a certificate?"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.registry import DynamoDbBindings, DynamoDbRegistry
from secretfree.config import AuthorizerConfig
from secretfree.contract import Dimension, LogLevel, Metric
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.claims import Claims, claims_of
from secretfree.handlers.http.request import device_csr, request_ids
from secretfree.registry.authorization import AuthorizedDevice, authorize
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.telemetry import Telemetry


class AuthorizerError(Exception):
    """Raised for API Gateway to answer 500. Its text is fixed, since Lambda logs it."""


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Authorizer(AuthorizerConfig.from_environment(environment))


class _Authorizer:
    """Answers an IAM policy for the very method that was called; raises for 401 and 500."""

    def __init__(self, config: AuthorizerConfig) -> None:
        client = clients.dynamodb()
        self._profile = config.device_profile
        self._match = config.match
        self._registry = DynamoDbRegistry(client, table=config.registry_table, key_index=config.registry_key_index)
        self._bindings = None if config.ledger_table is None else DynamoDbBindings(client, table=config.ledger_table)
        self._telemetry = Telemetry(config.product, level=config.log_level)

    def __call__(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        claims: Claims = {}
        try:
            with self._telemetry.stage("authorize"):
                unverified = UnverifiedCsr.from_header_value(device_csr(event))
                claims = claims_of(unverified, self._profile)
                device = self._authorize(unverified)
            return self._allow(event, device)
        except SecretFreeError as error:
            return self._refuse(event, error, claims)
        except Exception as error:  # noqa: BLE001 - a defect of ours refuses, and leaves no CSR in a traceback
            defect = SecretFreeError(ErrorCode.INTERNAL, type(error).__name__, reason=Reason.UNEXPECTED)
            self._fail(event, defect, claims)
        finally:
            self._telemetry.flush()

    def _authorize(self, unverified: UnverifiedCsr) -> AuthorizedDevice:
        csr = verify(unverified, self._profile)
        return authorize(csr, match=self._match, registry=self._registry, bindings=self._bindings)

    def _allow(self, event: dict[str, Any], device: AuthorizedDevice) -> dict[str, Any]:
        self._telemetry.count(Metric.ALLOWED)
        self._telemetry.log(
            "allowed",
            **request_ids(event),
            device_id=device.device_id,
            key_fingerprint=device.fingerprint,
            csr_digest=device.csr_digest,
        )
        return _policy("Allow", event, principal=device.device_id, context=device.to_context())

    def _refuse(self, event: dict[str, Any], error: SecretFreeError, claims: Claims) -> dict[str, Any]:
        if error.status >= 500:
            self._fail(event, error, claims)
        self._telemetry.count(Metric.DENIED, dimensions={Dimension.REASON: error.reason})
        # A registry record that cannot be read is our own defect, although the device is refused like any other.
        level = LogLevel.ERROR if error.reason is Reason.REGISTRY_RECORD else LogLevel.INFO
        self._log_error("denied", event, error, level, claims)
        if error.code is ErrorCode.MISSING_CSR:
            raise Exception("Unauthorized")  # noqa: TRY002 - exactly what API Gateway answers with 401
        return _policy("Deny", event, principal="refused", context={"code": error.code.value})

    def _fail(self, event: dict[str, Any], error: SecretFreeError, claims: Claims) -> NoReturn:
        self._telemetry.count(Metric.FAILED, dimensions={Dimension.REASON: error.reason})
        self._log_error("failed", event, error, LogLevel.ERROR, claims)
        raise AuthorizerError("the request could not be decided") from None

    def _log_error(
        self, message: str, event: dict[str, Any], error: SecretFreeError, level: LogLevel, claims: Claims
    ) -> None:
        self._telemetry.log(
            message,
            level=level,
            **request_ids(event),
            **claims,
            code=error.code,
            reason=error.reason,
            detail=error.detail,
        )


def _policy(effect: str, event: dict[str, Any], *, principal: str, context: dict[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }


handler: Final = lambda_handler(build)
