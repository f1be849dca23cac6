"""Registering a private CA with IoT Core, and taking back what was registered."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from secretfree.adapters.aws_errors import error_code
from secretfree.config import ConfigurationError
from secretfree.contract import IotRegistration, RegistrationProperty

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_iot import IoTClient

# Physical ids: `<id>` was registered by this resource and goes with it; `<id>/shared` was there before and stays.
_SHARED: Final = "/shared"
_CERTIFICATE_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MODES: Final = (IotRegistration.DEFAULT, IotRegistration.SNI_ONLY)
# Seconds. The verification certificate is made at deploy time: there is no hurry, and the function has minutes.
_PATIENCE: Final = 90.0


@dataclass(frozen=True, kw_only=True)
class CaRegistrationRequest:
    """The resource's properties."""

    authority_arn: str
    mode: str
    signing_algorithm: str
    template_arn: str

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> Self:
        """Raises ConfigurationError naming the property."""
        mode = properties.get(RegistrationProperty.MODE, IotRegistration.DEFAULT)
        if mode not in _MODES:
            raise ConfigurationError(f"Mode {mode!r}: accepted are {', '.join(_MODES)}")
        verified = mode == IotRegistration.DEFAULT
        return cls(
            authority_arn=_required(properties, RegistrationProperty.AUTHORITY_ARN),
            mode=mode,
            signing_algorithm=_required(properties, RegistrationProperty.SIGNING_ALGORITHM) if verified else "",
            template_arn=_required(properties, RegistrationProperty.TEMPLATE_ARN) if verified else "",
        )


@dataclass(frozen=True, kw_only=True)
class RegisteredCa:
    """A CA that IoT Core knows. `certificate_id`: lower-case hex SHA-256 of the CA certificate's DER."""

    certificate_id: str
    shared: bool

    @property
    def physical_id(self) -> str:
        return self.certificate_id + (_SHARED if self.shared else "")


class CaRegistration:
    """Idempotent both ways: CloudFormation may repeat each request, and rolls back what failed half-way."""

    def __init__(
        self, iot: "IoTClient", authority: "ACMPCAClient", *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._iot = iot
        self._authority = authority
        self._sleep = sleep

    def ensure(self, request: CaRegistrationRequest, *, previous_physical_id: str | None = None) -> RegisteredCa:
        """The CA is registered and active, for device certificates that are registered one by one.

        A CA that is there already is used as it is, and is not this resource's to delete unless
        `previous_physical_id` says that it is.
        """
        answer = self._authority.get_certificate_authority_certificate(CertificateAuthorityArn=request.authority_arn)
        certificate_pem = answer["Certificate"]
        certificate_id = _certificate_id(certificate_pem)
        ours = previous_physical_id == certificate_id
        described = self._described(certificate_id)
        if described is None:
            ours = self._register(request, certificate_pem) or ours
        else:
            # In another's DEFAULT registration devices of SNI_ONLY are served as well, but not the other way round.
            if ours or request.mode == IotRegistration.DEFAULT:
                _require_mode(described, request.mode)
            if described["status"] != "ACTIVE":
                self._iot.update_ca_certificate(certificateId=certificate_id, newStatus="ACTIVE")
        return RegisteredCa(certificate_id=certificate_id, shared=not ours)

    def remove(self, physical_id: str) -> None:
        """Deactivate and delete the CA certificate if this resource registered it; one that is gone is success."""
        # NEVER_CREATED, one that was there before, or the id that CloudFormation invents where no answer came.
        if _CERTIFICATE_ID.fullmatch(physical_id) is None:
            return
        try:
            self._iot.update_ca_certificate(
                certificateId=physical_id, newStatus="INACTIVE", newAutoRegistrationStatus="DISABLE"
            )
            self._iot.delete_ca_certificate(certificateId=physical_id)
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise

    def _described(self, certificate_id: str) -> Mapping[str, Any] | None:
        try:
            return self._iot.describe_ca_certificate(certificateId=certificate_id)["certificateDescription"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise

    def _register(self, request: CaRegistrationRequest, certificate_pem: str) -> bool:
        """Register; whether it was this call that did (another stack may be at it at the same time)."""
        settings: Any = {
            "caCertificate": certificate_pem,
            "setAsActive": True,
            "allowAutoRegistration": False,
            "certificateMode": request.mode,
        }
        if request.mode == IotRegistration.DEFAULT:
            settings["verificationCertificate"] = self._verification_certificate(request)
        try:
            self._iot.register_ca_certificate(**settings)
        except ClientError as error:
            if error_code(error) != "ResourceAlreadyExistsException":
                raise
            return False
        return True

    def _verification_certificate(self, request: CaRegistrationRequest) -> str:
        """A certificate of that CA for the account's registration code: the proof of holding the CA's key."""
        code = self._iot.get_registration_code()["registrationCode"]
        arn = self._authority.issue_certificate(
            CertificateAuthorityArn=request.authority_arn,
            Csr=_verification_csr(code),
            SigningAlgorithm=request.signing_algorithm,  # type: ignore[arg-type]
            TemplateArn=request.template_arn,
            Validity={"Type": "DAYS", "Value": 1},
            **_passthrough(request.template_arn, code),
        )["CertificateArn"]
        waited = 0.0
        delay = 0.1
        while True:
            try:
                return self._authority.get_certificate(
                    CertificateAuthorityArn=request.authority_arn, CertificateArn=arn
                )["Certificate"]
            except ClientError as error:
                if error_code(error) != "RequestInProgressException" or waited >= _PATIENCE:
                    raise
            self._sleep(delay)
            waited += delay
            delay = min(5.0, delay * 2)


def _require_mode(described: Mapping[str, Any], mode: str) -> None:
    """IoT Core changes no CA's mode: it would have to be registered anew, and those who rely on it would lose it."""
    registered = described.get("certificateMode", mode)
    if registered != mode:
        raise ConfigurationError(
            f"Mode {mode!r}: the CA is registered in mode {registered}, which cannot be changed; accepted is "
            f"{registered}, or remove the present registration first (IotRegistration.NONE)"
        )


def _passthrough(template_arn: str, code: str) -> Any:
    """A template of the passthrough kind takes the subject from the API; the others take the CSR's, and only that."""
    if "APIPassthrough" not in template_arn:
        return {}
    return {"ApiPassthrough": {"Subject": {"CommonName": code}}}


def _verification_csr(code: str) -> bytes:
    """A CSR by a key that is forgotten at once: the certificate is shown once, and never used."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, code)])
    key = ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def _certificate_id(pem: str) -> str:
    return sha256(x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)).hexdigest()


def _required(properties: Mapping[str, Any], name: RegistrationProperty) -> str:
    value = properties.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"property {name} is missing: accepted is a text")
    return value
