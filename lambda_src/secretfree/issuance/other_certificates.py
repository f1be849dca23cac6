"""Certificates that a record keeps beside its own: the one still in use, and those that may exist unrecorded."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from secretfree.issuance.chains import Chain

Trust: TypeAlias = Callable[[str | None], bool]
"""Whether the CA of this reference is trusted. None: the certificate's reference is unknown."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A certificate that may exist without a record: its request got no answer, or was abandoned before the answer.

    `reference`: the authority's, if it answered.
    """

    fingerprint: str
    requested_at: datetime
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class CertificateInUse:
    """The certificate that a device with this key has while its next one is being issued.

    `verified_at`: when IoT Core last reported it as active. None: it is looked up before it is returned again.
    `reference`: the authority's, if it returned one.
    """

    certificate_id: str
    certificate_pem: str
    chain: Chain | None
    not_after: datetime
    verified_at: datetime | None
    reference: str | None = None
