"""The bill: tiers, months, and who is charged for what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from secretfree_cli.plan.prices import Authority, Usage, price_list, tiered

NOTHING = Usage(
    seconds=3_600,
    certificates=0,
    api_requests=0,
    lambda_invocations=0,
    lambda_gigabyte_seconds=0,
    read_units=0,
    write_units=0,
    registry_operations=0,
    log_bytes=0,
    answer_bytes=0,
)


def dollars(usage: Usage, authority: Authority, service: str | None = None) -> float:
    return sum(line.dollars for line in price_list().bill(usage, authority) if service in {None, line.service})


@pytest.mark.parametrize(
    ("certificates", "expected"),
    [(1, 0.75), (1_000, 750.0), (1_001, 750.35), (10_000, 3_900.0), (10_001, 3_900.001), (1_000_000, 4_890.0)],
)
def test_general_purpose_certificates_cost_less_as_the_month_goes_on(certificates: float, expected: float) -> None:
    bill = dollars(replace(NOTHING, certificates=certificates), Authority.GENERAL_PURPOSE)
    assert bill == pytest.approx(400 + expected)


def test_tiers_begin_anew_in_a_second_month() -> None:
    usage = replace(NOTHING, certificates=2_000, seconds=40 * 86_400)
    assert dollars(usage, Authority.GENERAL_PURPOSE) == pytest.approx(2 * (400 + 750))


def test_a_short_lived_authority_costs_less_a_month_and_the_same_for_each_certificate() -> None:
    assert dollars(replace(NOTHING, certificates=1_000), Authority.SHORT_LIVED) == pytest.approx(50 + 58)


def test_iot_cores_own_authority_costs_nothing() -> None:
    assert dollars(replace(NOTHING, certificates=1_000), Authority.IOT_CORE) == 0


def test_each_metered_thing_is_on_the_bill() -> None:
    usage = replace(
        NOTHING,
        api_requests=1e6,
        lambda_invocations=1e6,
        lambda_gigabyte_seconds=1e6,
        read_units=1e6,
        write_units=1e6,
        registry_operations=1e6,
        log_bytes=1e9,
        answer_bytes=1e9,
    )
    found = {
        service: round(dollars(usage, Authority.IOT_CORE, service), 4)
        for service in ("API Gateway", "Lambda", "DynamoDB", "IoT Core", "CloudWatch", "Data transfer")
    }
    assert found == {
        "API Gateway": 3.5,
        "Lambda": 13.5334,
        "DynamoDB": 0.75,
        "IoT Core": 1.25,
        "CloudWatch": 0.5,
        "Data transfer": 0.09,
    }


def test_tiers_charge_each_part_at_its_own_price() -> None:
    assert tiered(25, [(10, 1.0), (20, 0.5), (float("inf"), 0.1)]) == pytest.approx(10 + 5 + 0.5)


def test_the_price_list_says_when_and_where_it_holds() -> None:
    prices = price_list()
    assert prices.region == "us-east-1"
    assert prices.date.year >= 2025
    assert "public pricing pages" in prices.source
