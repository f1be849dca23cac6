"""The emulated service: moto's acm-pca backend with AWS's checks, kept in a store."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from moto.acmpca import urls
from moto.acmpca.models import ACMPCABackend
from moto.core.utils import unix_time

from secretfree_cli.local.emulators.private_ca.authority import StrictCertificateAuthority, UsageMode, signature_scheme
from secretfree_cli.local.emulators.private_ca.errors import (
    CertificateMismatchError,
    InvalidArgsError,
    InvalidArnError,
    InvalidRequestError,
    InvalidStateError,
    InvalidTagError,
    MalformedCertificateError,
    RequestAlreadyProcessedError,
    RequestInProgressError,
    ResourceNotFoundError,
    ThrottlingError,
    ValidationError,
)
from secretfree_cli.local.emulators.private_ca.settings import Settings, TokenBucket
from secretfree_cli.local.emulators.private_ca.signing_request import read_signing_request
from secretfree_cli.local.emulators.private_ca.store import Store
from secretfree_cli.local.emulators.private_ca.templates import Template, find_template
from secretfree_cli.local.emulators.private_ca.validity import SHORT_LIVED_LIMIT, Period, period

_AUTHORITY_ARN = re.compile(r"arn:aws[a-z-]*:acm-pca:[a-z0-9-]+:\d{12}:certificate-authority/[0-9a-f-]{36}")
_CERTIFICATE_ARN = re.compile(_AUTHORITY_ARN.pattern + r"/certificate/[0-9]+")
_REVOCATION_REASONS = frozenset(
    {
        "UNSPECIFIED",
        "KEY_COMPROMISE",
        "CERTIFICATE_AUTHORITY_COMPROMISE",
        "AFFILIATION_CHANGED",
        "SUPERSEDED",
        "CESSATION_OF_OPERATION",
        "PRIVILEGE_WITHDRAWN",
        "A_A_COMPROMISE",
    }
)


@dataclass(frozen=True)
class IssueRequest:
    """The arguments of IssueCertificate."""

    authority_arn: str
    csr: bytes
    signing_algorithm: str | None
    template_arn: str | None
    validity: Mapping[str, Any] | None
    not_before: Mapping[str, Any] | None
    api_passthrough: Mapping[str, Any] | None
    idempotency_token: str | None


@dataclass
class Emulation:
    """State that the backends of all accounts and Regions share. moto makes them, so it is on their class."""

    store: Store
    _quotas: dict[tuple[str, float], TokenBucket] = field(default_factory=dict)

    def throttle(self, operation: str, rate: float) -> None:
        """Count a request; ThrottlingError above the rate."""
        if not self._quotas.setdefault((operation, rate), TokenBucket(rate)).take():
            raise ThrottlingError("Rate exceeded")


class StrictAcmPcaBackend(ACMPCABackend):
    """One account's CAs in one Region."""

    emulation: Emulation
    """Set once by the server, before the first request."""

    def __init__(self, region_name: str, account_id: str) -> None:
        """Read the CAs back from the store."""
        super().__init__(region_name, account_id)
        self._issuing = threading.Lock()
        self._creations: dict[str, tuple[float, str]] = {}
        for document in self.emulation.store.authorities(account=account_id, region=region_name):
            authority = StrictCertificateAuthority.from_document(document)
            self.certificate_authorities[authority.arn] = authority

    @property
    def _url_module(self) -> Any:
        """moto derives it from the class's module, which is not below `moto` here."""
        return urls

    def describe_certificate_authority(self, certificate_authority_arn: str | None) -> StrictCertificateAuthority:
        """Return the CA; ResourceNotFoundError if no CA has the ARN, InvalidArnError if it is not the ARN of a CA."""
        if not certificate_authority_arn or not _AUTHORITY_ARN.fullmatch(certificate_authority_arn):
            raise InvalidArnError(f"{certificate_authority_arn} is not the ARN of a certificate authority")
        authority = self.certificate_authorities.get(certificate_authority_arn)
        if not isinstance(authority, StrictCertificateAuthority):
            raise ResourceNotFoundError(f"Could not find certificate authority {certificate_authority_arn}")
        return authority

    def create_authority(
        self,
        *,
        configuration: dict[str, Any] | None,
        revocation_configuration: dict[str, Any] | None,
        authority_type: str | None,
        security_standard: str | None,
        usage_mode: str | None,
        idempotency_token: str | None,
        tags: list[dict[str, str]] | None,
    ) -> str:
        """Create a CA in state PENDING_CERTIFICATE and return its ARN.

        The same token within the window returns the same CA.
        """
        if authority_type not in ("ROOT", "SUBORDINATE"):
            raise InvalidArgsError(f"Unknown CertificateAuthorityType {authority_type}")
        if not configuration:
            raise InvalidArgsError("CertificateAuthorityConfiguration is required")
        with self._issuing:
            since = time.time() - Settings.from_environment().idempotency_seconds
            made_at, arn = self._creations.get(idempotency_token or "", (0.0, ""))
            if idempotency_token and made_at >= since:
                return arn
            authority = StrictCertificateAuthority(
                region=self.region_name,
                account_id=self.account_id,
                certificate_authority_configuration=configuration,
                certificate_authority_type=authority_type,
                revocation_configuration=revocation_configuration,
                security_standard=security_standard,
                usage_mode=usage_mode,
            )
            _check_revocation_fits_mode(authority)
            _check_tags(tags or [])
            self.certificate_authorities[authority.arn] = authority
            self._save(authority)
            if idempotency_token:
                self._creations[idempotency_token] = (time.time(), authority.arn)
        if tags:
            self.tagger.tag_resource(authority.arn, tags)
        return str(authority.arn)

    def issue(self, request: IssueRequest) -> str:
        """Issue a certificate and return its ARN, which ends in the serial number, decimal."""
        authority = self.describe_certificate_authority(request.authority_arn)
        settings = self._settings(authority)
        self.emulation.throttle("IssueCertificate", settings.issue_rate)
        template = find_template(request.template_arn)
        _check_state(authority, template)
        signature_scheme(authority.key, request.signing_algorithm)
        csr = read_signing_request(request.csr, accept_sha1=settings.accept_sha1_csr)
        if template.is_root:
            _check_own_request(authority, csr)
        with self._issuing:
            # Under the lock, so that two requests with one token cannot both find nothing and issue twice.
            now = time.time()
            earlier = self._issued_for(authority, request.idempotency_token, now)
            return earlier or self._issue_new(authority, template, csr, request, now)

    def get_certificate(self, certificate_authority_arn: str, certificate_arn: str) -> tuple[bytes, bytes]:
        """Return a certificate, revoked or not, and its chain as PEM; RequestInProgressError before it is issued."""
        authority = self.describe_certificate_authority(certificate_authority_arn)
        settings = self._settings(authority)
        self.emulation.throttle("GetCertificate", settings.get_rate)
        if not certificate_arn or not _CERTIFICATE_ARN.fullmatch(certificate_arn):
            raise InvalidArnError(f"{certificate_arn} is not the ARN of a certificate")
        found = self.emulation.store.certificate(certificate_arn)
        if found is None or not certificate_arn.startswith(authority.arn + "/"):
            raise ResourceNotFoundError(f"Could not find certificate {certificate_arn}")
        if time.time() < found.issued_at + settings.issuance_seconds:
            raise RequestInProgressError("The certificate is being issued; try again later")
        is_root = x509.load_pem_x509_certificate(found.pem.encode()).public_key() == authority.key.public_key()
        return found.pem.encode(), b"" if is_root else authority.chain.encode()

    def import_authority_certificate(self, authority_arn: str, *, certificate: bytes, chain: bytes | None) -> None:
        """Import a CA's certificate, which makes it ACTIVE."""
        authority = self.describe_certificate_authority(authority_arn)
        if authority.status not in ("PENDING_CERTIFICATE", "ACTIVE", "DISABLED", "EXPIRED"):
            raise InvalidStateError(f"The certificate authority is in state {authority.status}")
        try:
            parsed = x509.load_pem_x509_certificate(certificate)
            above = x509.load_pem_x509_certificates(chain) if chain else []
        except ValueError as error:
            raise MalformedCertificateError("The certificate or its chain is not PEM-encoded X.509") from error
        _check_fits_authority(authority, parsed, above)
        authority.import_certificate_authority_certificate(certificate, chain)
        self._save(authority)

    def revoke_certificate(
        self, certificate_authority_arn: str, certificate_serial: str, revocation_reason: str
    ) -> None:
        """Revoke the certificate with a serial number in hex, with or without colons."""
        authority = self.describe_certificate_authority(certificate_authority_arn)
        self.emulation.throttle("RevokeCertificate", self._settings(authority).revoke_rate)
        if authority.status != "ACTIVE":
            raise InvalidStateError(f"The certificate authority is in state {authority.status}")
        if revocation_reason not in _REVOCATION_REASONS:
            raise InvalidRequestError(f"Unknown RevocationReason {revocation_reason}")
        digits = (certificate_serial or "").replace(":", "")
        if not re.fullmatch("[0-9A-Fa-f]{1,40}", digits):
            raise InvalidRequestError("CertificateSerial must be hexadecimal")
        found = self.emulation.store.certificate_by_serial(authority.arn, int(digits, 16))
        if found is None:
            raise ResourceNotFoundError(f"Could not find a certificate with serial number {certificate_serial}")
        if found.revoked_at is not None:
            raise RequestAlreadyProcessedError("The certificate is revoked already")
        self.emulation.store.revoke(found.arn, reason=revocation_reason, at=time.time())

    def update_certificate_authority(
        self, certificate_authority_arn: str, revocation_configuration: dict[str, Any] | None, status: str | None
    ) -> None:
        """Enable or disable a CA, or change its revocation configuration."""
        authority = self.describe_certificate_authority(certificate_authority_arn)
        if authority.status not in ("ACTIVE", "DISABLED"):
            raise InvalidStateError(f"The certificate authority is in state {authority.status}")
        if status not in (None, "ACTIVE", "DISABLED"):
            raise InvalidArgsError("Status must be ACTIVE or DISABLED")
        if status is not None:
            authority.status = status
        authority.set_revocation_configuration(revocation_configuration)
        authority.updated_at = unix_time()
        _check_revocation_fits_mode(authority)
        self._save(authority)

    def delete_certificate_authority(self, certificate_authority_arn: str) -> None:
        """Delete a CA. A CA that was active must be disabled first."""
        authority = self.describe_certificate_authority(certificate_authority_arn)
        if authority.status not in ("PENDING_CERTIFICATE", "DISABLED", "EXPIRED"):
            raise InvalidStateError(f"The certificate authority is in state {authority.status}")
        authority.status = "DELETED"
        authority.updated_at = unix_time()
        self._save(authority)

    def tag_certificate_authority(self, certificate_authority_arn: str, tags: list[dict[str, str]]) -> None:
        """Tag a CA. Tags do not outlive the process; those of `settings` take effect at once."""
        self.describe_certificate_authority(certificate_authority_arn)
        _check_tags(tags)
        super().tag_certificate_authority(certificate_authority_arn, tags)

    def put_policy(self, resource_arn: str, policy: str) -> None:
        """Attach a resource policy."""
        super().put_policy(resource_arn, policy)
        self._save(self.describe_certificate_authority(resource_arn))

    def delete_policy(self, resource_arn: str) -> None:
        """Remove the resource policy."""
        super().delete_policy(resource_arn)
        self._save(self.describe_certificate_authority(resource_arn))

    def _settings(self, authority: StrictCertificateAuthority) -> Settings:
        return Settings.for_authority(self.tagger.get_tag_dict_for_resource(authority.arn))

    def _issued_for(self, authority: StrictCertificateAuthority, token: str | None, now: float) -> str | None:
        if token is None:
            return None
        if not 1 <= len(token) <= 36:
            raise ValidationError("IdempotencyToken must have 1 to 36 characters")
        since = now - self._settings(authority).idempotency_seconds
        earlier = self.emulation.store.certificate_by_token(authority.arn, token, since=since)
        return earlier.arn if earlier else None

    def _issue_new(
        self,
        authority: StrictCertificateAuthority,
        template: Template,
        csr: x509.CertificateSigningRequest,
        request: IssueRequest,
        now: float,
    ) -> str:
        issued_at = datetime.fromtimestamp(now, UTC)
        valid = period(request.validity, request.not_before, issued_at=issued_at)
        _check_within_authority(authority, template, valid, issued_at)
        certificate = authority.sign(
            csr.public_key(),
            subject=template.subject(csr, request.api_passthrough),
            extensions=template.extensions(csr, request.api_passthrough, issuer_key=authority.key.public_key()),
            period=valid,
            signing_algorithm=request.signing_algorithm,
            issuer=csr.subject if authority.certificate is None else authority.certificate.subject,
        )
        arn = f"{authority.arn}/certificate/{certificate.serial_number}"
        self.emulation.store.add_certificate(
            arn,
            authority=authority.arn,
            serial=certificate.serial_number,
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode().strip(),
            token=request.idempotency_token,
            issued_at=now,
        )
        return arn

    def _save(self, authority: StrictCertificateAuthority) -> None:
        self.emulation.store.save_authority(
            authority.arn, account=self.account_id, region=self.region_name, document=authority.to_document()
        )


def _check_state(authority: StrictCertificateAuthority, template: Template) -> None:
    """A CA without a certificate can sign only its own root certificate.

    A CA in another inactive state signs nothing.
    """
    allowed = {"ACTIVE", "PENDING_CERTIFICATE"} if template.is_root else {"ACTIVE"}
    if authority.status not in allowed:
        raise InvalidStateError(f"The certificate authority is in state {authority.status}")
    if template.is_root and authority.certificate_authority_type != "ROOT":
        raise InvalidArgsError("A subordinate certificate authority cannot issue a root certificate")
    depth = authority.path_length
    if template.path_length is not None and depth is not None and template.path_length >= depth:
        raise InvalidArgsError(f"The path length must be less than the issuing certificate authority's, {depth}")


def _check_tags(tags: list[dict[str, str]]) -> None:
    try:
        Settings.for_authority({tag["Key"]: tag.get("Value", "") for tag in tags})
    except ValueError as error:
        raise InvalidTagError(str(error)) from error


def _check_own_request(authority: StrictCertificateAuthority, csr: x509.CertificateSigningRequest) -> None:
    if csr.public_key() != authority.key.public_key():
        raise InvalidArgsError("RootCACertificate is for the certificate authority's own CSR")


def _check_within_authority(
    authority: StrictCertificateAuthority, template: Template, valid: Period, issued_at: datetime
) -> None:
    is_short_lived = authority.usage_mode == UsageMode.SHORT_LIVED and not template.is_ca
    if is_short_lived and valid.not_after - issued_at > SHORT_LIVED_LIMIT:
        raise ValidationError("A short-lived certificate authority issues certificates of at most 7 days")
    if template.is_root or authority.not_after is None:
        return
    if valid.not_after > authority.not_after:
        raise ValidationError("The certificate validity specified exceeds the certificate authority validity")


def _check_fits_authority(
    authority: StrictCertificateAuthority, certificate: x509.Certificate, above: list[x509.Certificate]
) -> None:
    if certificate.public_key() != authority.key.public_key():
        raise CertificateMismatchError("The certificate is not for the key of this certificate authority")
    if authority.certificate_authority_type == "ROOT":
        if above:
            raise InvalidRequestError("A root certificate authority takes no certificate chain")
        above = []
    elif not above:
        raise InvalidRequestError("A subordinate certificate authority needs its certificate chain")
    chain = [certificate, *above]
    for lower, upper in zip(chain, [*chain[1:], chain[-1]], strict=True):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateMismatchError("The certificate chain does not verify") from error


def _check_revocation_fits_mode(authority: StrictCertificateAuthority) -> None:
    if authority.usage_mode != UsageMode.SHORT_LIVED:
        return
    for kind in ("CrlConfiguration", "OcspConfiguration"):
        if authority.revocation_configuration.get(kind, {}).get("Enabled"):
            raise InvalidArgsError(f"{kind} cannot be enabled for a short-lived certificate authority")
