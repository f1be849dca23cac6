"""What the issuing Lambdas count and log of an outcome, or of a failure."""

from secretfree.contract import LogLevel, Metric
from secretfree.errors import SecretFreeError
from secretfree.handlers.http.request import RequestIds
from secretfree.issuance.model import IssuanceAnswer, NotReady
from secretfree.telemetry import Telemetry


def outcome(telemetry: Telemetry, outcome: IssuanceAnswer, *, ids: RequestIds) -> None:
    """A certificate, new or repeated, or none yet. `ids`: the log fields by which the request is found."""
    if isinstance(outcome, NotReady):
        telemetry.count(Metric.PENDING)
        telemetry.log("not ready", **ids, reason=outcome.reason, retry_after=outcome.retry_after)
        return
    telemetry.count(Metric.REUSED if outcome.reused else Metric.ISSUED)
    telemetry.log(
        "answered again" if outcome.reused else "issued",
        **ids,
        device_id=outcome.thing_name,
        certificate_id=outcome.certificate_id,
    )


def failure(telemetry: Telemetry, error: Exception, *, ids: RequestIds) -> None:
    """A known refusal, or an unexpected error."""
    known = error if isinstance(error, SecretFreeError) else None
    status = known.status if known else 500
    telemetry.count(Metric.THROTTLED if status == 429 else Metric.FAILED if status >= 500 else Metric.DENIED)
    telemetry.log(
        "failed" if status >= 500 else "refused",
        level=LogLevel.ERROR if status >= 500 else LogLevel.INFO,
        **ids,
        code=known.code if known else None,
        reason=known.reason if known else None,
        detail=known.detail if known else None,
        error_type=type(error).__name__,
    )
