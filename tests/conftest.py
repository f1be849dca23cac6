"""For all tests: ids that are the same in every process and short enough to read."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its argument: keys are made anew in each process, and workers must agree on ids."""
    return argname if isinstance(val, str | bytes) and len(val) > 60 else None
