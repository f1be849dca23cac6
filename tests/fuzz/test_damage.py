"""Damaged requests and manifests: a few at each run, a hundred thousand of each in the nightly one."""

from __future__ import annotations

import secrets

import pytest
from damage import damage_manifests, damage_requests


def test_no_damaged_request_breaks_a_promise() -> None:
    outcomes = damage_requests(400, secrets.randbits(32))
    assert outcomes.total() == 400


def test_no_damaged_manifest_breaks_a_promise() -> None:
    tally = damage_manifests(130, secrets.randbits(32))
    assert tally.manifests.total() == 130
    assert tally.admitted
    assert tally.refused


@pytest.mark.nightly
def test_a_hundred_thousand_damaged_requests_break_no_promise() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    assert damage_requests(100_000, seed).total() == 100_000


@pytest.mark.nightly
def test_a_hundred_thousand_damaged_manifests_break_no_promise() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    assert damage_manifests(100_000, seed).manifests.total() == 100_000
