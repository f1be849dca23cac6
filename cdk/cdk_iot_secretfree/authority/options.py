"""What an owned certificate authority is made of: one frozen record, checked when it is made."""

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
    """What an owned and an imported authority have alike."""

    key_algorithm: KeyAlgorithm
    usage_mode: UsageMode
    registration: IotRegistration
    functions: FunctionOptions | None


@dataclass(frozen=True, kw_only=True)
class OwnedAuthorityOptions(AuthorityKind):
    """An authority of this stack."""

    subject: AuthoritySubject
    revocation: Revocation
    removal_policy: RemovalPolicy

    def __post_init__(self) -> None:
        """Refuse what Private CA would refuse at deploy time."""
        if self.usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE and self.revocation != Revocation():
            accepted = "none in UsageMode.SHORT_LIVED_CERTIFICATE: its certificates just end"
            refuse("revocation", "CRL or OCSP", accepted)
        require_removal_policy(self.removal_policy)


def pem_certificates(argument: str, pem: str, *, exactly: int | None = None) -> str:
    """The PEM, if it is certificates and nothing else. Above all, no private key enters a template."""
    if is_token(pem):
        return pem
    accepted = "one PEM certificate" if exactly == 1 else "PEM certificates"
    if "PRIVATE KEY" in pem:
        refuse(argument, "a private key (not shown)", accepted)
    count = pem.count("-----BEGIN CERTIFICATE-----")
    if count == 0 or count != pem.count("-----END CERTIFICATE-----") or (exactly is not None and count != exactly):
        refuse(argument, f"{count} PEM certificates", accepted)
    return pem.strip() + "\n"
