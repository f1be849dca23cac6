"""The shell of every HTTP handler that answers a device with its certificate: parse, call, report, map."""

from collections.abc import Callable
from typing import Any, TypeAlias

from secretfree.clock import Clock
from secretfree.handlers import reports
from secretfree.handlers.http import answers
from secretfree.handlers.http.request import device_csr, header_values, request_id, request_ids
from secretfree.issuance.model import IssuanceAnswer
from secretfree.issuance.recent_answers import RecentAnswers
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_profile import DeviceProfile
from secretfree.telemetry import Telemetry

Answering: TypeAlias = Callable[[AuthorizedDevice, VerifiedCsr, float], IssuanceAnswer]
"""The work of an endpoint for an authorized device; the third argument is the invocation's remaining seconds."""


class IssuingEndpoint:
    """A handler behind the authorizer. The answer is 200 with the certificate, 202, or a problem document.

    `stage` names the measured time. `iot_endpoint` is where the device connects with its certificate.
    """

    def __init__(
        self,
        answer: Answering,
        *,
        stage: str,
        profile: DeviceProfile,
        iot_endpoint: str,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._answer = answer
        self._stage = stage
        self._profile = profile
        self._iot_endpoint = iot_endpoint
        self._telemetry = telemetry
        self._clock = clock
        self._recent = RecentAnswers()

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Handle one event of API Gateway's proxy integration."""
        device: AuthorizedDevice | None = None
        try:
            device = AuthorizedDevice.from_context(event["requestContext"].get("authorizer") or {})
            with self._telemetry.stage(self._stage):
                answer = self._answered(event, device, context)
            reports.outcome(self._telemetry, answer, ids=request_ids(event), device=device)
            return answers.for_outcome(
                answer,
                endpoint=self._iot_endpoint,
                accepted=header_values(event, "accept"),
                request_id=request_id(event),
            )
        except Exception as error:  # noqa: BLE001 - whatever fails, the device gets a problem document, no traceback
            reports.failure(self._telemetry, error, ids=request_ids(event), device=device)
            return answers.for_error(error, request_id=request_id(event))
        finally:
            self._telemetry.flush()

    def _answered(self, event: dict[str, Any], device: AuthorizedDevice, context: Any) -> IssuanceAnswer:
        asker = device.device_id, device.fingerprint
        again = self._recent.admit(asker, self._clock.now())
        if again is not None:
            return again
        answer: IssuanceAnswer | None = None
        try:
            csr = verify(UnverifiedCsr.from_header_value(device_csr(event)), self._profile)
            answer = self._answer(device, csr, context.get_remaining_time_in_millis() / 1000)
        finally:
            self._recent.keep(asker, answer)
        return answer
