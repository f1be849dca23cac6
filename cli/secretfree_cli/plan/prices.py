"""What AWS charges for provisioning a fleet: the price list in prices.toml, applied to counted calls."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from importlib.resources import files
from typing import Any

_DAYS_A_MONTH = 30.0
_SECONDS_A_MONTH = _DAYS_A_MONTH * 86_400


class Authority(StrEnum):
    """Who signs the devices' certificates, as far as the bill is concerned."""

    GENERAL_PURPOSE = "general-purpose"
    SHORT_LIVED = "short-lived"
    IOT_CORE = "iot-core"


@dataclass(frozen=True)
class Usage:
    """What is metered while a fleet provisions."""

    seconds: float
    certificates: float
    api_requests: float
    """Those that the throttle let in; what it turns away is free."""
    lambda_invocations: float
    lambda_gigabyte_seconds: float
    read_units: float
    write_units: float
    registry_operations: float
    log_bytes: float
    answer_bytes: float


@dataclass(frozen=True)
class CostLine:
    """One line of the bill, in US dollars."""

    service: str
    what: str
    quantity: float
    dollars: float


@dataclass(frozen=True)
class PriceList:
    """The prices of one Region on one day."""

    date: date
    region: str
    source: str
    prices: Mapping[str, Any]

    def bill(self, usage: Usage, authority: Authority) -> tuple[CostLine, ...]:
        """Return what `usage` costs, one line for each thing that is metered, in US dollars."""
        p = self.prices
        api = p["api_gateway"]["request"]
        return (
            *self._authority_lines(usage, authority),
            CostLine("API Gateway", "requests let in", usage.api_requests, tiered(usage.api_requests, api)),
            _flat("Lambda", "invocations", usage.lambda_invocations, p["lambda"]["request"]),
            _flat("Lambda", "GB-seconds (arm64)", usage.lambda_gigabyte_seconds, p["lambda"]["gigabyte_second"]),
            _flat("DynamoDB", "read units", usage.read_units, p["dynamodb"]["read_unit"]),
            _flat("DynamoDB", "write units", usage.write_units, p["dynamodb"]["write_unit"]),
            _flat("IoT Core", "registry operations", usage.registry_operations, p["iot_core"]["registry_operation"]),
            _flat("CloudWatch", "GB of logs", usage.log_bytes / 1e9, p["cloudwatch"]["log_gigabyte"]),
            _flat("Data transfer", "GB to devices", usage.answer_bytes / 1e9, p["data_transfer"]["gigabyte"]),
        )

    def _authority_lines(self, usage: Usage, authority: Authority) -> tuple[CostLine, ...]:
        if authority is Authority.IOT_CORE:
            return ()
        private_ca = self.prices["private_ca"]
        kind = authority.name.lower()
        months = max(1, math.ceil(usage.seconds / _SECONDS_A_MONTH))
        # The tiers begin again each month. The certificates are assumed to be spread evenly over the months.
        certificates = months * tiered(usage.certificates / months, private_ca[f"{kind}_certificate"])
        return (
            CostLine("Private CA", f"{authority} CA, months begun", months, months * private_ca[f"{kind}_month"]),
            CostLine("Private CA", "certificates", usage.certificates, certificates),
        )


def price_list() -> PriceList:
    """Return the price list in the data file beside this module."""
    document = tomllib.loads(files(__package__).joinpath("prices.toml").read_text(encoding="utf-8"))
    return PriceList(document["date"], document["region"], document["source"], document)


def tiered(quantity: float, tiers: Sequence[tuple[float, float]]) -> float:
    """Return the price of `quantity` where `tiers` are (up to and including, price of each), ascending."""
    dollars, below = 0.0, 0.0
    for ceiling, price in tiers:
        dollars += max(0.0, min(quantity, ceiling) - below) * price
        below = ceiling
    return dollars


def _flat(service: str, what: str, quantity: float, price: float) -> CostLine:
    return CostLine(service, what, quantity, quantity * price)
