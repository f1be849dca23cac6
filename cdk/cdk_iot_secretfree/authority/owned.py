"""A Private CA that the stack creates."""

from datetime import datetime
from typing import Final

from aws_cdk import Annotations, CfnOutput, Stack
from aws_cdk import aws_acmpca as acmpca
from constructs import Construct

from cdk_iot_secretfree.authority.certificate_end import end_of_first
from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.authority.options import OwnedAuthorityOptions
from cdk_iot_secretfree.authority.revocation import crl_bucket, revocation_configuration

FIVE_YEARS: Final = 1_825


class OwnedAuthority(DeviceAuthority):
    """A Private CA that the stack creates."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        options: OwnedAuthorityOptions,
        *,
        kind: str,
        validity_days: int | None = None,
    ) -> None:
        super().__init__(scope, id, options)
        self._validity_days = validity_days
        self._ends_at: datetime | None = None
        self._activation: acmpca.CfnCertificateAuthorityActivation | None = None
        bucket = crl_bucket(self, crl, options.removal_policy) if (crl := options.revocation.crl) else None
        self._resource = acmpca.CfnCertificateAuthority(
            self,
            "Resource",
            type=kind,
            key_algorithm=options.key_algorithm.value,
            signing_algorithm=options.key_algorithm.signing_algorithm,
            subject=options.subject.render(),
            usage_mode=options.usage_mode.value,
            revocation_configuration=revocation_configuration(options.revocation, bucket),
        )
        if bucket is not None:
            # Private CA writes to the bucket when it is created, so the bucket's policy comes first.
            self._resource.node.add_dependency(bucket)
        self._resource.apply_removal_policy(options.removal_policy)
        self._removal_policy = options.removal_policy

    @property
    def arn(self) -> str:
        return self._resource.attr_arn

    @property
    def validity_days(self) -> int | None:
        return self._validity_days

    @property
    def ends_at(self) -> datetime | None:
        return self._ends_at

    @property
    def certificate_chain(self) -> str | None:
        return self._activation.attr_complete_certificate_chain if self._activation else None

    @property
    def is_active(self) -> bool:
        return self._activation is not None

    @property
    def certificate_signing_request(self) -> str:
        """PEM of the CA's own certificate signing request."""
        return self._resource.attr_certificate_signing_request

    def sign_itself(self) -> None:
        certificate = self._certificate(self.arn, self.signing_algorithm, "RootCACertificate/V1")
        self.activate(certificate.attr_certificate, None)

    def be_signed_by(self, parent: DeviceAuthority, path_length: int) -> None:
        template = f"SubordinateCACertificate_PathLen{path_length}/V1"
        certificate = self._certificate(parent.arn, parent.signing_algorithm, template)
        # The parent must be active first. CloudFormation sees only the dependency on its ARN.
        certificate.node.add_dependency(parent)
        self.activate(certificate.attr_certificate, parent.certificate_chain)

    def activate(self, certificate: str, chain: str | None) -> None:
        self._ends_at = end_of_first(certificate)
        self._activation = acmpca.CfnCertificateAuthorityActivation(
            self,
            "Activation",
            certificate_authority_arn=self.arn,
            certificate=certificate,
            certificate_chain=chain,
            status="ACTIVE",
        )
        # Removing the activation alone would leave a retained CA disabled.
        self._activation.apply_removal_policy(self._removal_policy)
        self._register(self._activation)

    def wait_for_certificate(self) -> None:
        CfnOutput(
            self,
            "CertificateSigningRequest",
            value=self.certificate_signing_request,
            description="To be signed by the offline parent, as a CA with path length 0",
        )
        Annotations.of(self).add_warning_v2(
            "cdk-iot-secretfree:authorityPending",
            "This authority waits for its certificate: have the output CertificateSigningRequest signed by the offline "
            "parent and deploy again with signed_certificate and chain. Until then nothing can be issued with it.",
        )

    def _certificate(self, issuer_arn: str, signing_algorithm: str, template: str) -> acmpca.CfnCertificate:
        certificate = acmpca.CfnCertificate(
            self,
            "Certificate",
            certificate_authority_arn=issuer_arn,
            certificate_signing_request=self.certificate_signing_request,
            signing_algorithm=signing_algorithm,
            template_arn=f"arn:{Stack.of(self).partition}:acm-pca:::template/{template}",
            validity=acmpca.CfnCertificate.ValidityProperty(type="DAYS", value=self._validity_days or FIVE_YEARS),
        )
        # CloudFormation revokes a certificate that it deletes. The certificate of a retained CA must stay valid.
        certificate.apply_removal_policy(self._removal_policy)
        return certificate
