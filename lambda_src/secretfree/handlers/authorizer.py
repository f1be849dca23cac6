"""REQUEST authorizer of the provisioning API: may whoever posts this CSR have a certificate?"""

import os
from typing import Any, Final, NoReturn

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.registry import DynamoDbBindings, DynamoDbRegistry
from secretfree.config import AuthorizerConfig
from secretfree.contract import Dimension, LogLevel, Metric
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers.http.request import device_csr, request_ids
from secretfree.registry.authorization import AuthorizedDevice, authorize
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.telemetry import Telemetry

_config: Final = AuthorizerConfig.from_environment(os.environ)
_registry: Final = DynamoDbRegistry(
    clients.dynamodb(), table=_config.registry_table, key_index=_config.registry_key_index
)
_bindings: Final = (
    None if _config.ledger_table is None else DynamoDbBindings(clients.dynamodb(), table=_config.ledger_table)
)
_telemetry: Final = Telemetry(_config.product, level=_config.log_level)


class AuthorizerError(Exception):
    """Raised for API Gateway to answer 500. Its text is fixed, since Lambda logs it."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer an IAM policy for the very method that was called; raise for 401 and 500."""
    try:
        with _telemetry.stage("authorize"):
            device = _authorize(event)
        return _allow(event, device)
    except SecretFreeError as error:
        return _refuse(event, error)
    except Exception as error:  # noqa: BLE001 - a defect of ours must close the door, and leave no CSR in a traceback
        _fail(event, SecretFreeError(ErrorCode.INTERNAL, type(error).__name__, reason=Reason.UNEXPECTED))
    finally:
        _telemetry.flush()


def _authorize(event: dict[str, Any]) -> AuthorizedDevice:
    csr = verify(UnverifiedCsr.from_header_value(device_csr(event)), _config.device_profile)
    return authorize(csr, match=_config.match, registry=_registry, bindings=_bindings)


def _allow(event: dict[str, Any], device: AuthorizedDevice) -> dict[str, Any]:
    _telemetry.count(Metric.ALLOWED)
    _telemetry.log(
        "allowed",
        **request_ids(event),
        device_id=device.device_id,
        key_fingerprint=device.fingerprint,
        csr_digest=device.csr_digest,
    )
    return _policy("Allow", event, principal=device.device_id, context=device.to_context())


def _refuse(event: dict[str, Any], error: SecretFreeError) -> dict[str, Any]:
    if error.status >= 500:
        _fail(event, error)
    _telemetry.count(Metric.DENIED, dimensions={Dimension.REASON: error.reason})
    # A record of the registry that cannot be read is our own defect, though the device is refused like any other.
    level = LogLevel.ERROR if error.reason is Reason.REGISTRY_RECORD else LogLevel.INFO
    _log_error("denied", event, error, level)
    if error.code is ErrorCode.MISSING_CSR:
        raise Exception("Unauthorized")  # noqa: TRY002 - exactly what API Gateway answers with 401
    return _policy("Deny", event, principal="refused", context={"code": error.code.value})


def _fail(event: dict[str, Any], error: SecretFreeError) -> NoReturn:
    _telemetry.count(Metric.FAILED, dimensions={Dimension.REASON: error.reason})
    _log_error("failed", event, error, LogLevel.ERROR)
    raise AuthorizerError("the request could not be decided") from None


def _log_error(message: str, event: dict[str, Any], error: SecretFreeError, level: LogLevel) -> None:
    _telemetry.log(
        message,
        level=level,
        **request_ids(event),
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
