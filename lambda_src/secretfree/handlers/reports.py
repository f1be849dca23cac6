"""The metrics and log lines of the issuing Lambdas, for each outcome or failure."""

from typing import TypedDict

from secretfree.contract import LogLevel, Metric
from secretfree.errors import SecretFreeError
from secretfree.handlers.http.request import RequestIds
from secretfree.issuance.model import IssuanceAnswer, NotReady
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.telemetry import Telemetry


class DeviceFields(TypedDict, total=False):
    """The log fields of a device that the authorizer allowed."""

    device_id: str
    key_fingerprint: str


def outcome(telemetry: Telemetry, outcome: IssuanceAnswer, *, ids: RequestIds, device: AuthorizedDevice) -> None:
    """A certificate, new or repeated, or none yet. `ids`: the log fields that identify the request."""
    if isinstance(outcome, NotReady):
        telemetry.count(Metric.PENDING)
        telemetry.log(
            "not ready",
            **ids,
            **_device_fields(device),
            reason=outcome.reason,
            detail=outcome.detail,
            retry_after=outcome.retry_after,
        )
        return
    instead_of = outcome.instead_of
    if isinstance(instead_of, Exception):  # The device gets its certificate. The failed renewal is reported.
        failure(telemetry, instead_of, ids=ids, device=device)
    telemetry.count(Metric.REUSED if outcome.reused else Metric.ISSUED)
    telemetry.log(
        "answered again" if outcome.reused else "issued",
        **ids,
        device_id=outcome.thing_name,
        key_fingerprint=device.fingerprint,
        certificate_id=outcome.certificate_id,
        reason=instead_of.reason if isinstance(instead_of, NotReady) else None,
        detail=instead_of.detail if isinstance(instead_of, NotReady) else None,
    )


def failure(telemetry: Telemetry, error: Exception, *, ids: RequestIds, device: AuthorizedDevice | None = None) -> None:
    """A known refusal, or an unexpected error. `device`: the device that the authorizer allowed, if known."""
    known = error if isinstance(error, SecretFreeError) else None
    status = known.status if known else 500
    telemetry.count(Metric.THROTTLED if status == 429 else Metric.FAILED if status >= 500 else Metric.DENIED)
    telemetry.log(
        "failed" if status >= 500 else "refused",
        level=LogLevel.ERROR if status >= 500 else LogLevel.INFO,
        **ids,
        **_device_fields(device),
        code=known.code if known else None,
        reason=known.reason if known else None,
        detail=known.detail if known else None,
        error_type=type(error).__name__,
    )


def tickets_failure(telemetry: Telemetry, error: Exception) -> None:
    """The counter of the tickets fails. Devices are let through without numbers."""
    telemetry.log(
        "tickets not read",
        level=LogLevel.WARNING,
        reason=error.reason if isinstance(error, SecretFreeError) else None,
        detail=str(error),
        error_type=type(error).__name__,
    )


def _device_fields(device: AuthorizedDevice | None) -> DeviceFields:
    return {} if device is None else {"device_id": device.device_id, "key_fingerprint": device.fingerprint}
