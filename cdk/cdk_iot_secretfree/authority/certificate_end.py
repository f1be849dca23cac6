"""Reads the end of a certificate's validity from its PEM. The construct depends on no certificate parser."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

from cdk_iot_secretfree.validation import is_token


def end_of_first(pem: str | None) -> datetime | None:
    """Return the `notAfter` of the first certificate (RFC 5280, section 4.1.2.5); None where it cannot be read.

    Only a warning uses it: no deployment depends on it.
    """
    if pem is None or is_token(pem) or (found := _CERTIFICATE.search(pem)) is None:
        return None
    try:
        certificate = _content(base64.b64decode("".join(found[1].split()), validate=True))
        fields = _elements(_content(certificate))
        skipped = 1 if fields[0][0] == _VERSION else 0
        # version, serialNumber, signature, issuer, validity
        tag, text = _elements(fields[skipped + 3][1])[1]
        return datetime.strptime(text.decode("ascii"), _FORMS[tag]).replace(tzinfo=UTC)
    except (binascii.Error, ValueError, IndexError, KeyError):
        return None


def _content(der: bytes) -> bytes:
    """The content of the first element."""
    return _elements(der)[0][1]


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """The elements of a sequence's content: tag and content of each."""
    found = []
    while der:
        length, start = der[1], 2
        if length >= _LONG_FORM:
            start += length - _LONG_FORM
            length = int.from_bytes(der[2:start], "big")
        if start + length > len(der):
            raise ValueError("cut short")
        found.append((der[0], der[start : start + length]))
        der = der[start + length :]
    return found


_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION: Final = 0xA0
_LONG_FORM: Final = 0x80
_FORMS: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
