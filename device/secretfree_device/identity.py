"""The result of provisioning. Every object of this class is checked, whether received or stored."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from secretfree_device.answer import Answer, IssuerPath
from secretfree_device.keys import PublicKey

_ENDPOINT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
"""A host name; a port follows in the local cloud only."""
_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_RFC_3339_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?Z", re.ASCII)


@dataclass(frozen=True)
class Identity:
    """Certificate and addresses of a device. All of it is public.

    Raises: ValueError if a value does not have the wire contract's form, or the id is not that of the certificate.
    """

    certificate_pem: str
    chain_pem: str | None
    """Issuer first; None from IoT Core's own CA."""
    endpoint: str
    thing_name: str
    certificate_id: str
    """SHA-256 of the certificate's DER in lower-case hex."""
    not_after: str
    """RFC 3339, UTC."""
    renew_after: str | None = None
    """RFC 3339, UTC: the start of the renewal window. None for an older service."""
    request_id: str | None = field(default=None, compare=False)
    """API Gateway's id of the answered request, for a search in the log."""

    def __post_init__(self) -> None:
        (certificate,) = _certificates(self.certificate_pem, "certificate", most=1)
        if certificate.fingerprint(hashes.SHA256()).hex() != self.certificate_id:
            raise ValueError("certificateId is not the SHA-256 of the certificate")
        if self.chain_pem is not None:
            _certificates(self.chain_pem, "certificateChain", most=8)
        _require(_ENDPOINT, self.endpoint, "endpoint")
        _require(_THING_NAME, self.thing_name, "thingName")
        _moment(self.not_after, "notAfter")
        if self.renew_after is not None:
            _moment(self.renew_after, "renewAfter")

    @classmethod
    def of_answer(cls, answer: Answer) -> Identity:
        """Read a 200's JSON (the wire contract). Unknown names are ignored. Raises ValueError for any other body."""
        document = _document(answer.body)
        return cls(
            certificate_pem=_text(document, "certificate"),
            chain_pem=_text(document, "certificateChain") if "certificateChain" in document else None,
            endpoint=_text(document, "endpoint"),
            thing_name=_text(document, "thingName"),
            certificate_id=_text(document, "certificateId"),
            not_after=_text(document, "notAfter"),
            renew_after=_text(document, "renewAfter") if "renewAfter" in document else None,
            request_id=answer.request_id,
        )

    @classmethod
    def of_stored(cls, data: bytes) -> Identity:
        """Read what `stored` wrote. Raises ValueError for anything else, such as a damaged file."""
        try:
            return cls(**_document(data))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a stored identity: {error}") from error

    def stored(self) -> bytes:
        """Return the form for a file. The certificate's id is its checksum."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    def is_for(self, public_key: PublicKey) -> bool:
        """Whether the certificate is for this key."""
        return self._certificate.public_key() == public_key

    @property
    def issuer(self) -> IssuerPath:
        """The issuer that issued and renews it."""
        return IssuerPath.IOT_CORE if self.chain_pem is None else IssuerPath.PRIVATE_CA

    @property
    def valid_from(self) -> datetime:
        """Start of validity. A clock that shows an earlier time is wrong."""
        return self._certificate.not_valid_before_utc

    @property
    def renewal_opens(self) -> datetime | None:
        """`renew_after` as a moment."""
        return None if self.renew_after is None else _moment(self.renew_after, "renewAfter")

    @property
    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem.encode("ascii"))


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_without_doublets)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - data from outside, not an argument
    return document


def _without_doublets(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name occurs twice")
    return document


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def _certificates(pem: str, name: str, *, most: int) -> list[x509.Certificate]:
    found = x509.load_pem_x509_certificates(pem.encode("ascii"))
    if not 1 <= len(found) <= most:
        raise ValueError(f"{name} holds {len(found)} certificates; accepted: 1 to {most}")
    return found


def _require(form: re.Pattern[str], value: str, name: str) -> None:
    if form.fullmatch(value) is None:
        raise ValueError(f"{name} is {value[:140]!a}; accepted: {form.pattern}")


def _moment(value: str, name: str) -> datetime:
    _require(_RFC_3339_UTC, value, name)
    return datetime.fromisoformat(value).astimezone(UTC)
