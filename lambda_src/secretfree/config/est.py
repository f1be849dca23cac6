"""The configuration of EST: that of the function for a CSR as the body, and EST's own settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.csr_front import CsrFrontConfig
from secretfree.config.environment import refused, required_text, string_map
from secretfree.contract import Variable


@dataclass(frozen=True, slots=True)
class ReenrollmentConfig:
    """Configuration of re-enrolment: the domain name with mutual TLS, and the ledger of issued certificates."""

    domain: str
    ledger_table: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """None without such a domain; raises ConfigurationError."""
        if not environment.get(Variable.EST_REENROLL_DOMAIN):
            return None
        return cls(
            required_text(environment, Variable.EST_REENROLL_DOMAIN),
            required_text(environment, Variable.LEDGER_TABLE),
        )


@dataclass(frozen=True, slots=True)
class EstConfig:
    """Configuration of the function that answers EST.

    `default_path`: the path of the issuer that answers without a label. `authorities`: the CAs' ARNs by issuer path.
    """

    front: CsrFrontConfig
    default_path: str
    authorities: Mapping[str, tuple[str, ...]]
    reenrollment: ReenrollmentConfig | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        front = CsrFrontConfig.from_environment(environment)
        default = required_text(environment, Variable.EST_ISSUER)
        if default not in front.issuer_functions:
            raise refused(Variable.EST_ISSUER, default, f"one of {', '.join(front.issuer_functions)}")
        authorities = string_map(environment, Variable.EST_AUTHORITIES)
        return cls(
            front,
            default,
            {path: tuple(arns.split(",")) for path, arns in authorities.items()},
            ReenrollmentConfig.from_environment(environment),
        )
