"""The pre-provisioning hook of fleet provisioning: allows certificates that were issued to an enrolled device."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import FLEET_THING_NAME
from secretfree.errors import Reason, malformed, not_authorized
from secretfree.handlers import reports
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.request import RequestIds
from secretfree.issuance.fleet import PresentedCertificate, permit
from secretfree.telemetry import Telemetry

_DENIED: Final = {"allowProvisioning": False}


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Hook(IssuerConfig.from_environment(environment))


class _Hook:
    """Returns `allowProvisioning` and, if it is true, the thing's name. Every failure denies."""

    def __init__(self, config: IssuerConfig) -> None:
        self._issuer = config.issuer.name
        self._match = config.match
        self._telemetry = Telemetry(config.product, self._issuer, level=config.log_level)
        self._registry = DynamoDbRegistry(clients.dynamodb(), table=config.registry_table)
        self._ledger = DynamoDbLedger(clients.dynamodb(), table=config.ledger_table)
        self._clock = time.SystemClock()

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        ids: RequestIds = {"request_id": str(context.aws_request_id)}
        try:
            presented = _presented(event)
            permit(
                presented,
                issuer=self._issuer,
                match=self._match,
                registry=self._registry,
                ledger=self._ledger,
                clock=self._clock,
            )
        except Exception as error:  # noqa: BLE001 - what is not known denies as well
            reports.failure(self._telemetry, error, ids=ids)
            return dict(_DENIED)
        finally:
            self._telemetry.flush()
        self._telemetry.log(
            "provisioning allowed",
            **ids,
            device_id=presented.device_id,
            certificate_id=presented.certificate_id,
            key_fingerprint=presented.fingerprint,
        )
        return {"allowProvisioning": True, "parameterOverrides": {FLEET_THING_NAME: str(presented.device_id)}}


def _presented(event: Mapping[str, Any]) -> PresentedCertificate:
    """The certificate's own content, if the rest of the event agrees with it; raises SecretFreeError."""
    presented = PresentedCertificate.from_pem(event.get("certificatePem"))
    if event.get("certificateId") != presented.certificate_id:
        raise malformed("certificateId is not that of certificatePem", reason=Reason.CLIENT_CERTIFICATE)
    parameters = event.get("parameters") or {}
    if parameters.get(FLEET_THING_NAME, presented.device_id) != presented.device_id:
        raise not_authorized("the thing's name is not the certificate's common name", reason=Reason.DEVICE_ID)
    return presented


handler: Final = lambda_handler(build)
