"""The emulated service's handlers for the operations whose arguments moto's own handlers drop."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from moto.acmpca.responses import ACMPCAResponse
from moto.core.base_backend import BackendDict

from secretfree_cli.local.emulators.private_ca.backend import IssueRequest, StrictAcmPcaBackend
from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError


class StrictAcmPcaResponse(ACMPCAResponse):
    """moto's handler on the strict backend."""

    backends: BackendDict[StrictAcmPcaBackend]
    """Set once by the server, before the first request."""

    @property
    def acmpca_backend(self) -> StrictAcmPcaBackend:
        """The backend of the caller's account in the requested Region."""
        backend: StrictAcmPcaBackend = self.backends[self.current_account][self.region]
        return backend

    def create_certificate_authority(self) -> str:
        """CreateCertificateAuthority."""
        arguments = self._arguments()
        arn = self.acmpca_backend.create_authority(
            configuration=arguments.get("CertificateAuthorityConfiguration"),
            revocation_configuration=arguments.get("RevocationConfiguration"),
            authority_type=arguments.get("CertificateAuthorityType"),
            security_standard=arguments.get("KeyStorageSecurityStandard"),
            usage_mode=arguments.get("UsageMode"),
            idempotency_token=arguments.get("IdempotencyToken"),
            tags=arguments.get("Tags"),
        )
        return json.dumps({"CertificateAuthorityArn": arn})

    def issue_certificate(self) -> str:
        """IssueCertificate."""
        arguments = self._arguments()
        arn = self.acmpca_backend.issue(
            IssueRequest(
                authority_arn=arguments.get("CertificateAuthorityArn", ""),
                csr=_blob(arguments.get("Csr"), "Csr") or b"",
                signing_algorithm=arguments.get("SigningAlgorithm"),
                template_arn=arguments.get("TemplateArn"),
                validity=arguments.get("Validity"),
                not_before=arguments.get("ValidityNotBefore"),
                api_passthrough=arguments.get("ApiPassthrough"),
                idempotency_token=arguments.get("IdempotencyToken"),
            )
        )
        return json.dumps({"CertificateArn": arn})

    def import_certificate_authority_certificate(self) -> str:
        """ImportCertificateAuthorityCertificate."""
        arguments = self._arguments()
        self.acmpca_backend.import_authority_certificate(
            arguments.get("CertificateAuthorityArn", ""),
            certificate=_blob(arguments.get("Certificate"), "Certificate") or b"",
            chain=_blob(arguments.get("CertificateChain"), "CertificateChain"),
        )
        return "{}"

    def get_certificate_authority_certificate(self) -> str:
        """GetCertificateAuthorityCertificate."""
        certificate, chain = self.acmpca_backend.get_certificate_authority_certificate(
            certificate_authority_arn=self._arguments().get("CertificateAuthorityArn", "")
        )
        answer = {"Certificate": certificate.decode().strip()}
        if chain:
            answer["CertificateChain"] = chain.decode().strip()
        return json.dumps(answer)

    def _arguments(self) -> dict[str, Any]:
        arguments = json.loads(self.body)
        if not isinstance(arguments, dict):
            raise InvalidArgsError("The request is not a JSON object")
        return arguments


def _blob(value: str | None, name: str) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise InvalidArgsError(f"{name} is not base64") from error
