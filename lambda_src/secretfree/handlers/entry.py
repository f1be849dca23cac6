"""Makes a module's handler, configured once in the init phase of a cold start."""

import gc
import os
import random
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

LambdaHandler: TypeAlias = Callable[[dict[str, Any], Any], Any]


def lambda_handler(build: Callable[[Mapping[str, str]], LambdaHandler]) -> LambdaHandler:
    """A module's `handler`: `build` with the process's environment, at the first call, and in Lambda at the import.

    During the import, Lambda gives a function a whole CPU, and the first request's time has not begun. Outside Lambda,
    an import needs no configuration. A SnapStart snapshot contains what is built here, so the code reads no clock and
    opens no connection before the first call.
    """
    built = cache(lambda: build(os.environ))
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        built()
        begin_collecting()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        # The SDK's back-off uses this generator, whose state would be the same in every restored copy. All other
        # random numbers come from the operating system. Lambda's runtime has the module.
        import_module("snapshot_restore_py").register_after_restore(random.seed)

    def handler(event: dict[str, Any], context: Any) -> Any:
        return built()(event, context)

    return handler


def begin_collecting() -> None:
    """In Lambda, turn the garbage collector on. It skips what exists now."""
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        gc.freeze()
        gc.enable()
