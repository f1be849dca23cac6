"""One worker's last answers, kept in memory, so that a device in a tight loop costs no AWS call."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import TypeAlias

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.model import IssuanceAnswer, IssuedCertificate
from secretfree.issuance.rates import ANSWER_RATE, AdmissionRate
from secretfree.request.device_id import DeviceId

Asker: TypeAlias = tuple[DeviceId, str]
"""A device id and a key's fingerprint. An answer belongs to this pair."""


@dataclass
class _Asked:
    arrival: datetime
    certificate: IssuedCertificate | None = None


class RecentAnswers:
    """The devices of the last requests, each with its token bucket and its last certificate.

    The ledger's bucket, which all workers share, bounds the expensive part: the lease and the issuing calls. This one
    bounds the answers from the ledger, so that a device in a tight loop does not block a worker. It never refuses a
    device that has a certificate, because a copied request must not lock the device out.
    """

    def __init__(self, *, rate: AdmissionRate = ANSWER_RATE, capacity: int = 4096) -> None:
        self._rate = rate
        self._capacity = capacity
        self._asked: OrderedDict[Asker, _Asked] = OrderedDict()

    def admit(self, asker: Asker, now: datetime) -> IssuedCertificate | None:
        """Count one request: None if it must be processed, otherwise the last certificate for this device and key.

        Raises SecretFreeError (`too-many-requests`) for too many requests without a certificate.
        """
        known = self._asked.pop(asker, None)
        arrival = None if known is None else known.arrival
        charged = self._rate.charge(arrival, now)
        kept = _Asked(now) if known is None else known
        kept.arrival = charged if charged is not None else kept.arrival
        self._asked[asker] = kept
        if len(self._asked) > self._capacity:
            self._asked.popitem(last=False)
        if charged is not None:
            return None
        if kept.certificate is not None and kept.certificate.not_after > now:
            return replace(kept.certificate, reused=True, instead_of=None)
        raise SecretFreeError(
            ErrorCode.TOO_MANY_REQUESTS,
            "the device sends too many requests to this worker",
            reason=Reason.THROTTLED,
            retry_after=max(1, ceil(self._rate.wait(arrival, now).total_seconds())),
        )

    def keep(self, asker: Asker, answer: IssuanceAnswer | None) -> None:
        """Keep the certificate of an answer; None: the device was refused, so its last answer is dropped."""
        if asker in self._asked:
            self._asked[asker].certificate = answer if isinstance(answer, IssuedCertificate) else None
