"""The function of ManifestImport: opens a manifest, imports its rows call by call, and closes its account."""

from __future__ import annotations

import os
from typing import Any, Final

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.manifest_bucket import ManifestBucket
from secretfree.clock import SystemClock
from secretfree.config.manifest_import import ImportConfig
from secretfree.contract import LogLevel, MatchPolicy
from secretfree.handlers.entry import begin_collecting
from secretfree.registry.batch import BatchState
from secretfree.registry.gate import Gate
from secretfree.registry.manifest_steps import Execution, ManifestImport, ManifestRefused
from secretfree.telemetry import Telemetry

_config: Final = ImportConfig.from_environment(os.environ)
_steps: Final = ManifestImport(
    store=DynamoDbRegistryStore.of(clients.dynamodb(), _config.registry_table, key_index=_config.registry_key_index),
    manifests=ManifestBucket(clients.client("s3"), _config.bucket),
    gate=Gate(_config.device_profile, key_optional=_config.match is MatchPolicy.UDID),
    clock=SystemClock(),
)
_telemetry: Final = Telemetry(_config.product, level=_config.log_level)
begin_collecting()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Run the step of the state machine that `event` names.

    `{"open": <execution>}` and `{"close": <execution>}`, where the execution's state holds the S3 event, and for
    `close` also `result` or `failure`; else a child of the Distributed Map: `{"Items": [<item>, ...]}`, or one item by
    itself where the map has no ItemBatcher. An item is `{"batch", "source", "row", "fields"}`, `row` counting from 0.

    `open` returns the format `refused` and a failure if the manifest itself is invalid; `close` returns the import's
    status. Step Functions retries after an exception, so every step may be repeated.
    """
    if "open" in event:
        return _open(Execution.of(event["open"]))
    if "close" in event:
        return _close(Execution.of(event["close"]))
    return _steps.import_items(event.get("Items", [event])).document()


def _open(execution: Execution) -> dict[str, Any]:
    try:
        opened = _steps.open(execution)
    except ManifestRefused as refused:
        return {"format": "refused", "failure": {"Error": "ManifestRefused", "Cause": str(refused)}}
    _telemetry.log("manifest opened", object_key=execution.manifest.key, state=BatchState.IMPORTING)
    return opened


def _close(execution: Execution) -> dict[str, Any]:
    account = _steps.close(execution)
    level = LogLevel.INFO if account["status"] == "COMPLETE" else LogLevel.ERROR
    _telemetry.log("manifest closed", level=level, object_key=execution.manifest.key, state=account["status"])
    return account
