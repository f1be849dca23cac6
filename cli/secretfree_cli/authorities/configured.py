"""The CAs that a stack names: those that sign, and the previous ones, which stay trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from secretfree.contract import AuthorityField, Output

from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.target import Target


@dataclass(frozen=True, kw_only=True)
class IssuerAuthorities:
    """The CAs of one issuer, by ARN. `validity`: of a device's certificate."""

    issuer: str
    current: str
    previous: Sequence[str]
    validity: timedelta


def authorities_of(target: Target) -> Sequence[IssuerAuthorities]:
    """Return the CAs of each issuer that has any. Raises CliError for a target that does not name them."""
    if target.ledger_table is None:
        raise CliError("a table alone has no CA", hint="name the stack with --stack", exit_code=ExitCode.USAGE)
    if target.authorities is None:
        raise CliError(
            f"the stack has no output {Output.AUTHORITIES}",
            hint="it has no Private CA, or was deployed with an earlier version: deploy it again",
            exit_code=ExitCode.NOT_FOUND,
        )
    try:
        return [
            IssuerAuthorities(
                issuer=str(name),
                current=str(fields[AuthorityField.CURRENT]),
                previous=[str(arn) for arn in fields[AuthorityField.PREVIOUS]],
                validity=timedelta(days=int(fields[AuthorityField.VALIDITY_DAYS])),
            )
            for name, fields in json.loads(target.authorities).items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CliError(f"the stack's output {Output.AUTHORITIES} cannot be read: {type(error).__name__}") from error
