"""Which room may import which: the rules that keep AWS out of the rules, and the folders in order."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = {
    "secretfree": "lambda_src",
    "secretfree_cli": "cli",
    "secretfree_device": "device",
    "cdk_iot_secretfree": "cdk",
}
SDK = ("boto3", "botocore", "s3transfer")
MOST_LINES = 400
# From the bottom up: a room may import itself and the rooms before it.
RUNTIME_ROOMS = (
    "contract",
    "contract_of_deployment",
    "errors",
    "clock",
    "telemetry",
    "request",
    "registry",
    "config",
    "issuance",
    "revocation",
    "retirement",
    "following",
    "audit",
    "adapters",
    "handlers",
)


def _modules() -> dict[str, Path]:
    found = {}
    for package, root in ROOTS.items():
        for path in sorted((REPOSITORY / root / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY / root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run: those under `if TYPE_CHECKING:` are for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from _statements(node)


def _imports(module: str, *, at_import_time: bool = False) -> set[str]:
    """The modules that `module` imports; with `at_import_time`, without those imported inside functions."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    if at_import_time:
        tree = ast.Module(
            [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)],
            [],
        )
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{module}: imports are absolute"
            source = node.module or ""
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in node.names
            }
    return found


def _of(package: str) -> list[str]:
    return [module for module in MODULES if module == package or module.startswith(f"{package}.")]


def _uses(module: str, *packages: str) -> set[str]:
    return {name for name in _imports(module) if name.split(".")[0] in packages}


@pytest.mark.parametrize("module", _of("secretfree"))
def test_the_runtime_s_rules_import_no_sdk(module: str) -> None:
    if module.split(".")[1:2] not in (["adapters"], ["handlers"]):
        assert not _uses(module, *SDK)
    assert not _uses(module, "aws_cdk", "constructs", "secretfree_cli", "cdk_iot_secretfree", "click", "rich")


@pytest.mark.parametrize("module", _of("cdk_iot_secretfree"))
def test_the_construct_imports_the_contract_and_nothing_else_of_the_runtime(module: str) -> None:
    assert not _uses(module, *SDK, "secretfree_cli", "cryptography")
    assert {name for name in _uses(module, "secretfree") if not name.startswith("secretfree.contract")} == set()


@pytest.mark.parametrize("module", _of("secretfree_cli"))
def test_the_command_line_does_not_import_the_construct(module: str) -> None:
    assert not _uses(module, "aws_cdk", "constructs", "cdk_iot_secretfree")


@pytest.mark.parametrize("module", _of("secretfree_device"))
def test_the_device_s_library_imports_neither_an_sdk_nor_another_room_but_the_contract(module: str) -> None:
    assert not _uses(module, *SDK, "aws_cdk", "constructs", "cdk_iot_secretfree", "secretfree_cli", "click", "rich")
    assert {name for name in _uses(module, "secretfree") if not name.startswith("secretfree.contract")} == set()


@pytest.mark.parametrize("module", [module for module in _of("secretfree") if "." in module])
def test_a_room_of_the_runtime_imports_only_rooms_below_it(module: str) -> None:
    room = module.split(".")[1]
    assert room in RUNTIME_ROOMS, f"{room}: put it in order in RUNTIME_ROOMS"
    below = RUNTIME_ROOMS[: RUNTIME_ROOMS.index(room) + 1]
    upward = {name for name in _uses(module, "secretfree") if "." in name and name.split(".")[1] not in below}
    assert not upward


@pytest.mark.parametrize("package", ROOTS)
def test_there_is_no_cycle_of_imports(package: str) -> None:
    graph = {module: _imports(module, at_import_time=True) & set(MODULES) - {module} for module in _of(package)}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_at_most_400_lines(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{module} has {lines} lines: split it by responsibility"


@pytest.mark.parametrize("module", ["secretfree.contract", "secretfree.contract_of_deployment"])
def test_the_contract_is_standard_library_only(module: str) -> None:
    outside = {name for name in _imports(module) if name.split(".")[0] not in sys.stdlib_module_names}
    assert not outside
