"""A CA's chain as the records of devices name it: by its digest, so that the text is stored once for all devices."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The certificates above a device's certificate.

    `digest`: lower-case hex SHA-256 of the text. `pem`: the text, the issuer first; None until it is looked up.
    """

    digest: str
    pem: str | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, pem: str) -> Self:
        """The chain with this text."""
        return cls(digest=sha256(pem.encode()).hexdigest(), pem=pem)
