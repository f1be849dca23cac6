"""The outputs of one product line of a stack. Those after the first have a suffix in their keys."""

from __future__ import annotations

from collections.abc import Mapping

import click
from secretfree.contract import Output

from secretfree_cli.output import CliError, ExitCode


def products_of(outputs: Mapping[str, str]) -> list[str]:
    """Return the product lines of a stack's outputs. The one without a suffix, which was added first, is first."""
    return list(_suffixes(outputs))


def outputs_of_line(outputs: Mapping[str, str], product: str | None, stack: str) -> Mapping[str, str]:
    """Return a product line's outputs by `Output`'s keys. None: the only product line.

    Raises: CliError with exit code 4 if the stack has no such line; UsageError if it has several and none is named.
    """
    lines = _suffixes(outputs)
    if product is None:
        if len(lines) > 1:
            names = ", ".join(sorted(lines))
            raise click.UsageError(f"stack {stack!r} has several product lines: pass --product, one of {names}")
        suffix = next(iter(lines.values()), "")
    elif product in lines:
        suffix = lines[product]
    else:
        raise CliError(
            f"stack {stack!r} has no product line {product!r} (it has: {', '.join(sorted(lines)) or 'none'})",
            hint="a line has outputs after SecretFreeProvisioning.add_outputs()",
            exit_code=ExitCode.NOT_FOUND,
        )
    return {key.value: outputs[key + suffix] for key in Output if key + suffix in outputs}


def _suffixes(outputs: Mapping[str, str]) -> dict[str, str]:
    # A stack may have its own outputs with the same beginning, such as ProductTable.
    suffixes = sorted(key.removeprefix(Output.PRODUCT) for key in outputs if key.startswith(Output.PRODUCT))
    return {outputs[Output.PRODUCT + one]: one for one in suffixes if Output.REGISTRY_TABLE + one in outputs}
