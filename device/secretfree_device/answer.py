"""One answer of the provisioning API: its content, and when the device posts again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

HTTP_OK = 200
HTTP_ACCEPTED = 202
_FORBIDDEN = 403
_STOP = frozenset({401, 404, 413, 415})
_RARELY = frozenset({400, 409})
_MALFORMED = "malformed-request"
_LONGEST_RETRY_AFTER = 86_400.0
_MAXIMUM_RETRY_AFTER_DIGITS = 10


class IssuerPath(StrEnum):
    """The issuer, by the last segment of the path."""

    PRIVATE_CA = "new"
    IOT_CORE = "proto"


class AskAgain(StrEnum):
    """When a device posts again after an answer (the wire contract, "Everything else")."""

    SOON = "soon"
    RARELY = "rarely"
    NEVER = "never"
    """Not until the device restarts or its firmware changes."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next request, or None without a valid `Retry-After` (RFC 9110, section 10.2.3).

        The wire contract has only whole seconds: a date, zero or garbage counts as absent, more than a day as a day.
        """
        value = self.headers.get("retry-after", "")
        if not (value.isascii() and value.isdigit() and len(value) < _MAXIMUM_RETRY_AFTER_DIGITS) or int(value) == 0:
            return None
        return min(float(value), _LONGEST_RETRY_AFTER)

    @property
    def ask_again(self) -> AskAgain:
        """When the device posts again. A status that the contract does not name counts as a fault of the service.

        A 403 without `code` comes from API Gateway or a proxy, not from the service.
        """
        if self.status in _STOP:
            return AskAgain.NEVER
        if self.status == _FORBIDDEN and self.problem_code:
            return AskAgain.NEVER if self.problem_code == _MALFORMED else AskAgain.RARELY
        return AskAgain.RARELY if self.status in _RARELY else AskAgain.SOON

    @property
    def request_id(self) -> str | None:
        """API Gateway's id of the request: `requestId` of a problem document, or the header of any answer."""
        return self._problem_member("requestId") or self.headers.get("x-amzn-requestid")

    @property
    def problem_code(self) -> str | None:
        """`code` of a problem document (RFC 9457), or None for any other body."""
        return self._problem_member("code")

    def _problem_member(self, name: str) -> str | None:
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(self.body)
            if isinstance(document, dict) and isinstance(document.get(name), str):
                return str(document[name])
        return None
