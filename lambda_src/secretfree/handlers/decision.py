"""Decides whether the device that signed a CSR may get a certificate; counts and logs the decision."""

from collections.abc import Callable
from dataclasses import dataclass

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.registry import DynamoDbBindings, DynamoDbRegistry
from secretfree.config.authorizer import AuthorizerConfig
from secretfree.contract import Dimension, LogLevel, Metric
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers.http.claims import Claims, claims_of
from secretfree.handlers.http.request import RequestIds
from secretfree.registry.authorization import AuthorizedDevice, authorize
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Allowed:
    """A request that may get a certificate, and its device."""

    device: AuthorizedDevice
    csr: VerifiedCsr


class Decision:
    """Decides about one request at a time, by the rules of the product line. Every function that takes CSRs uses it."""

    def __init__(self, config: AuthorizerConfig, telemetry: Telemetry) -> None:
        client = clients.dynamodb()
        self._profile = config.device_profile
        self._match = config.match
        self._registry = DynamoDbRegistry(client, table=config.registry_table, key_index=config.registry_key_index)
        self._bindings = None if config.ledger_table is None else DynamoDbBindings(client, table=config.ledger_table)
        self._telemetry = telemetry

    def __call__(
        self,
        read: Callable[[], UnverifiedCsr],
        ids: RequestIds,
        *,
        also: Callable[[AuthorizedDevice], None] | None = None,
    ) -> Allowed:
        """Judge the request that `read` returns.

        `ids`: the log fields that identify the request. `also` raises SecretFreeError to refuse a device that the
        registry allows. Raises SecretFreeError, counted and logged, and nothing else: an unexpected error is
        `internal`, and leaves no CSR in a traceback.
        """
        claims: Claims = {}
        try:
            with self._telemetry.stage("authorize"):
                unverified = read()
                claims = claims_of(unverified, self._profile)
                csr = verify(unverified, self._profile)
                device = authorize(csr, match=self._match, registry=self._registry, bindings=self._bindings)
                if also is not None:
                    also(device)
        except SecretFreeError as error:
            self._report(error, ids, claims)
            raise
        except Exception as error:  # noqa: BLE001 - see above
            defect = SecretFreeError(ErrorCode.INTERNAL, type(error).__name__, reason=Reason.UNEXPECTED)
            self._report(defect, ids, claims)
            raise defect from None
        self._telemetry.count(Metric.ALLOWED)
        self._telemetry.log(
            "allowed",
            **ids,
            device_id=device.device_id,
            key_fingerprint=device.fingerprint,
            csr_digest=device.csr_digest,
        )
        return Allowed(device, csr)

    def _report(self, error: SecretFreeError, ids: RequestIds, claims: Claims) -> None:
        failed = error.status >= 500
        self._telemetry.count(Metric.FAILED if failed else Metric.DENIED, dimensions={Dimension.REASON: error.reason})
        # The device gets the usual refusal, but an unreadable registry record is a fault of the service.
        is_ours = failed or error.reason is Reason.REGISTRY_RECORD
        self._telemetry.log(
            "failed" if failed else "denied",
            level=LogLevel.ERROR if is_ours else LogLevel.INFO,
            **ids,
            **claims,
            code=error.code,
            reason=error.reason,
            detail=error.detail,
        )
