"""Passes codes from the phone to the session, and the answers back, one at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from secretfree.clock import Clock

from secretfree_cli.factory.bench import PortSilent, Signal
from secretfree_cli.factory.phone.pairing import LINK_SECONDS, Pairing

IDLE_SECONDS: Final = 3600.0
"""Seconds without a code after which a session ends."""
_POLL: Final = 0.2


@dataclass(frozen=True)
class ScanAnswer:
    """The answer for one code."""

    ok: bool
    device: str
    note: str
    repeated: bool = False
    """Whether the device was already answered in this session."""


_ENDED: Final = ScanAnswer(
    ok=False, device="", note="The session has ended. This device is possibly not enrolled. Check the terminal."
)


class Busy(Exception):  # noqa: N818 - a state, not a fault
    """The session is still processing an earlier code."""


@dataclass
class _Question:
    code: str
    answered: threading.Event = field(default_factory=threading.Event)
    verdict: ScanAnswer | None = None
    abandoned: bool = False


class Exchange:
    """Passes each code of the phone to the session, which reads codes on one thread, and waits for its answer."""

    def __init__(self, pairing: Pairing, clock: Clock) -> None:
        self._pairing = pairing
        self._clock = clock
        self._waiting: queue.Queue[_Question] = queue.Queue(maxsize=1)
        self._asking = threading.Lock()
        self._current: _Question | None = None
        self._ended = threading.Event()

    def ask(self, code: str, *, timeout: float) -> ScanAnswer | None:
        """Return the session's answer; None if there is none in `timeout` seconds.

        After the timeout, an unprocessed code is dropped. A code that is being processed may still be enrolled.

        Raises: Busy
        """
        if not self._asking.acquire(blocking=False):
            raise Busy
        try:
            asked = _Question(code)
            try:
                self._waiting.put_nowait(asked)
            except queue.Full:
                raise Busy from None
            ends = self._clock.monotonic() + timeout
            while not asked.answered.wait(_POLL):
                if self._ended.is_set():
                    return asked.verdict or _ENDED
                if self._clock.monotonic() >= ends:
                    asked.abandoned = True
                    return asked.verdict
            return asked.verdict
        finally:
            self._asking.release()

    def codes(self) -> Iterator[str]:
        """Yield codes as they arrive; raises PortSilent if no phone opens the link or sends a code in time."""
        last = self._clock.monotonic()
        while True:
            try:
                self._current = self._waiting.get(timeout=_POLL)
            except queue.Empty:
                self._require_phone(last)
                continue
            if not self._current.abandoned:
                yield self._current.code
                last = self._clock.monotonic()

    def answer(self, verdict: ScanAnswer) -> None:
        """Set the answer for the code that `codes` yielded last."""
        if self._current is not None:
            self._current.verdict = verdict
            self._current.answered.set()

    def end(self) -> None:
        """Answer a waiting code: the session has ended."""
        self._ended.set()

    def _require_phone(self, last: float) -> None:
        if self._pairing.expired:
            raise PortSilent(f"no phone opened the link within {LINK_SECONDS / 60:g} minutes")
        if self._pairing.paired and self._clock.monotonic() - last >= IDLE_SECONDS:
            raise PortSilent(f"the phone sent no code for {IDLE_SECONDS / 60:g} minutes")


@dataclass(frozen=True)
class PhoneSignal(Signal):
    """Sends the terminal's answers to the phone as well."""

    exchange: Exchange = field(kw_only=True)

    def ok(self, device: str, note: str) -> None:
        super().ok(device, note)
        self.exchange.answer(ScanAnswer(ok=True, device=device, note=note))

    def fail(self, device: str, why: str) -> None:
        super().fail(device, why)
        self.exchange.answer(ScanAnswer(ok=False, device=device, note=why))

    def again(self, device: str, note: str, *, ok: bool) -> None:
        self.exchange.answer(ScanAnswer(ok=ok, device=device, note=f"read before: {note}", repeated=True))
