"""`AWS::ACMPCA::*` for the emulator's CloudFormation, through the API of the Private CA emulator.

Source of properties, attributes and update behaviour: AWS CloudFormation template reference, AWS Private CA.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

AUTHORITY = "AWS::ACMPCA::CertificateAuthority"
CERTIFICATE = "AWS::ACMPCA::Certificate"
ACTIVATION = "AWS::ACMPCA::CertificateAuthorityActivation"

REPLACING: Mapping[str, tuple[str, ...]] = {
    AUTHORITY: (
        "CsrExtensions",
        "KeyAlgorithm",
        "KeyStorageSecurityStandard",
        "SigningAlgorithm",
        "Subject",
        "Type",
        "UsageMode",
    ),
    CERTIFICATE: (
        "ApiPassthrough",
        "CertificateAuthorityArn",
        "CertificateSigningRequest",
        "SigningAlgorithm",
        "TemplateArn",
        "Validity",
        "ValidityNotBefore",
    ),
    ACTIVATION: ("CertificateAuthorityArn",),
}
"""Properties whose change replaces the resource."""

_NUMBERS = frozenset({"ExpirationInDays", "PathLength"})
_PERIODS = frozenset({"Validity", "ValidityNotBefore"})
_SWITCHES = frozenset({"Enabled", "Critical", "OmitExtension"})
_ISSUANCE_SECONDS = 60.0
_POLL_SECONDS = 0.1

Properties = Mapping[str, Any]
Made = tuple[str, dict[str, str]]
"""The physical id, which is an ARN, and the attributes."""


@dataclass(frozen=True)
class Provider:
    """The handlers of the three types."""

    client: Callable[[], Any]
    """Makes a boto3 client of acm-pca for the Region of the current stack."""
    sleep: Callable[[float], None] = time.sleep

    def handlers(self) -> dict[str, dict[str, Callable[..., Any]]]:
        """Return the handlers by type, in ministack's form."""
        return {
            AUTHORITY: {
                "create": lambda _logical, properties, _stack: self.create_authority(properties),
                "update": lambda arn, _old, new, _stack: self.update_authority(arn, new),
                "delete": lambda arn, _properties: self.delete_authority(arn),
            },
            CERTIFICATE: {
                "create": lambda _logical, properties, _stack: self.issue(properties),
                "update": lambda arn, _old, new, _stack: (arn, self._certificate(arn, new)),
                "delete": self.revoke,
            },
            ACTIVATION: {
                "create": lambda _logical, properties, _stack: self.activate(properties),
                "update": lambda _arn, _old, new, _stack: self.activate(new),
                "delete": lambda arn, _properties: self.deactivate(arn),
            },
        }

    def create_authority(self, properties: Properties) -> Made:
        """Create a CA, which has no certificate yet."""
        given = typed(properties)
        configuration = ("KeyAlgorithm", "SigningAlgorithm", "Subject", "CsrExtensions")
        rest = ("RevocationConfiguration", "KeyStorageSecurityStandard", "UsageMode", "Tags")
        client = self.client()
        arn = client.create_certificate_authority(
            CertificateAuthorityType=given.get("Type"),
            CertificateAuthorityConfiguration=_taken(given, configuration),
            **_taken(given, rest),
        )["CertificateAuthorityArn"]
        return arn, _authority_attributes(client, arn)

    def update_authority(self, arn: str, properties: Properties) -> Made:
        """Change a CA's revocation configuration and tags."""
        given = typed(properties)
        client = self.client()
        client.update_certificate_authority(
            CertificateAuthorityArn=arn,
            RevocationConfiguration=given.get("RevocationConfiguration", {"CrlConfiguration": {"Enabled": False}}),
        )
        wanted = given.get("Tags", [])
        names = {tag["Key"] for tag in wanted}
        old = [tag for tag in client.list_tags(CertificateAuthorityArn=arn)["Tags"] if tag["Key"] not in names]
        if old:
            client.untag_certificate_authority(CertificateAuthorityArn=arn, Tags=old)
        if wanted:
            client.tag_certificate_authority(CertificateAuthorityArn=arn, Tags=wanted)
        return arn, _authority_attributes(client, arn)

    def delete_authority(self, arn: str) -> None:
        """Delete a CA; an active one is disabled first, a missing one is success."""
        client = self.client()
        try:
            status = client.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"][
                "Status"
            ]
            if status == "DELETED":
                return
            if status == "ACTIVE":
                client.update_certificate_authority(CertificateAuthorityArn=arn, Status="DISABLED")
            client.delete_certificate_authority(CertificateAuthorityArn=arn)
        except client.exceptions.ResourceNotFoundException:
            return

    def issue(self, properties: Properties) -> Made:
        """Request a certificate and wait for it."""
        given = typed(properties)
        options = ("ApiPassthrough", "SigningAlgorithm", "TemplateArn", "Validity", "ValidityNotBefore")
        arn = self.client().issue_certificate(
            CertificateAuthorityArn=given.get("CertificateAuthorityArn"),
            Csr=str(given.get("CertificateSigningRequest", "")).encode(),
            **_taken(given, options),
        )["CertificateArn"]
        return arn, self._certificate(arn, given)

    def revoke(self, arn: str, properties: Properties) -> None:
        """Revoke a certificate. A CA's own certificate and those of an inactive CA stay unchanged."""
        client = self.client()
        serial = f"{int(arn.rsplit('/', 1)[-1]):x}"
        kinds = client.exceptions
        try:
            client.revoke_certificate(
                CertificateAuthorityArn=properties["CertificateAuthorityArn"],
                CertificateSerial=serial,
                RevocationReason="UNSPECIFIED",
            )
        except (
            kinds.InvalidRequestException,
            kinds.InvalidStateException,
            kinds.RequestAlreadyProcessedException,
            kinds.ResourceNotFoundException,
        ):
            return

    def activate(self, properties: Properties) -> Made:
        """Import a CA's certificate and set its state."""
        arn, certificate = properties["CertificateAuthorityArn"], properties["Certificate"]
        chain = properties.get("CertificateChain")
        client = self.client()
        client.import_certificate_authority_certificate(
            CertificateAuthorityArn=arn,
            Certificate=certificate.encode(),
            **({"CertificateChain": chain.encode()} if chain else {}),
        )
        wanted = properties.get("Status", "ACTIVE")
        if (
            client.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"]["Status"]
            != wanted
        ):
            client.update_certificate_authority(CertificateAuthorityArn=arn, Status=wanted)
        complete = "\n".join(part.strip() for part in (certificate, chain) if part)
        return arn, {"CompleteCertificateChain": complete}

    def deactivate(self, arn: str) -> None:
        """Disable a CA; an inactive one stays unchanged."""
        client = self.client()
        try:
            client.update_certificate_authority(CertificateAuthorityArn=arn, Status="DISABLED")
        except (client.exceptions.InvalidStateException, client.exceptions.ResourceNotFoundException):
            return

    def _certificate(self, arn: str, properties: Properties) -> dict[str, str]:
        client = self.client()
        for _ in range(int(_ISSUANCE_SECONDS / _POLL_SECONDS)):
            try:
                answer = client.get_certificate(
                    CertificateAuthorityArn=properties["CertificateAuthorityArn"], CertificateArn=arn
                )
            except client.exceptions.RequestInProgressException:
                self.sleep(_POLL_SECONDS)
            else:
                return {"Arn": arn, "Certificate": answer["Certificate"]}
        raise ValueError(f"{arn} was not issued within {_ISSUANCE_SECONDS:.0f} s")


def install(provider: Provider) -> None:
    """Add the types to this process's CloudFormation."""
    from ministack.services.cloudformation import provisioners, stacks

    provisioners._RESOURCE_HANDLERS.update(provider.handlers())  # noqa: SLF001 -- there is no setting for it
    provisioners._REPLACING_PROPERTIES.update(REPLACING)  # noqa: SLF001
    runs_on_worker_thread = stacks._runs_on_worker_thread  # noqa: SLF001
    # Their handlers wait for another process.
    stacks._runs_on_worker_thread = lambda kind: kind in REPLACING or runs_on_worker_thread(kind)  # noqa: SLF001


def client_of_stacks_region() -> Any:
    """Return a client of the Private CA emulator, with the key and the address from this process's environment."""
    import boto3
    from ministack.core.responses import get_region

    return boto3.client("acm-pca", region_name=get_region())


def typed(value: Any, name: str = "", parent: str = "") -> Any:
    """Return a property's value with numbers and booleans converted from text, which a template may contain."""
    if isinstance(value, Mapping):
        return {key: typed(item, key, name) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item, name, parent) for item in value]
    if name in _SWITCHES and isinstance(value, str):
        return value.lower() == "true"
    is_number = name in _NUMBERS or (name == "Value" and parent in _PERIODS)
    if is_number and isinstance(value, str) and value.isdecimal():
        return int(value)
    return value


def _taken(properties: Properties, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: properties[name] for name in names if properties.get(name) is not None}


def _status(client: Any, arn: str) -> str:
    described = client.describe_certificate_authority(CertificateAuthorityArn=arn)
    return str(described["CertificateAuthority"]["Status"])


def _authority_attributes(client: Any, arn: str) -> dict[str, str]:
    csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    return {"Arn": arn, "CertificateSigningRequest": csr}
