"""Guards foreign parsers: any error that they raise on hostile bytes becomes a refusal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secretfree.errors import SecretFreeError


@contextmanager
def refusing_parser_errors(
    refusal: Callable[[BaseException], Exception], *, ours: tuple[type[Exception], ...] = (SecretFreeError,)
) -> Iterator[None]:
    """Turn any error raised inside into `refusal(error)`; errors of the kinds `ours` pass.

    A library that reads hostile bytes raises more kinds than it documents (ValueError, TypeError, UnsupportedAlgorithm,
    InvalidVersion, OverflowError, RecursionError), and a panic in Rust arrives as a BaseException. None of them may
    become a 5xx or end an import.
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
