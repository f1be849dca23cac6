"""The certificate provider of fleet provisioning: signs the CSR of CreateCertificateFromCsr by the rules of the API."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from secretfree import clock as time
from secretfree.config.authorizer import AuthorizerConfig
from secretfree.config.issuer import IssuerConfig
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers import reports, wiring
from secretfree.handlers.decision import Decision
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.request import RequestIds
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.pipeline import sign
from secretfree.request.csr import UnverifiedCsr
from secretfree.telemetry import Telemetry


class ProviderError(Exception):
    """Makes AWS IoT Core refuse the device. The text is fixed, because Lambda logs it."""

    def __init__(self) -> None:
        super().__init__("no certificate for this request")


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Provider(AuthorizerConfig.from_environment(environment), IssuerConfig.from_environment(environment))


class _Provider:
    """Returns `certificatePem`; raises without one. The claim certificate grants nothing here."""

    def __init__(self, authorizer: AuthorizerConfig, config: IssuerConfig) -> None:
        self._deciding = Telemetry(config.product, level=config.log_level)
        self._issuing = Telemetry(config.product, config.issuer.name, level=config.log_level)
        self._decide = Decision(authorizer, self._deciding)
        self._ports = wiring.ports(
            config,
            config.issuer,
            stage=self._issuing.stage,
            calls=self._issuing.call,
            tickets_failed=partial(reports.tickets_failure, self._issuing),
        )
        self._policy = wiring.policy(config, config.issuer)
        self._clock = time.SystemClock()

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        ids: RequestIds = {"request_id": str(context.aws_request_id)}
        try:
            return {"certificatePem": self._signed(event, ids, context.get_remaining_time_in_millis() / 1000)}
        finally:
            self._deciding.flush()
            self._issuing.flush()

    def _signed(self, event: Mapping[str, Any], ids: RequestIds, remaining: float) -> str:
        try:
            allowed = self._decide(lambda: UnverifiedCsr.from_body(_csr(event)), ids)
        except SecretFreeError:  # counted and logged
            raise ProviderError from None
        try:
            answer = sign(
                allowed.device,
                allowed.csr,
                ports=self._ports,
                policy=self._policy,
                clock=self._clock,
                deadline=wiring.deadline(self._clock, remaining),
            )
        except Exception as error:  # noqa: BLE001 - nothing of the request may reach a traceback
            reports.failure(self._issuing, error, ids=ids, device=allowed.device)
            raise ProviderError from None
        reports.outcome(self._issuing, answer, ids=ids, device=allowed.device)
        if not isinstance(answer, IssuedCertificate):
            raise ProviderError
        return answer.certificate_pem


def _csr(event: Mapping[str, Any]) -> bytes:
    csr = event.get("certificateSigningRequest")
    if not isinstance(csr, str) or not csr:
        raise SecretFreeError(ErrorCode.MISSING_CSR, "no certificateSigningRequest", reason=Reason.MISSING_BODY)
    return csr.encode("utf-8", "surrogatepass")


handler: Final = lambda_handler(build)
