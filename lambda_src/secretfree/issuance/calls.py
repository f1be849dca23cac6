"""How an invocation makes its calls: retries with backoff, parallel calls, no new call after the deadline."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from datetime import timedelta
from typing import Any, TypeVar

from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.rates import Chance, Congestion, RetryAfterPolicy, RetryPolicy

T = TypeVar("T")


class OutOfTimeError(Exception):
    """The remaining work does not fit into this invocation."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class CallRunner:
    """One invocation's calls. `deadline` is a time of `clock.monotonic()` after which no further call begins."""

    def __init__(
        self,
        *,
        clock: Clock,
        deadline: float,
        executor: Executor,
        congestion: Congestion,
        chance: Chance,
        retry: RetryPolicy,
        retry_after: RetryAfterPolicy,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._executor = executor
        self._congestion = congestion
        self._chance = chance
        self._retry = retry
        self._retry_after = retry_after
        self._its_turn = False

    def take_its_turn(self) -> None:
        """The device has waited for its turn, so throttles of other calls do not reduce its tries."""
        self._its_turn = True

    def persist(self, name: str, call: Callable[[], T], *, repeatable: bool = True, even_late: bool = False) -> T:
        """Make `call`; within the deadline, repeat it while it is throttled or (if `repeatable`) unanswered.

        Throttling is measured for each `name`, because each call has its own quota. ThrottledError and SecretFreeError
        mean that no try can have had an effect. `even_late`: make one try also after the deadline.
        """
        unanswered: UnreachableError | None = None
        tries = 0
        while True:
            if self._clock.monotonic() >= self._deadline and not (even_late and tries == 0):
                raise unanswered or OutOfTimeError(Reason.DEADLINE)
            try:
                result = call()
            except ThrottledError as throttled:
                self._observe(name, throttled=True)
                failure: Exception = unanswered or throttled
            except UnreachableError as error:
                if not repeatable:
                    raise
                failure = unanswered = error
            except SecretFreeError as refused:
                if unanswered is None:
                    raise
                raise unanswered from refused  # An earlier, unanswered try may have had its effect.
            else:
                self._observe(name, throttled=False)
                return result
            delay = self._retry.delay(tries, self._chance)
            tries += 1
            pressure = 0.0 if self._its_turn else self._congestion.pressure(self._clock.monotonic(), call=name)
            if tries >= self._retry.limit(pressure) or not self.has_time_for(delay):
                raise failure
            self._clock.sleep(delay)

    def through_ledger(self, call: Callable[[], T], *, even_late: bool = False) -> T:
        """`call`; SecretFreeError (`unavailable`) if the ledger does not answer, because each step must be recorded."""
        try:
            return self.persist("ledger", call, even_late=even_late)
        except (ThrottledError, UnreachableError, OutOfTimeError) as error:
            raise ledger_unavailable(error, self._retry_after, self._chance) from error

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Future[Any]]:
        """Run all `calls` in parallel, the last one in this thread. Returns when all have ended or failed."""
        *beside, here = calls
        futures = [self._executor.submit(call) for call in beside]
        own: Future[Any] = Future()
        try:
            own.set_result(here())
        except Exception as error:  # noqa: BLE001 - raised again when the result is read
            own.set_exception(error)
        wait(futures)
        return [*futures, own]

    def has_time_for(self, seconds: float) -> bool:
        """Whether a call may still begin after waiting `seconds`."""
        return self._clock.monotonic() + seconds < self._deadline

    def retry_after(self, *, age: timedelta, attempts: int) -> int:
        """Seconds until the device should retry, by the age and the number of its requests."""
        pressure = self._congestion.pressure(self._clock.monotonic())
        return self._retry_after.seconds(age=age, attempts=attempts, pressure=pressure, chance=self._chance)

    def longest_early_wait(self) -> int:
        """Seconds until the device's next request while a service that every request needs does not answer."""
        return _longest_early_wait(self._retry_after, self._chance)

    def through_registry(self, call: Callable[[], T]) -> T:
        """`call`; adds a Retry-After to the refusal if the registry does not answer."""
        try:
            return self.persist("registry", call)
        except OutOfTimeError as error:
            raise self._registry_unavailable(str(error)) from error
        except SecretFreeError as error:
            if error.code is not ErrorCode.UNAVAILABLE:
                raise
            raise self._registry_unavailable(error.detail) from error

    def _registry_unavailable(self, detail: str) -> SecretFreeError:
        seconds = self.longest_early_wait()
        return SecretFreeError(ErrorCode.UNAVAILABLE, detail, reason=Reason.REGISTRY_UNAVAILABLE, retry_after=seconds)

    def _observe(self, name: str, *, throttled: bool) -> None:
        self._congestion.observe(throttled=throttled, now=self._clock.monotonic(), call=name)


def ledger_unavailable(error: Exception, retry_after: RetryAfterPolicy, chance: Chance) -> SecretFreeError:
    """The refusal while the ledger or the queue does not answer, with the wait of full pressure."""
    return SecretFreeError(
        ErrorCode.UNAVAILABLE,
        f"the ledger does not answer: {error}",
        reason=Reason.LEDGER_UNAVAILABLE,
        retry_after=_longest_early_wait(retry_after, chance),
    )


def _longest_early_wait(policy: RetryAfterPolicy, chance: Chance) -> int:
    return policy.seconds(age=timedelta(), attempts=policy.early_doublings + 1, pressure=1.0, chance=chance)


def results(ended: list[Future[Any]]) -> list[Any]:
    """The results of calls that have ended; raises the first failure."""
    return [future.result() for future in ended]
