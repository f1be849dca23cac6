"""The distinguished name of a certificate authority."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_acmpca as acmpca

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import require_match


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class AuthoritySubject:
    """The distinguished name of a certificate authority.

    Args:
        common_name: 1 to 64 characters, as in `Widget device CA`.
        organization: up to 64 characters.
        organizational_unit: up to 64 characters.
        country: two capital letters (ISO 3166-1 alpha-2).
        state: up to 128 characters.
        locality: up to 128 characters.
    """

    common_name: str
    organization: str | None = None
    organizational_unit: str | None = None
    country: str | None = None
    state: str | None = None
    locality: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Private CA would refuse at deploy time (RFC 5280, upper bounds)."""
        for argument, longest in _SUBJECT_LENGTHS.items():
            if (value := getattr(self, argument)) is not None:
                form = f"1 to {longest} printable characters"
                require_match(argument, value, f"[^\\x00-\\x1f\\x7f]{{1,{longest}}}", form)
        if self.country is not None:
            require_match("country", self.country, "[A-Z]{2}", "two capital letters, as in 'DE'")

    def render(self) -> acmpca.CfnCertificateAuthority.SubjectProperty:
        """The subject as CloudFormation has it."""
        return acmpca.CfnCertificateAuthority.SubjectProperty(
            common_name=self.common_name,
            organization=self.organization,
            organizational_unit=self.organizational_unit,
            country=self.country,
            state=self.state,
            locality=self.locality,
        )


_SUBJECT_LENGTHS: Final = {
    "common_name": 64,
    "organization": 64,
    "organizational_unit": 64,
    "state": 128,
    "locality": 128,
}
