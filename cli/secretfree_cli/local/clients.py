"""Clients of the local cloud, with the operator's key."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from secretfree_cli.local.state import CloudRecord


def local_client(record: CloudRecord, service: str) -> Any:
    """Return a boto3 client of a Region of the local cloud with the operator's key."""
    endpoint = record.private_ca_endpoint_url if service == "acm-pca" else record.endpoint_url
    session = boto3.Session(
        aws_access_key_id=record.access_key_id,
        aws_secret_access_key=record.secret_access_key,
        region_name=record.region,
    )
    return session.client(service, endpoint_url=endpoint, config=Config(connect_timeout=5, read_timeout=30))  # type: ignore[call-overload]
