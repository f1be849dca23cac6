"""A DynamoDB client that sends batches of items unchanged, because they already have the wire format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_OPERATIONS: Final = ("BatchWriteItem", "BatchGetItem")
_READY_BODY: Final = "secretfree_ready_body"


def send_items_as_they_are(client: Any) -> None:
    """Skip botocore's validation and serialisation of each attribute of each batched item, for `client`.

    They take most of the time of a BatchWriteItem. The low-level client's items are DynamoDB's own JSON, so one call of
    the JSON encoder makes the body. botocore serialises requests with binary attributes, which JSON lacks, as usual.
    This uses botocore's events `provide-client-params`, whose handler may replace the parameters, and `before-call`.
    """
    for operation in _OPERATIONS:
        client.meta.events.register(f"provide-client-params.dynamodb.{operation}", _take_body)
        client.meta.events.register(f"before-call.dynamodb.{operation}", _put_body)


def _take_body(params: Mapping[str, Any], context: dict[str, Any], **_: object) -> Mapping[str, Any] | None:
    try:
        context[_READY_BODY] = json.dumps(params, separators=(",", ":")).encode()
    except TypeError:
        return None
    return {**params, "RequestItems": {}}


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    body = context.pop(_READY_BODY, None)
    if body is not None:
        params["body"] = body
