"""The quota table, what `--quota` changes in it, and what it says of the least time and the raises."""

from __future__ import annotations

import pytest
from cdk_iot_secretfree import ApiOptions, FunctionOptions
from secretfree.adapters.dynamodb.ledger_items import SHARDS
from secretfree.contract import IssuerKind
from secretfree_cli.output import CliError
from secretfree_cli.plan.asking_again import DOOR_RETRY_AFTER
from secretfree_cli.plan.calls import call_sequence
from secretfree_cli.plan.capacity import HEADROOM, advise, quota_bound
from secretfree_cli.plan.plan import LAMBDA_GIGABYTES
from secretfree_cli.plan.quotas import default_quotas

PRIVATE_CA = call_sequence(IssuerKind.PRIVATE_CA)


def test_every_call_draws_from_a_quota_of_the_table() -> None:
    table = default_quotas()
    for issuer in IssuerKind:
        for stages in call_sequence(issuer, thing_groups=2).paths.values():
            assert {name for stage in stages for call in stage.calls for name in call.draws} <= set(table.quotas)


def test_each_quota_is_a_rate_or_a_concurrency_and_says_its_source() -> None:
    for quota in default_quotas().quotas.values():
        assert (quota.rate is None) != (quota.concurrency is None)
        assert quota.limit > 0
        assert quota.source


def test_the_index_quota_counts_the_ledgers_shards() -> None:
    assert default_quotas()["LedgerIndexWrites"].limit == 1_000 * SHARDS


def test_the_constructs_defaults_are_the_plans() -> None:
    api, functions = ApiOptions(), FunctionOptions()
    door = default_quotas()["ApiStageRequests"]
    assert (door.limit, door.burst) == (api.rate_limit, api.burst_limit)
    assert api.retry_after.to_seconds() == DOOR_RETRY_AFTER
    assert functions.memory_size == 1024 * LAMBDA_GIGABYTES


def test_an_override_finds_its_quota_in_any_letter_case_and_scales_the_burst() -> None:
    table = default_quotas().overridden(["registercertificate=50", "ApiGatewayRequests=2000/100"])
    assert (table["RegisterCertificate"].limit, table["RegisterCertificate"].burst) == (50, 50)
    assert (table["ApiGatewayRequests"].limit, table["ApiGatewayRequests"].burst) == (2_000, 100)
    assert default_quotas()["RegisterCertificate"].limit == 10


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("RegisterCertificate", "NAME=LIMIT"),
        ("Register=5", "no quota 'Register'"),
        ("RegisterCertificate=fast", "not a number above 0"),
        ("RegisterCertificate=0", "not a number above 0"),
        ("RegisterCertificate=inf", "not a number above 0"),
        ("RegisterCertificate=5/-1", "not a number above 0"),
        ("LambdaConcurrency=5/5", "has no burst"),
    ],
)
def test_a_bad_override_is_refused_in_words(assignment: str, said: str) -> None:
    with pytest.raises(CliError, match=said):
        default_quotas().overridden([assignment])


def test_a_million_devices_on_default_quotas_are_bound_by_registering_their_certificates() -> None:
    bound = quota_bound(1_000_000, 3_600, PRIVATE_CA, default_quotas())
    assert bound.binding is not None
    assert bound.binding.name == "RegisterCertificate"
    assert bound.seconds == pytest.approx((1_000_000 - 10) / 10)


def test_devices_that_arrive_slowly_are_bound_by_their_arrival() -> None:
    bound = quota_bound(1_000, 3_600, PRIVATE_CA, default_quotas())
    assert bound.binding is None
    assert bound.seconds == 3_600


def test_the_advice_raises_each_binding_quota_until_the_window_is_kept() -> None:
    table = default_quotas()
    steps = advise(1_000_000, 10 * 3_600, PRIVATE_CA, table)
    names = [step.quota.name for step in steps]
    assert names[:3] == ["RegisterCertificate", "AttachPolicy", "IssueCertificate"]
    raised = table.with_limits({step.quota.name: step.limit for step in steps})
    after = quota_bound(1_000_000, 10 * 3_600, PRIVATE_CA, raised)
    assert after.binding is None
    assert steps[-1].then_binding is None
    assert all(step.limit >= HEADROOM * 1_000_000 / 36_000 for step in steps)


def test_no_window_no_advice() -> None:
    assert advise(1_000_000, 0, PRIVATE_CA, default_quotas()) == ()
