"""Registers certificates of other Regions: through the issuer if the Regions share the CA, otherwise without the CA."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.config.issuers import IssuerSettings
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateIssuer,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    ThingRegistry,
)

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_CERTIFICATE: Final = "/certificate/"


class ForeignCertificates:
    """Port `Registration`. `issuer`: this Region's issuer, for certificates of a CA that the Regions share."""

    def __init__(
        self, settings: IssuerSettings, issuer: CertificateIssuer, iot: "IoTClient", things: ThingRegistry
    ) -> None:
        self._authorities = settings.authorities
        self._issuer = issuer
        self._iot = iot
        self._things = things

    def install(self, certificate: DeviceCertificate, reference: str) -> str:
        """RegisterCertificateWithoutCA for a certificate of another CA, which is not registered in this Region.

        "Already exists" is success when the certificate is active.
        """
        if reference.partition(_CERTIFICATE)[0] in self._authorities:
            return self._issuer.install(certificate, resumed=False)
        with aws_call():
            try:
                answer = self._iot.register_certificate_without_ca(
                    certificatePem=certificate.certificate_pem, status="ACTIVE"
                )
            except ClientError as error:
                if error_code(error) != "ResourceAlreadyExistsException":
                    raise
            else:
                return str(answer["certificateArn"])
        registered = self._things.describe(certificate.certificate_id)
        if registered is None:
            raise SecretFreeError(
                ErrorCode.CONFLICT,
                f"another registration stands in the way of certificate {certificate.certificate_id}",
                reason=Reason.UPSTREAM_REFUSED,
            )
        if registered.status is not CertificateStatus.ACTIVE:
            raise CertificateRevokedError(certificate.certificate_id)
        return registered.certificate_arn
