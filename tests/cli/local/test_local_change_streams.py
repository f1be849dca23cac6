"""A table's changes reach a locked bucket in the AWS emulator; each gap that is closed, on its own."""

from __future__ import annotations

from typing import Any

import pytest
from secretfree_cli.local.emulators.aws_change_streams import object_lock, stream_arns

STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/changes"


@pytest.mark.parametrize(
    ("replicas", "arns"),
    [
        (None, []),
        ([{"Region": "us-east-1"}], []),
        ([{"Region": "us-east-1", "KinesisStreamSpecification": {"StreamArn": STREAM}}], [STREAM]),
    ],
)
def test_a_tables_stream_is_that_of_its_replicas(replicas: Any, arns: list[str]) -> None:
    assert stream_arns({"Replicas": replicas}) == arns


@pytest.mark.parametrize(
    ("properties", "setting"),
    [
        ({}, None),
        ({"ObjectLockEnabled": "false"}, None),
        ({"ObjectLockEnabled": True}, {"enabled": True, "default_retention": None}),
        (
            {
                "ObjectLockEnabled": "true",
                "ObjectLockConfiguration": {"Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": "30"}}},
            },
            {"enabled": True, "default_retention": {"Mode": "GOVERNANCE", "Days": 30}},
        ),
    ],
)
def test_a_buckets_lock_is_that_of_its_template(properties: dict[str, Any], setting: Any) -> None:
    assert object_lock(properties) == setting
