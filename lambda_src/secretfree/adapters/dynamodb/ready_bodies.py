"""A DynamoDB client that sends batches of items as they are: they are in the wire's form already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_OPERATIONS: Final = ("BatchWriteItem", "BatchGetItem")
_READY_BODY: Final = "secretfree_ready_body"


def send_items_as_they_are(client: Any) -> None:
    """Skip botocore's validation and serialisation of each attribute of each batched item, for `client`.

    That walk takes most of the time of a BatchWriteItem. The low-level client's items are DynamoDB's own JSON, so the
    body is one call of the JSON encoder. A request with binary attributes, which JSON has not, goes the usual way.
    By botocore's events `provide-client-params` (whose handler may answer with other parameters) and `before-call`.
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
