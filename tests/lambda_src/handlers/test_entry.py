"""Every handler can be configured from the variables that the construct sets."""

import importlib
from pathlib import Path

import pytest
from secretfree import handlers
from support.environments import every_environment

MODULES = sorted(
    file.stem for file in Path(handlers.__path__[0]).glob("*.py") if "lambda_handler(build)" in file.read_text()
)


def test_the_handlers_are_found():
    assert {"authorizer", "issuer", "revoker", "sweeper"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_handler_is_built_from_the_environment_of_all_functions(module, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    built = importlib.import_module(f"secretfree.handlers.{module}").build(every_environment())
    assert callable(built)
