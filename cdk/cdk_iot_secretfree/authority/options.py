"""Options of a certificate authority: frozen records, checked when they are made."""

from dataclasses import dataclass

from aws_cdk import RemovalPolicy
from secretfree.contract import IotRegistration

from cdk_iot_secretfree.authority.revocation import Revocation
from cdk_iot_secretfree.authority.subject import AuthoritySubject
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.options import KeyAlgorithm, UsageMode
from cdk_iot_secretfree.validation import is_token, refuse, require_removal_policy


@dataclass(frozen=True, kw_only=True)
class AuthorityKind:
    """Options that an owned and an imported authority share."""

    key_algorithm: KeyAlgorithm
    usage_mode: UsageMode
    registration: IotRegistration
    functions: FunctionOptions | None


@dataclass(frozen=True, kw_only=True)
class OwnedAuthorityOptions(AuthorityKind):
    """Options of an authority that the stack creates."""

    subject: AuthoritySubject
    revocation: Revocation
    removal_policy: RemovalPolicy

    def __post_init__(self) -> None:
        """Refuse what Private CA would refuse at deploy time."""
        if self.usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE and self.revocation != Revocation():
            accepted = "none in UsageMode.SHORT_LIVED_CERTIFICATE, whose certificates are not revoked"
            refuse("revocation", "CRL or OCSP", accepted)
        require_removal_policy(self.removal_policy)


def pem_certificates(argument: str, pem: str, *, exactly: int | None = None) -> str:
    """Return the PEM if it holds only certificates. A private key must never enter a template."""
    if is_token(pem):
        return pem
    accepted = "one PEM certificate" if exactly == 1 else "PEM certificates"
    if "PRIVATE KEY" in pem:
        refuse(argument, "a private key (not shown)", accepted)
    count = pem.count("-----BEGIN CERTIFICATE-----")
    if count == 0 or count != pem.count("-----END CERTIFICATE-----") or (exactly is not None and count != exactly):
        refuse(argument, f"{count} PEM certificates", accepted)
    return pem.strip() + "\n"
