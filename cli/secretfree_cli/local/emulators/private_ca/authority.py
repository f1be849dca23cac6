"""One certificate authority: its key and its signatures, by the requested algorithms."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from moto.acmpca.models import CertificateAuthority

from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError
from secretfree_cli.local.emulators.private_ca.subject import x509_name
from secretfree_cli.local.emulators.private_ca.validity import Period

AuthorityKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "EC_prime256v1": ec.SECP256R1,
    "EC_secp384r1": ec.SECP384R1,
    "EC_secp521r1": ec.SECP521R1,
}
_RSA_SIZES = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_HASHES: Mapping[str, type[Hash]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}


class UsageMode(StrEnum):
    """Whether a CA issues certificates of any validity, or of seven days at most."""

    GENERAL_PURPOSE = "GENERAL_PURPOSE"
    SHORT_LIVED = "SHORT_LIVED_CERTIFICATE"


class StrictCertificateAuthority(CertificateAuthority):
    """moto's CA with the requested key algorithm, and a form that can be stored and read again."""

    def __init__(
        self,
        *,
        region: str,
        account_id: str,
        certificate_authority_configuration: dict[str, Any],
        certificate_authority_type: str,
        revocation_configuration: dict[str, Any] | None,
        security_standard: str | None,
        usage_mode: str | None,
    ) -> None:
        """Create the CA and its key.

        Raises: InvalidArgsError for an algorithm that does not exist, is not emulated (ML-DSA, SM2), or does not fit.
        """
        key = _generate_key(certificate_authority_configuration.get("KeyAlgorithm"))
        super().__init__(
            region,
            account_id,
            certificate_authority_configuration,
            certificate_authority_type,
            revocation_configuration or {"CrlConfiguration": {"Enabled": False}},
            security_standard,
        )
        self.usage_mode = _usage_mode(usage_mode)
        self._key: AuthorityKey = key
        self._csr: bytes | None = None
        self.private_bytes = b""  # moto's own key is unused.
        signature_scheme(key, certificate_authority_configuration.get("SigningAlgorithm"))

    @property
    def key(self) -> AuthorityKey:  # type: ignore[override]  # moto has RSA keys only
        """The CA's private key."""
        return self._key

    @property
    def issuer(self) -> x509.Name:
        """The CA's own name, from its configuration."""
        return x509_name(self.subject)

    @property
    def csr(self) -> bytes:
        """The CA's signing request for its own certificate, PEM; always the same, as on AWS."""
        if self._csr is None:
            self._csr = self._request_certificate()
        return self._csr

    def _request_certificate(self) -> bytes:
        algorithm, rsa_padding = signature_scheme(
            self._key, self.certificate_authority_configuration["SigningAlgorithm"]
        )
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(self.issuer)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, algorithm, rsa_padding=rsa_padding)
        )
        return request.public_bytes(serialization.Encoding.PEM)

    def sign(
        self,
        public_key: Any,
        *,
        subject: x509.Name,
        extensions: list[tuple[x509.ExtensionType, bool]],
        period: Period,
        signing_algorithm: str | None,
        issuer: x509.Name,
    ) -> x509.Certificate:
        """Return a certificate of these values with a random serial number of up to 127 bits."""
        algorithm, rsa_padding = signature_scheme(self._key, signing_algorithm)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(secrets.randbits(127) | 1)
            .not_valid_before(period.not_before)
            .not_valid_after(period.not_after)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, algorithm, rsa_padding=rsa_padding)

    @property
    def not_after(self) -> datetime | None:
        """The end of the CA's own certificate, or None without one."""
        certificate = self.certificate
        return certificate.not_valid_after_utc if certificate else None

    @property
    def path_length(self) -> int | None:
        """The maximum number of CA levels below this one; None: no limit."""
        certificate = self.certificate
        if certificate is None:
            return None
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length

    @property
    def chain(self) -> str:
        """The certificates of the CA and its issuers, PEM, as GetCertificate returns them with a leaf."""
        above = self.certificate_chain or b""
        return "\n".join(part.decode().strip() for part in (self.certificate_bytes, above) if part)

    def to_json(self) -> dict[str, Any]:
        """Return the CA as DescribeCertificateAuthority does."""
        document: dict[str, Any] = super().to_json()
        if self.certificate:
            document["Serial"] = str(self.certificate.serial_number)
        return document

    def to_document(self) -> dict[str, Any]:
        """Return the CA for `from_document`, as JSON types, with the private key."""
        return {
            "id": str(self.id),
            "arn": self.arn,
            "account_id": self.account_id,
            "region_name": self.region_name,
            "certificate_authority_configuration": self.certificate_authority_configuration,
            "certificate_authority_type": self.certificate_authority_type,
            "revocation_configuration": self.revocation_configuration,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "status": self.status,
            "usage_mode": self.usage_mode,
            "security_standard": self.security_standard,
            "policy": self.policy,
            "certificate_bytes": self.certificate_bytes.decode(),
            "certificate_chain": self.certificate_chain.decode() if self.certificate_chain else None,
            "csr": self.csr.decode(),
            "key": self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StrictCertificateAuthority:
        """Return the CA of a document by `to_document`."""
        fields = dict(document)
        key = cast("AuthorityKey", serialization.load_pem_private_key(fields.pop("key").encode(), password=None))
        chain = fields.pop("certificate_chain")
        csr = fields.pop("csr", None)  # Stores of earlier versions have none.
        authority: StrictCertificateAuthority = object.__new__(cls)  # Do not generate a new key.
        authority.__dict__.update(fields)
        authority.certificate_bytes = fields["certificate_bytes"].encode()
        authority.certificate_chain = chain.encode() if chain else None
        authority.subject = authority.certificate_authority_configuration.get("Subject", {})
        authority._key = key
        authority._csr = csr.encode() if csr else None
        return authority


def signature_scheme(key: AuthorityKey, signing_algorithm: str | None) -> tuple[Hash, padding.PSS | None]:
    """Return the hash of a SigningAlgorithm and, for RSA-PSS, the padding.

    Raises: InvalidArgsError for one that does not exist or does not fit the CA's key family.
    """
    hash_name, _, family = (signing_algorithm or "").partition("WITH")
    scheme = _HASHES.get(hash_name)
    families = ("ECDSA",) if isinstance(key, ec.EllipticCurvePrivateKey) else ("RSA", "RSA_PSS")
    if scheme is None or family not in families:
        accepted = ", ".join(f"{name}WITH{family}" for family in families for name in _HASHES)
        raise InvalidArgsError(
            f"The signing algorithm {signing_algorithm} does not fit the key of the certificate authority "
            f"(accepted: {accepted})"
        )
    algorithm = scheme()
    if family == "RSA_PSS":
        return algorithm, padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH)
    return algorithm, None


def _generate_key(algorithm: str | None) -> AuthorityKey:
    if algorithm is not None and algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm is not None and algorithm in _RSA_SIZES:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_SIZES[algorithm])
    raise InvalidArgsError(
        f"The key algorithm {algorithm} is not emulated (accepted: {', '.join([*_RSA_SIZES, *_CURVES])})"
    )


def _usage_mode(value: str | None) -> UsageMode:
    try:
        return UsageMode(value or UsageMode.GENERAL_PURPOSE)
    except ValueError as error:
        raise InvalidArgsError(f"Unknown UsageMode {value}") from error
