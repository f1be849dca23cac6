"""The PIN of a PKCS#11 token: from the environment or typed in, never from the command line, which others can read."""

from __future__ import annotations

import functools
import os
from typing import Final

import click

PIN_VARIABLE: Final = "SECRETFREE_PKCS11_PIN"


@functools.cache
def token_pin() -> str:
    """Return the user's PIN. It is typed in at most once in a process."""
    given = os.environ.get(PIN_VARIABLE)
    return given if given is not None else str(click.prompt("PIN of the token", hide_input=True, err=True))
