"""The states of an issuance, the order in which they follow each other, and what a request may do in them."""

from enum import Enum
from typing import Final


class IssuanceState(Enum):
    """The state of an issuance. It is recorded before the step that it allows begins."""

    REQUESTING = "requesting"  # a certificate was, or may have been, requested
    REQUESTED = "requested"  # the authority's reference is known
    ISSUED = "issued"  # the certificate is known; its registration follows
    ACTIVE = "active"  # thing, policy and certificate are in place
    REVOKED = "revoked"  # revoked or deactivated by another party; final for this key
    ABANDONED = "abandoned"  # rolled back; the next request opens a new generation


SUCCESSORS: Final = {
    IssuanceState.REQUESTING: {IssuanceState.REQUESTED, IssuanceState.ISSUED, IssuanceState.ABANDONED},
    IssuanceState.REQUESTED: {IssuanceState.ISSUED, IssuanceState.ABANDONED},
    IssuanceState.ISSUED: {IssuanceState.ACTIVE, IssuanceState.REVOKED, IssuanceState.ABANDONED},
    IssuanceState.ACTIVE: {IssuanceState.REVOKED},
    IssuanceState.REVOKED: frozenset[IssuanceState](),
    IssuanceState.ABANDONED: frozenset[IssuanceState](),
}


class Standing(Enum):
    """What a request may do with the stored record."""

    SERVE = "serve"  # its certificate is valid: the same answer again
    WAIT = "wait"  # another worker has the lease
    RESUME = "resume"  # take the lease and continue where it stopped
    NEXT_GENERATION = "next-generation"  # nothing to continue, or another key: begin a new generation
    RENEW = "renew"  # the same key, its renewal window has begun
    REPLACE = "replace"  # the same key, but the CA of its certificate is no longer trusted
    REFUSE = "refuse"  # the certificate of this key was revoked
