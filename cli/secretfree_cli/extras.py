"""Maps packages to the distribution's extras, and the console script that names a missing one.

Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EXTRAS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "plan": frozenset({"matplotlib", "simpy"}),
        "factory": frozenset({"PIL", "segno", "serial", "zxingcpp"}),
        "pkcs11": frozenset({"awscrt", "awsiot", "pkcs11"}),
        "local": frozenset({"ministack", "moto"}),
    }
)
"""Extras by the import names of packages.

Every other package of the command is in the extra `cli`, which these include.
"""


def advice_for(package: str, extra: str = "cli") -> str:
    """Return how to install the extra of a package; `extra` if the table does not have the package."""
    top_level = package.partition(".")[0]
    named = next((name for name, packages in EXTRAS.items() if top_level in packages), extra)
    return f"pip install 'cdk-iot-secretfree[{named}]'"


def main() -> None:
    """Run the command `secretfree`, or name the missing extra."""
    try:
        from secretfree_cli.main import main as run
    except ModuleNotFoundError as error:
        print(f"error: `secretfree` needs the Python package {error.name!r}, which is not installed", file=sys.stderr)  # noqa: T201 - click may be what is missing
        print(f"hint: {advice_for(error.name or '')}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    run()
