"""Guards foreign parsers: every error that they raise for hostile bytes becomes a refusal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secretfree.errors import SecretFreeError


@contextmanager
def refusing_parser_errors(
    refusal: Callable[[BaseException], Exception], *, ours: tuple[type[Exception], ...] = (SecretFreeError,)
) -> Iterator[None]:
    """Turn any error of the block into `refusal(error)`; errors of the kinds `ours` pass.

    For hostile bytes, a library raises more kinds of errors than it documents (ValueError, TypeError,
    UnsupportedAlgorithm, InvalidVersion, OverflowError, RecursionError), and a panic in Rust is a BaseException. None
    of them may cause a 5xx or end an import.
    """
    try:
        yield
    except ours:
        raise
    except Exception as error:  # noqa: BLE001 - the point of this function
        raise refusal(error) from None
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise refusal(error) from None
