"""Issuing through AWS Private CA, and registering what it issued with IoT Core."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError

from secretfree.adapters import single_try_clients
from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.adapters.certificates import device_certificate
from secretfree.adapters.issuers import IssuerSurroundings
from secretfree.config.issuers import IssuerSettings, SubjectConfig
from secretfree.contract import IssuerSetting, Variable
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    RegisteredCertificate,
    RequestFailedError,
    ThingRegistry,
    UnrecordedSearch,
)
from secretfree.issuance.subject import passthrough_subject

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_iot import IoTClient

# acm-pca API reference, IssueCertificate, IdempotencyToken.
_IDEMPOTENCY_WINDOW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PrivateCaConfig:
    """The kind's settings.

    `registered`: the CAs are registered with IoT Core (RegisterCertificate, otherwise RegisterCertificateWithoutCA).
    `previous_arns`: the previous CAs. Certificates that were requested from them are still collected.
    """

    authority_arn: str
    signing_algorithm: str
    template_arn: str
    validity: timedelta
    registered: bool
    previous_arns: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: IssuerSettings) -> Self:
        """Raises ConfigurationError."""
        settings.require(
            IssuerSetting.AUTHORITY_ARN,
            IssuerSetting.SIGNING_ALGORITHM,
            IssuerSetting.TEMPLATE_ARN,
            IssuerSetting.VALIDITY_DAYS,
            IssuerSetting.REGISTERED,
            optional=[IssuerSetting.PREVIOUS_AUTHORITY_ARNS],
        )
        return cls(
            authority_arn=settings.text(IssuerSetting.AUTHORITY_ARN),
            signing_algorithm=settings.text(IssuerSetting.SIGNING_ALGORITHM),
            template_arn=settings.text(IssuerSetting.TEMPLATE_ARN),
            validity=settings.days(IssuerSetting.VALIDITY_DAYS),
            registered=settings.boolean(IssuerSetting.REGISTERED),
            previous_arns=settings.texts(IssuerSetting.PREVIOUS_AUTHORITY_ARNS),
        )


def build(settings: IssuerSettings, surroundings: IssuerSurroundings) -> "PrivateCaIssuer":
    """The issuer of this kind; raises ConfigurationError."""
    config = PrivateCaConfig.from_settings(settings)
    single_try_clients.acm_pca(config.authority_arn)  # Made at start, not during the first request.
    return PrivateCaIssuer(
        single_try_clients.acm_pca,
        single_try_clients.iot(),
        surroundings.things,
        config=config,
        subject=surroundings.subject,
    )


class PrivateCaIssuer:
    """Port `CertificateIssuer`. `client_for` makes the client for a CA's ARN, in the CA's Region."""

    def __init__(
        self,
        client_for: Callable[[str], "ACMPCAClient"],
        iot: "IoTClient",
        things: ThingRegistry,
        *,
        config: PrivateCaConfig,
        subject: SubjectConfig,
    ) -> None:
        self._client_for = client_for
        self._iot = iot
        self._things = things
        self._config = config
        self._subject = subject

    @property
    def repeatable_for(self) -> timedelta:
        return _IDEMPOTENCY_WINDOW

    @property
    def installs_active(self) -> bool:
        return True

    @property
    def copies_subject(self) -> bool:
        return False

    def request(self, order: CertificateOrder) -> str:
        """IssueCertificate: subject and extensions come from policy and template, only the key comes from the CSR."""
        with aws_call():
            try:
                answer = self._client_for(self._config.authority_arn).issue_certificate(
                    CertificateAuthorityArn=self._config.authority_arn,
                    Csr=order.csr.pem().encode(),
                    SigningAlgorithm=self._config.signing_algorithm,  # type: ignore[arg-type]
                    TemplateArn=self._config.template_arn,
                    Validity={"Type": "DAYS", "Value": self._config.validity.days},
                    ApiPassthrough={"Subject": passthrough_subject(order.device_id, self._subject)},  # type: ignore[typeddict-item]
                    IdempotencyToken=order.token,
                )
            except ClientError as error:
                raise _as_configuration_error(error) from error
        return answer["CertificateArn"]

    def collect(self, reference: str) -> DeviceCertificate | None:
        """GetCertificate; RequestInProgressException means that the certificate is not ready.

        Requests to other CAs are not collected: the role does not permit it, and the device needs a certificate of a
        trusted CA.
        """
        authority_arn, separator, _ = reference.partition("/certificate/")
        if not separator or authority_arn not in (self._config.authority_arn, *self._config.previous_arns):
            raise RequestFailedError("requested from another CA")
        with aws_call():
            try:
                answer = self._client_for(authority_arn).get_certificate(
                    CertificateAuthorityArn=authority_arn, CertificateArn=reference
                )
            except ClientError as error:
                if error_code(error) == "RequestInProgressException":
                    return None
                if error_code(error) == "RequestFailedException":
                    raise RequestFailedError(error_code(error)) from error
                raise
        return device_certificate(answer["Certificate"], chain_pem=answer.get("CertificateChain"))

    def search(self) -> UnrecordedSearch:
        """A search without results: a certificate that was never collected is not registered and cannot connect."""
        return _NoSearch()

    def install(self, certificate: DeviceCertificate, *, resumed: bool) -> str:
        """RegisterCertificate (ACTIVE). "Already exists" is success if this certificate is registered and active.

        A certificate that is known to be registered is only read, because RegisterCertificate has the smallest quota.
        """
        if resumed and certificate.certificate_arn is not None:
            registered = self._things.describe(certificate.certificate_id)
            if registered is not None:
                return _active(certificate, registered)
        with aws_call():
            try:
                return self._register(certificate)
            except ClientError as error:
                if error_code(error) != "ResourceAlreadyExistsException":
                    raise
        registered = self._things.describe(certificate.certificate_id)
        if registered is None:
            raise SecretFreeError(
                ErrorCode.CONFLICT,
                f"another registration stands in the way of certificate {certificate.certificate_id}",
                reason=Reason.UPSTREAM_REFUSED,
            )
        return _active(certificate, registered)

    def activate(self, certificate_id: str) -> None:
        """Do nothing: the certificate was registered as active, and its policy was attached afterwards."""

    def _register(self, certificate: DeviceCertificate) -> str:
        if not self._config.registered:
            answer: Any = self._iot.register_certificate_without_ca(
                certificatePem=certificate.certificate_pem, status="ACTIVE"
            )
            return str(answer["certificateArn"])
        # CAs may have the same subject, so IoT Core needs the signing CA: the chain's first certificate.
        chain = None if certificate.chain is None else certificate.chain.pem
        issuer: Any = {} if chain is None else {"caCertificatePem": _first(chain)}
        answer = self._iot.register_certificate(certificatePem=certificate.certificate_pem, status="ACTIVE", **issuer)
        return str(answer["certificateArn"])


class _NoSearch:
    """Port `UnrecordedSearch`."""

    def find(
        self,
        fingerprint: str,  # noqa: ARG002 - the port's
        *,
        since: datetime,  # noqa: ARG002
        until: datetime,  # noqa: ARG002
        known: Collection[str],  # noqa: ARG002
    ) -> Sequence[DeviceCertificate]:
        return ()


def _active(certificate: DeviceCertificate, registered: RegisteredCertificate) -> str:
    if registered.status is not CertificateStatus.ACTIVE:
        raise CertificateRevokedError(certificate.certificate_id)
    return registered.certificate_arn


_END: Final = "-----END CERTIFICATE-----"


def _first(chain_pem: str) -> str:
    return chain_pem[: chain_pem.index(_END) + len(_END)] + "\n"


def _as_configuration_error(error: ClientError) -> Exception:
    """The failure for a validity that outlives the CA, or an inactive CA. The operator must fix it, not the device.

    AWS's own message is omitted: it may repeat the request's values, and a CSR is never logged.
    """
    code = error_code(error)
    if code == "InvalidStateException" or (code in {"InvalidArgsException", "ValidationException"}):
        return SecretFreeError(
            ErrorCode.INTERNAL,
            f"the private CA refuses to issue ({code}); its state, its own end of validity, the signing algorithm and "
            f"the template must fit the issuer's {IssuerSetting.VALIDITY_DAYS}, {IssuerSetting.SIGNING_ALGORITHM} and "
            f"{IssuerSetting.TEMPLATE_ARN} in {Variable.ISSUERS}",
            reason=Reason.CONFIGURATION,
        )
    return error
