"""The issuers' Lambda, behind the authorizer: parse, issue, answer. SECRETFREE_ISSUER says through which issuer."""

import os
from typing import Any, Final

from secretfree.clock import SystemClock
from secretfree.config import IssuerConfig
from secretfree.handlers import reports, wiring
from secretfree.handlers.http import answers
from secretfree.handlers.http.request import device_csr, header_values, request_id, request_ids
from secretfree.issuance.model import IssuanceAnswer
from secretfree.issuance.pipeline import issue
from secretfree.issuance.recent_askers import RecentAskers
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.telemetry import Telemetry

_config: Final = IssuerConfig.from_environment(os.environ)
_policy: Final = wiring.policy(_config, _config.issuer)
_clock: Final = SystemClock()
_askers: Final = RecentAskers()
_telemetry: Final = Telemetry(_config.product, _config.issuer.value, level=_config.log_level)
_ports: Final = wiring.ports(_config, _config.issuer, stage=_telemetry.stage)

# Seconds. API Gateway gives up at 29; the last call begun may take its whole read time-out after the budget.
_BUDGET: Final = 20.0
_MARGIN: Final = 6.0


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer the device: 200 with its certificate, 202 while it is not ready, a problem document otherwise."""
    try:
        with _telemetry.stage("issue"):
            outcome = _issue(event, remaining=context.get_remaining_time_in_millis() / 1000)
        reports.outcome(_telemetry, outcome, ids=request_ids(event))
        return answers.for_outcome(
            outcome,
            endpoint=_config.iot_endpoint,
            accepted=header_values(event, "accept"),
            request_id=request_id(event),
        )
    except Exception as error:  # noqa: BLE001 - whatever fails, the device gets a problem document and no traceback
        reports.failure(_telemetry, error, ids=request_ids(event))
        return answers.for_error(error, request_id=request_id(event))
    finally:
        _telemetry.flush()


def _issue(event: dict[str, Any], *, remaining: float) -> IssuanceAnswer:
    device = AuthorizedDevice.from_context(event["requestContext"].get("authorizer") or {})
    _askers.admit(device.device_id, _clock.now())
    csr = verify(UnverifiedCsr.from_header_value(device_csr(event)), _config.device_profile)
    deadline = _clock.monotonic() + min(_BUDGET, remaining - _MARGIN)
    return issue(device, csr, ports=_ports, policy=_policy, clock=_clock, deadline=deadline)
