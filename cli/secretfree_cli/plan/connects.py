"""What the devices' connects cost, each of which is looked at to retire old certificates (`Retirement.ON_CONNECT`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from secretfree_cli.plan.plan import LAMBDA_GIGABYTES
from secretfree_cli.plan.prices import CostLine, PriceList

CONNECTS: Final = 1_000_000
# The construct's `_BATCH_SIZE`, where connects come fast; a lone connect is a batch of its own.
_BATCH: Final = 50
_SQS_BATCH: Final = 10
"""SQS hands over and deletes at most so many messages a request."""
_SECONDS_A_READ: Final = 0.008


def connects_bill(prices: PriceList, connects: int = CONNECTS) -> Sequence[CostLine]:
    """Return the cost of `connects` that find nothing to retire: in US dollars, one line for each metered item.

    Each costs one rule with one action, one message, its share of an invocation, and one read of the ledger. The
    retirement that follows a renewal costs a few calls more, once.
    """
    p: Mapping[str, Any] = prices.prices
    invocations = connects / _BATCH
    requests = connects * (1 + 2 / _SQS_BATCH)
    gigabyte_seconds = connects * _SECONDS_A_READ * LAMBDA_GIGABYTES
    return (
        _line("IoT Core", "rules triggered", connects, p["iot_core"]["rule"]),
        _line("IoT Core", "actions executed", connects, p["iot_core"]["action"]),
        _line("SQS", "requests", requests, p["sqs"]["request"]),
        _line("Lambda", "invocations", invocations, p["lambda"]["request"]),
        _line("Lambda", "GB-seconds (arm64)", gigabyte_seconds, p["lambda"]["gigabyte_second"]),
        _line("DynamoDB", "read units", connects, p["dynamodb"]["read_unit"]),
    )


def _line(service: str, what: str, quantity: float, price: float) -> CostLine:
    return CostLine(service, what, quantity, quantity * price)
