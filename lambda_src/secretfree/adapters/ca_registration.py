"""Registers a private CA with IoT Core, and removes the registration."""

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
from secretfree.config.environment import ConfigurationError
from secretfree.contract import IotRegistration
from secretfree.contract_of_deployment import RegistrationProperty

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_iot import IoTClient

# Physical ids: `<certificate id>/<owner>` was registered by that owner and is deleted with it.
# `<certificate id>/shared` was registered by another and stays.
# A plain `<certificate id>` was registered by an earlier version, without a tag.
_SHARED: Final = "shared"
_PHYSICAL_ID: Final = re.compile(r"(?P<certificate>[0-9a-f]{64})(?:/(?P<owner>[0-9a-f]{32}))?", re.ASCII)
_OWNER_TAG: Final = "secretfree:registered-by"
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
    owner: str

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any], *, owner: str) -> Self:
        """`owner`: see `owner_of`. Raises ConfigurationError naming the property."""
        mode = properties.get(RegistrationProperty.MODE, IotRegistration.DEFAULT)
        if mode not in _MODES:
            raise ConfigurationError(f"Mode {mode!r}; accepted: {', '.join(_MODES)}")
        verified = mode == IotRegistration.DEFAULT
        return cls(
            authority_arn=_required(properties, RegistrationProperty.AUTHORITY_ARN),
            mode=mode,
            owner=owner,
            signing_algorithm=_required(properties, RegistrationProperty.SIGNING_ALGORITHM) if verified else "",
            template_arn=_required(properties, RegistrationProperty.TEMPLATE_ARN) if verified else "",
        )


@dataclass(frozen=True, kw_only=True)
class RegisteredCa:
    """A CA that is registered with IoT Core.

    `certificate_id`: lower-case hex SHA-256 of the CA certificate's DER; `physical_id`: of the custom resource.
    """

    certificate_id: str
    physical_id: str

    @property
    def shared(self) -> bool:
        """Whether the registration remains when the resource is deleted."""
        return self.physical_id.endswith(f"/{_SHARED}")


class CaRegistration:
    """Both operations are idempotent: CloudFormation may repeat a request, and rolls back partial failures."""

    def __init__(
        self, iot: "IoTClient", authority: "ACMPCAClient", *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._iot = iot
        self._authority = authority
        self._sleep = sleep

    def ensure(self, request: CaRegistrationRequest, *, previous_physical_id: str | None = None) -> RegisteredCa:
        """Register the CA as active. Device certificates are then registered one by one.

        An existing registration stays as it is. This resource owns it only if the registration's tag names this
        resource, for example after an earlier try of the same request whose answer was lost.
        """
        answer = self._authority.get_certificate_authority_certificate(CertificateAuthorityArn=request.authority_arn)
        certificate_pem = answer["Certificate"]
        certificate_id = _certificate_id(certificate_pem)
        mine = f"{certificate_id}/{request.owner}"
        described = self._described(certificate_id)
        if described is None:
            ours = self._register(request, certificate_pem)
            return RegisteredCa(
                certificate_id=certificate_id, physical_id=mine if ours else f"{certificate_id}/{_SHARED}"
            )
        owner = self._owner(described)
        if owner is None and previous_physical_id == certificate_id:
            # With another physical id, CloudFormation would delete the previous one.
            physical_id = certificate_id
        else:
            physical_id = mine if owner == request.owner else f"{certificate_id}/{_SHARED}"
        # A DEFAULT registration serves devices of SNI_ONLY as well, but not the other way round.
        if not physical_id.endswith(_SHARED) or request.mode == IotRegistration.DEFAULT:
            _require_mode(described, request.mode)
        if described["status"] != "ACTIVE":
            self._iot.update_ca_certificate(certificateId=certificate_id, newStatus="ACTIVE")
        return RegisteredCa(certificate_id=certificate_id, physical_id=physical_id)

    def remove(self, physical_id: str) -> None:
        """Deactivate and delete the registration, if the physical id proves that this resource made it.

        The registration's tag must name the same owner, because another stack may have registered the CA again since. A
        registration that is already gone is success.
        """
        # NEVER_CREATED, an earlier registration, or CloudFormation's own id for a request without an answer.
        proven = _PHYSICAL_ID.fullmatch(physical_id)
        if proven is None:
            return
        described = self._described(proven["certificate"])
        if described is None or self._owner(described) != proven["owner"]:
            return
        try:
            self._iot.update_ca_certificate(
                certificateId=proven["certificate"], newStatus="INACTIVE", newAutoRegistrationStatus="DISABLE"
            )
            self._iot.delete_ca_certificate(certificateId=proven["certificate"])
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise

    def _owner(self, described: Mapping[str, Any]) -> str | None:
        """The owner from the registration's tag; None without that tag."""
        token: dict[str, str] = {}
        while True:
            page = self._iot.list_tags_for_resource(resourceArn=described["certificateArn"], **token)
            for tag in page.get("tags", []):
                if tag["Key"] == _OWNER_TAG:
                    return tag.get("Value", "")
            if not page.get("nextToken"):
                return None
            token = {"nextToken": page["nextToken"]}

    def _described(self, certificate_id: str) -> Mapping[str, Any] | None:
        try:
            return self._iot.describe_ca_certificate(certificateId=certificate_id)["certificateDescription"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise

    def _register(self, request: CaRegistrationRequest, certificate_pem: str) -> bool:
        """Register the CA. Returns whether this call did so: another stack may register it at the same time."""
        settings: Any = {
            "caCertificate": certificate_pem,
            "setAsActive": True,
            "allowAutoRegistration": False,
            "certificateMode": request.mode,
            "tags": [{"Key": _OWNER_TAG, "Value": request.owner}],
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
        """A certificate by the CA for the account's registration code: it proves possession of the CA's key."""
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


def owner_of(stack_id: str, logical_id: str) -> str:
    """Identifies a custom resource through all of its requests: 32 hex digits."""
    return sha256(f"{stack_id} {logical_id}".encode()).hexdigest()[:32]


def _require_mode(described: Mapping[str, Any], mode: str) -> None:
    """Refuse another mode. IoT Core cannot change it, and a new registration would disrupt other users."""
    registered = described.get("certificateMode", mode)
    if registered != mode:
        raise ConfigurationError(
            f"Mode {mode!r}: the CA is registered in mode {registered}, which cannot be changed; accepted: "
            f"{registered}, or remove the existing registration first (IotRegistration.NONE)"
        )


def _passthrough(template_arn: str, code: str) -> Any:
    """Whether the template uses the subject from the API. Other templates use only the subject of the CSR."""
    if "APIPassthrough" not in template_arn:
        return {}
    return {"ApiPassthrough": {"Subject": {"CommonName": code}}}


def _verification_csr(code: str) -> bytes:
    """A CSR whose private key is discarded. Its certificate is used once, for the registration."""
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
        raise ConfigurationError(f"property {name} is missing; accepted: a text")
    return value
