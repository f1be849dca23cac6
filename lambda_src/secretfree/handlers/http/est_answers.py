"""EST's answers (RFC 7030): certificates in PKCS #7, base64 on one line, which some clients require."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from secretfree.handlers.http.problem import proxy_response

_TYPE: Final = "application/pkcs7-mime"
_HEADERS: Final = {"Content-Transfer-Encoding": "base64", "Cache-Control": "no-store"}


def ca_certificates(certificates: Sequence[x509.Certificate]) -> dict[str, Any]:
    """The answer of `cacerts` (section 4.1.3)."""
    return _certificates(_TYPE, certificates)


def enrolled(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `simpleenroll` and `simplereenroll` (section 4.2.3): the certificate alone, without a chain.

    `answer`: an issuer's answer, with the certificate in PEM if its status is 200. Other answers are returned
    unchanged.
    """
    if answer["statusCode"] != 200:
        return dict(answer)
    return _certificates(f"{_TYPE}; smime-type=certs-only", x509.load_pem_x509_certificates(answer["body"].encode()))


def no_csr_attributes() -> dict[str, Any]:
    """The answer of `csrattrs` if no attribute is required (section 4.5.2)."""
    return proxy_response(204, {"Cache-Control": "no-store"}, "")


def _certificates(content_type: str, certificates: Sequence[x509.Certificate]) -> dict[str, Any]:
    body = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return proxy_response(200, {"Content-Type": content_type, **_HEADERS}, base64.b64encode(body).decode("ascii"))
