"""How a handler's module becomes what Lambda calls: configured once, in the init phase of a cold start."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

LambdaHandler: TypeAlias = Callable[[dict[str, Any], Any], Any]


def lambda_handler(build: Callable[[Mapping[str, str]], LambdaHandler]) -> LambdaHandler:
    """A module's `handler`: `build` with the process's environment, at the first call, and in Lambda at the import.

    During the import, Lambda gives a function a whole CPU, and the first request's time begins later. Elsewhere an
    import needs no configuration.
    """
    built = cache(lambda: build(os.environ))
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        built()

    def handler(event: dict[str, Any], context: Any) -> Any:
        return built()(event, context)

    return handler
