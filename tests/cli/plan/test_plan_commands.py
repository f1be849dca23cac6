"""`secretfree plan` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from secretfree_cli.plan.commands import plan
from secretfree_cli.plan.plan import duration


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(plan, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_the_text_names_time_binding_quota_cost_and_raise() -> None:
    code, out, _ = invoke("--devices", "1000", "--over", "0.01")
    assert code == 0
    assert "Held back by       IoT Core RegisterCertificate, 10/s" in out
    assert "Time to provision" in out
    assert "To keep the window, raise" in out
    assert "Private CA" in out
    assert "Total" in out
    assert "list prices of 20" in " ".join(out.split())


def test_a_fleet_within_the_quotas_needs_no_raise() -> None:
    code, out, _ = invoke("--devices", "100", "--over", "1")
    assert code == 0
    assert "The quotas suffice" in out


def test_json_holds_the_plan_for_machines() -> None:
    code, out, _ = invoke("--devices", "600", "--over", "0.01", "--quota", "RegisterCertificate=12", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["bindingQuota"] == "RegisterCertificate"
    assert document["issuanceRate"] == 12
    assert document["quotas"][0] == {
        "name": "RegisterCertificate",
        "service": "IoT Core",
        "limit": 12.0,
        "unitsPerDevice": 1,
        "leastSeconds": 49.0,
    }
    assert document["cost"]["dollars"] == pytest.approx(
        sum(line["dollars"] for line in document["cost"]["lines"]), abs=0.01
    )
    assert document["timeToProvisionSeconds"] >= document["quotaBoundSeconds"]
    assert document["advice"][0]["to"] > 12


def test_a_million_connects_have_a_price_that_is_the_sum_of_its_lines() -> None:
    _, text, _ = invoke("--devices", "50", "--over", "0.1")
    assert "a million connects" in text
    _, out, _ = invoke("--devices", "50", "--over", "0.1", "--json")
    connects = json.loads(out)["connects"]
    assert connects["connects"] == 1_000_000
    assert connects["dollars"] == pytest.approx(sum(line["dollars"] for line in connects["lines"]), abs=0.01)
    assert {line["service"] for line in connects["lines"]} == {"IoT Core", "SQS", "Lambda", "DynamoDB"}
    assert 0.5 < connects["dollars"] < 2


def test_iot_core_needs_no_private_ca_on_the_bill() -> None:
    _, out, _ = invoke("--devices", "50", "--over", "0.1", "--issuer", "iot-core", "--json")
    document = json.loads(out)
    assert document["authority"] == "iot-core"
    assert not [line for line in document["cost"]["lines"] if line["service"] == "Private CA"]


@pytest.mark.slow
def test_the_plot_shows_both_fleets(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    code, out, err = invoke("--devices", "200", "--over", "0.002", "--plot", str(picture))
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "fixed retry every 30 s" in out
    assert "plot written" in err


def test_a_plot_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    code, _, err = invoke("--devices", "20", "--over", "0.01", "--plot", str(tmp_path / "no" / "plan.png"))
    assert code == 1
    assert "the plot cannot be written" in err


def test_an_unknown_quota_is_a_usage_error() -> None:
    code, _, err = invoke("--devices", "20", "--over", "1", "--quota", "Speed=1")
    assert code == 2
    assert "there is no quota 'Speed'" in err


@pytest.mark.parametrize(
    ("seconds", "said"), [(45, "45 s"), (120, "2.0 min"), (7_200, "2.0 h"), (100_000, "27.8 h"), (864_000, "10.0 days")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
