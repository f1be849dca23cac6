"""How a worker learns how long the CA takes: when it looks, how often, and what it forgets."""

import random
from statistics import mean

import pytest
from secretfree.issuance.rates import PollPolicy
from secretfree.issuance.signing_time import SigningTime


class Worker:
    """A warm worker that waits for one certificate after another, as the pipeline does."""

    def __init__(self) -> None:
        self.signing_time, self.poll = SigningTime(), PollPolicy()
        self.random = random.Random(7)
        self.now = 1000.0

    def wait(self, ready: float) -> tuple[int, float]:
        """The looks at a certificate that is there after `ready` seconds, and when it is found."""
        expected = self.signing_time.expected(self.now)
        waited, missed_at, looks = expected.first_look, None, 1
        while waited < ready:
            missed_at = waited
            waited += self.poll.delay(looks - 1, waited=waited, spread=expected.spread, chance=self.random.random)
            looks += 1
        self.now += waited
        self.signing_time.learn(missed_at=missed_at, found_at=waited, now=self.now)
        return looks, waited


@pytest.mark.parametrize("ready", [0.02, 0.06, 0.2, 0.6, 1.2, 3.0])
def test_a_warm_worker_looks_three_times_at_most_and_finds_the_certificate_soon(ready: float) -> None:
    """GetCertificate takes 75 calls a second, IssueCertificate 25: three looks for each certificate."""
    worker = Worker()
    times = [ready * (0.85 + 0.3 * worker.random.random()) for _ in range(400)]
    found = [worker.wait(time) for time in times][20:]
    assert mean(looks for looks, _ in found) <= 3
    late = [seen - time for (_, seen), time in zip(found, times[20:], strict=True)]
    assert mean(late) <= max(0.04, 0.12 * ready)
    assert max(late) <= 0.25 + 0.2 * ready


def test_a_new_worker_is_late_by_a_quarter_of_a_second_at_most() -> None:
    found = [Worker().wait(ready / 100)[1] - ready / 100 for ready in range(1, 126)]
    assert max(found) <= 0.25


def test_a_new_worker_looks_at_a_slow_certificate_hardly_oftener_than_with_growing_waits() -> None:
    assert Worker().wait(1.2)[0] <= 11


def test_a_worker_learns_that_the_ca_became_faster() -> None:
    worker = Worker()
    for _ in range(10):
        worker.wait(2.0)
    seen = [worker.wait(0.1)[1] for _ in range(60)]
    assert seen[-1] <= 0.15


def test_what_was_learned_is_forgotten_after_ten_quiet_minutes() -> None:
    worker = Worker()
    worker.wait(2.0)
    assert worker.signing_time.expected(worker.now + 599).first_look > 1.5
    assert worker.signing_time.expected(worker.now + 601).first_look == 0
