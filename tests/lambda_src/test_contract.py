"""The contract: what construct, runtime and command line share is written once and weighs nothing."""

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cdk_iot_secretfree
import pytest
import secretfree
import secretfree_cli
from secretfree import contract
from secretfree.request import device_profile

CONSTRUCT = Path(cdk_iot_secretfree.__file__).parent
RUNTIME = Path(secretfree.__file__).parent
COMMAND_LINE = Path(secretfree_cli.__file__).parent


def modules(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_contract_loads_nothing_else_of_the_runtime() -> None:
    script = (
        "import sys, secretfree.contract; "
        "print(sorted(n for n in sys.modules if n.startswith(('secretfree.', 'boto', 'cryptography', 'aws_cdk'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert loaded == "['secretfree.contract']"


@pytest.mark.parametrize("module", modules(CONSTRUCT), ids=lambda path: path.relative_to(CONSTRUCT).as_posix())
def test_the_construct_imports_the_contract_and_nothing_else_of_the_runtime(module: Path) -> None:
    of_runtime = {name for name in imported(module) if name == "secretfree" or name.startswith("secretfree.")}
    assert all(re.match(r"secretfree\.contract(_of_deployment)?(\.|$)", name) for name in of_runtime)


# Lambda's own variables stand in the contract for the runtime that reads them; AWS's other tools write them too.
OURS = [name for name in contract.Variable if name.startswith("SECRETFREE_")]


@pytest.mark.parametrize("name", [*OURS, *contract.Metric, *contract.Output])
def test_no_other_module_writes_a_name_of_the_contract(name: str) -> None:
    writers = {
        module.name
        for module, text in written_constants()
        if text == name or (isinstance(name, contract.Variable) and re.search(rf"\b{name}\b", text))
    }
    # `Product` is a word of its own, and public names of the construct are those of two outputs.
    assert writers <= ({"__init__.py"} if name in cdk_iot_secretfree.__all__ else set())


RENAMED = """
import io, json, sys, types
source, name, other = sys.stdin.read(), *sys.argv[1:]
contract = types.ModuleType("secretfree.contract")
assert source.count(f'= "{name}"') == 1
exec(source.replace(f'= "{name}"', f'= "{other}"'), contract.__dict__)
sys.modules["secretfree.contract"] = contract
from cdk_iot_secretfree.metrics import ProductLineMetrics
from secretfree.telemetry import Telemetry
stream = io.StringIO()
telemetry = Telemetry("widget", stream=stream)
telemetry.call("CreateThing", throttled=False)
telemetry.flush()
line = json.loads(stream.getvalue())
class Line(ProductLineMetrics):
    product = "widget"
print(json.dumps([Line().metric_calls("CreateThing").metric_name, other in line, name in line]))
"""


@pytest.mark.slow
def test_a_metric_that_the_contract_alone_renames_has_its_new_name_in_the_runtime_and_in_the_construct() -> None:
    command = [sys.executable, "-c", RENAMED, contract.Metric.CALLS, "CallsOfAws"]
    source = Path(contract.__file__).read_text()
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == ["CallsOfAws", True, False]


@functools.cache
def written_constants() -> list[tuple[Path, str]]:
    """Every text constant of the three packages, docstrings aside."""
    return [
        (module, node.value)
        for root in (CONSTRUCT, RUNTIME, COMMAND_LINE)
        for module in modules(root)
        if module != RUNTIME / "contract.py"
        for tree in [ast.parse(module.read_text())]
        for documentation in [docstrings(tree)]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def docstrings(tree: ast.AST) -> set[int]:
    """Identities of the constants that are statements of their own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_every_shared_profile_has_its_rules_in_the_runtime() -> None:
    assert [item.value for item in device_profile.DeviceProfile] == [item.value for item in contract.DeviceProfile]
