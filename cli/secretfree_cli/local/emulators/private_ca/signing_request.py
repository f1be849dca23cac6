"""Reads a CSR as the emulated service does: PEM, and signed by its own key."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ObjectIdentifier, SignatureAlgorithmOID

from secretfree_cli.local.emulators.private_ca.errors import MalformedCsrError

# cryptography treats every SHA-1 CSR as invalid, so the signature is verified here with the key.
_HASHES: Mapping[ObjectIdentifier, type[hashes.HashAlgorithm]] = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: hashes.SHA1,
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512,
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: hashes.SHA1,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512,
}


def read_signing_request(pem: bytes, *, accept_sha1: bool) -> x509.CertificateSigningRequest:
    """Return the CSR; MalformedCsrError if it does not parse or its key did not sign it."""
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        request.extensions  # noqa: B018 -- parsed lazily, and a CSR whose extensions do not parse is malformed
    except (ValueError, TypeError) as error:
        raise MalformedCsrError("The CSR is not a PEM-encoded PKCS #10 request") from error
    scheme = _HASHES.get(request.signature_algorithm_oid)
    if scheme is None or (scheme is hashes.SHA1 and not accept_sha1):
        raise MalformedCsrError("The CSR's signature algorithm is not supported")
    signature, signed = request.signature, request.tbs_certrequest_bytes
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(scheme()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), scheme())
        else:
            raise MalformedCsrError("The CSR's key is neither RSA nor EC")
    except InvalidSignature as error:
        raise MalformedCsrError("The CSR's signature does not verify") from error
    return request
