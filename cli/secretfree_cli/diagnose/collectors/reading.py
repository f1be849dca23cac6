"""Shared by the collectors: a failed call becomes a gap, and the diagnosis continues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError

from secretfree_cli.diagnose.evidence import Gap

T = TypeVar("T")


class Reading:
    """The gaps of one diagnosis."""

    def __init__(self) -> None:
        self._gaps: dict[str, Gap] = {}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps, each once."""
        return tuple(self._gaps.values())

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """Read `what`. A failure of AWS, a missing right or a damaged record becomes a gap, and None is returned."""
        try:
            return read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            self.gap(what, f"{error.operation_name}: {code}")
        except BotoCoreError as error:
            self.gap(what, type(error).__name__)
        except (SecretFreeError, ThrottledError, UnreachableError) as error:
            self.gap(what, str(error))
        return None

    def gap(self, what: str, why: str) -> None:
        """Record that `what` could not be read."""
        self._gaps.setdefault(what, Gap(what=what, why=why))


def is_absent(error: ClientError) -> bool:
    """Whether AWS reports that the resource does not exist."""
    return str(error.response.get("Error", {}).get("Code", "")) in {"ResourceNotFoundException", "NotFoundException"}


def moment(value: Any) -> datetime | None:
    """Return a date of AWS's answer, or of the registry's text, in UTC; None for anything else."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return None
