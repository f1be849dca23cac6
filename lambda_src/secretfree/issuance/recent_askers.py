"""Who asks one worker too often, kept in its memory: a refusal that costs no AWS call at all."""

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime
from math import ceil

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.rates import ANSWER_RATE, AdmissionRate


class RecentAskers:
    """The devices that asked last, each with its token bucket.

    The ledger's bucket, which all workers share, bounds what costs (a lease and the issuing calls). This one bounds
    the answers from the ledger, so that a device in a tight loop does not keep a worker from the others.
    """

    def __init__(self, *, rate: AdmissionRate = ANSWER_RATE, capacity: int = 4096) -> None:
        self._rate = rate
        self._capacity = capacity
        self._arrivals: OrderedDict[Hashable, datetime] = OrderedDict()

    def admit(self, device: Hashable, now: datetime) -> None:
        """Count one request; raises SecretFreeError (`too-many-requests`)."""
        arrival = self._arrivals.pop(device, None)
        charged = self._rate.charge(arrival, now)
        self._arrivals[device] = charged if charged is not None else arrival or now
        if len(self._arrivals) > self._capacity:
            self._arrivals.popitem(last=False)
        if charged is None:
            raise SecretFreeError(
                ErrorCode.TOO_MANY_REQUESTS,
                "the device asks this worker too often",
                reason=Reason.THROTTLED,
                retry_after=max(1, ceil(self._rate.wait(arrival, now).total_seconds())),
            )
