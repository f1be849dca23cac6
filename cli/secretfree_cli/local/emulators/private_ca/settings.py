"""The emulator's settings: delays and throttling, as on AWS.

The environment sets them for every CA (`SECRETFREE_PRIVATE_CA_ISSUE_RATE=5`). A tag sets them for one CA while it runs
(`emulator:issue-rate` = `5`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PREFIX = "SECRETFREE_PRIVATE_CA_"
TAG_PREFIX = "emulator:"


@dataclass(frozen=True)
class Settings:
    """The emulator's behaviour over time. All durations in seconds, all rates in requests per second."""

    issuance_seconds: float = 0.2
    """How long GetCertificate answers RequestInProgressException after IssueCertificate."""
    idempotency_seconds: float = 300.0
    """How long the same IdempotencyToken returns the same certificate; five minutes on AWS."""
    issue_rate: float = 0.0
    """IssueCertificate calls per second before throttling; 0: no limit. AWS's default quota is 25."""
    get_rate: float = 0.0
    """The same for GetCertificate; AWS's default quota is 75."""
    revoke_rate: float = 0.0
    """The same for RevokeCertificate; AWS's default quota is 20."""
    accept_sha1_csr: bool = True
    """Whether a CSR signed with SHA-1 is accepted. AWS does not document its behaviour, so both can be tested."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read `SECRETFREE_PRIVATE_CA_*`; ValueError names an invalid variable."""
        source = os.environ if environment is None else environment

        def number(name: str, default: float) -> float:
            text = source.get(PREFIX + name)
            if text is None:
                return default
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if value < 0:
                raise ValueError(f"{PREFIX}{name} is {text!r}; expected a number, 0 or greater")
            return value

        sha1 = source.get(PREFIX + "SHA1_CSR", "accept")
        if sha1 not in ("accept", "refuse"):
            raise ValueError(f"{PREFIX}SHA1_CSR is {sha1!r}; expected 'accept' or 'refuse'")
        return cls(
            issuance_seconds=number("ISSUANCE_SECONDS", cls.issuance_seconds),
            idempotency_seconds=number("IDEMPOTENCY_SECONDS", cls.idempotency_seconds),
            issue_rate=number("ISSUE_RATE", cls.issue_rate),
            get_rate=number("GET_RATE", cls.get_rate),
            revoke_rate=number("REVOKE_RATE", cls.revoke_rate),
            accept_sha1_csr=sha1 == "accept",
        )

    @classmethod
    def for_authority(cls, tags: Mapping[str, str]) -> Settings:
        """Read the environment, overridden by the CA's tags; ValueError as in `from_environment`."""
        own = {
            PREFIX + key.removeprefix(TAG_PREFIX).replace("-", "_").upper(): value
            for key, value in tags.items()
            if key.startswith(TAG_PREFIX)
        }
        return cls.from_environment({**os.environ, **own})


class TokenBucket:
    """A rate limit with a burst of one second's requests, like AWS's API quotas."""

    def __init__(self, rate: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Limit to `rate` per second; 0: no limit."""
        self._rate = rate
        self._capacity = max(rate, 1.0)
        self._tokens = self._capacity
        self._monotonic = monotonic
        self._filled = monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Return whether one more request is within the rate, and count it if so."""
        if self._rate == 0:
            return True
        with self._lock:
            now = self._monotonic()
            self._tokens = min(self._capacity, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True
