"""The configuration of the function that accepts a CSR as the body."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from secretfree.config.authorizer import AuthorizerConfig
from secretfree.config.environment import number, string_map
from secretfree.contract import Variable


@dataclass(frozen=True, slots=True)
class CsrFrontConfig:
    """Configuration of the function that accepts a CSR as the body.

    `issuer_functions`: the function that answers for each issuer, by the issuer's path. `retry_after`: whole seconds,
    the `Retry-After` of the API's own 5xx answers.
    """

    authorizer: AuthorizerConfig
    issuer_functions: Mapping[str, str]
    retry_after: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            AuthorizerConfig.from_environment(environment),
            string_map(environment, Variable.ISSUER_FUNCTIONS),
            number(environment, Variable.RETRY_AFTER_SECONDS, least=1),
        )
