"""Structured logs by allow-list and CloudWatch metrics in embedded metric format; own code, for the import budget."""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, TextIO

from secretfree.clock import Clock, SystemClock
from secretfree.contract import METRIC_NAMESPACE, Dimension, LogLevel, Metric

# The fields of a log line and their names in it. None of them contains a CSR, a header, an event or a key.
LOG_FIELDS: Final[Mapping[str, str]] = {
    "ca_certificate_id": "caCertificateId",
    "certificate_id": "certificateId",
    "claimed_device_id": "claimedDeviceId",
    "claimed_key_fingerprint": "claimedKeyFingerprint",
    "code": "code",
    "count": "count",
    "csr_digest": "csrDigest",
    "detail": "detail",
    "device_id": "deviceId",
    "error_type": "errorType",
    "extended_request_id": "extendedRequestId",
    "issuer": "issuer",
    "key_fingerprint": "keyFingerprint",
    "match": "match",
    "object_key": "objectKey",
    "reason": "reason",
    "request_id": "requestId",
    "request_type": "requestType",
    "resource_type": "resourceType",
    "retry_after": "retryAfter",
    "state": "state",
    "status": "status",
    "step": "step",
    "thing_name": "thingName",
}


_NO_DIMENSIONS: Final[Mapping[Dimension, str]] = {}
_LATENCIES: Final = frozenset({Metric.STAGE_LATENCY.value, Metric.REPLICATION_LAG.value})


class Telemetry:
    """The logs and metrics of one function; metrics are collected until `flush`, at the end of each invocation.

    `strict` (default: outside Lambda) raises TypeError for a log field that is not in `LOG_FIELDS`; otherwise such a
    field is dropped, and its name is logged under `droppedFields`: a fault in logging must not refuse a device.
    """

    def __init__(
        self,
        product: str,
        issuer: str | None = None,
        *,
        level: LogLevel = LogLevel.INFO,
        clock: Clock | None = None,
        stream: TextIO | None = None,
        strict: bool | None = None,
    ) -> None:
        self._product = product
        self._issuer = issuer
        self._level = level
        self._clock: Clock = SystemClock() if clock is None else clock
        self._stream = stream
        self._strict = "AWS_LAMBDA_FUNCTION_NAME" not in os.environ if strict is None else strict
        self._metrics: defaultdict[tuple[tuple[Dimension, str], ...], dict[str, list[float]]] = defaultdict(dict)

    def log(self, event: str, *, level: LogLevel = LogLevel.INFO, **fields: object) -> None:
        """Write one JSON line. `event` is a fixed phrase of the caller; a field that is None is left out."""
        dropped = sorted(name for name in fields if name not in LOG_FIELDS)
        if dropped and self._strict:
            raise TypeError(f"log fields {dropped}; accepted: {sorted(LOG_FIELDS)}")
        if level < self._level:
            return
        line: dict[str, object] = {
            "timestamp": self._clock.now().isoformat(timespec="milliseconds"),
            "level": level.name,
            "event": event,
            "product": self._product,
        }
        if self._issuer is not None:
            line["issuer"] = self._issuer
        line |= {
            LOG_FIELDS[name]: _plain(value)
            for name, value in fields.items()
            if name in LOG_FIELDS and value is not None
        }
        if dropped:
            line["droppedFields"] = dropped
        self._write(line)

    def count(self, metric: Metric, amount: int = 1, *, dimensions: Mapping[Dimension, str] = _NO_DIMENSIONS) -> None:
        """Add to a counter. `dimensions`: at most one in addition to `PRODUCT`."""
        self._add(Metric(metric), float(amount), dimensions)

    def call(self, operation: str, *, throttled: bool) -> None:
        """Count one call of an AWS operation, and whether AWS throttled it."""
        self._add(Metric.CALLS, 1.0, {Dimension.CALL: operation})
        if throttled:
            self._add(Metric.CALLS_THROTTLED, 1.0, {Dimension.CALL: operation})

    def lag(self, milliseconds: int) -> None:
        """Measure the delay of the registration of another Region's certificate."""
        self._add(Metric.REPLICATION_LAG, float(milliseconds), _NO_DIMENSIONS)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of the block, even if it raises, as StageLatency (milliseconds) of the stage `name`."""
        start = self._clock.monotonic()
        try:
            yield
        finally:
            self._add(Metric.STAGE_LATENCY, round((self._clock.monotonic() - start) * 1000, 3), {Dimension.STAGE: name})

    def flush(self) -> None:
        """Write the metrics gathered since the last flush: one EMF line for each set of dimension values."""
        gathered, self._metrics = self._metrics, defaultdict(dict)
        timestamp = int(self._clock.now().timestamp() * 1000)
        for dimensions, metrics in gathered.items():
            self._write(_embedded_metrics(timestamp, self._product, dict(dimensions), metrics))

    def _add(self, metric: Metric, value: float, dimensions: Mapping[Dimension, str]) -> None:
        if len(dimensions) > 1:
            raise TypeError(f"dimensions {sorted(dimensions)}; accepted: at most one beside {Dimension.PRODUCT}")
        if not dimensions and self._issuer is not None:
            dimensions = {Dimension.ISSUER: self._issuer}
        self._metrics[tuple(dimensions.items())].setdefault(metric.value, []).append(value)

    def _write(self, line: Mapping[str, object]) -> None:
        # Read sys.stdout at each call, because Lambda replaces it after the import.
        stream = sys.stdout if self._stream is None else self._stream
        stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        stream.flush()


def _embedded_metrics(
    timestamp: int, product: str, dimensions: Mapping[Dimension, str], metrics: Mapping[str, list[float]]
) -> dict[str, object]:
    """One line of the embedded metric format specification; counters are summed, latencies stay single values."""
    names = [Dimension.PRODUCT, *dimensions]
    # A latency over all stages, or a count of all calls, would be meaningless.
    sets = (
        [names]
        if not dimensions or dimensions.keys() & {Dimension.STAGE, Dimension.CALL}
        else [[Dimension.PRODUCT], names]
    )
    definitions = [{"Name": name, "Unit": "Milliseconds" if name in _LATENCIES else "Count"} for name in metrics]
    line: dict[str, Any] = {
        "_aws": {
            "Timestamp": timestamp,
            "CloudWatchMetrics": [{"Namespace": METRIC_NAMESPACE, "Dimensions": sets, "Metrics": definitions}],
        },
        Dimension.PRODUCT: product,
        **{dimension.value: value for dimension, value in dimensions.items()},
    }
    for name, values in metrics.items():
        line[name] = values if name in _LATENCIES else sum(values)
    return line


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, bool | int | float | list | tuple) else str(value)
