"""The modules of the CDK library that mypy reads: all that the code reaches, so that none of its types is Any."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TYPE_CHECKED = (REPOSITORY / "tests" / "cdk" / "typing_api.py", *(REPOSITORY / "cdk").rglob("*.py"))
INTERFACES = "aws_cdk.interfaces"
# jsii writes the imports of a module's own types in this form: the names end in a digest.
_IMPORT_OF_TYPES = re.compile(r"^    import (aws_cdk[\w.]*) as _\w+_[0-9a-f]{8}$", re.MULTILINE)


def _library() -> Path:
    spec = importlib.util.find_spec("aws_cdk")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


LIBRARY = _library()


def _file_of(module: str) -> Path:
    return LIBRARY.joinpath(*module.split(".")[1:], "__init__.py")


def _imported_by(source: Path) -> Iterator[str]:
    """The library's modules that a file of ours imports."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "aws_cdk":
            yield node.module
            yield from (name for alias in node.names if _file_of(name := f"{node.module}.{alias.name}").is_file())
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "aws_cdk")


def _reached() -> set[str]:
    """The modules that the code imports, and those whose types these use."""
    reached: set[str] = set()
    waiting = {module for source in TYPE_CHECKED for module in _imported_by(source)}
    while waiting:
        reached.add(module := waiting.pop())
        waiting |= {*_IMPORT_OF_TYPES.findall(_file_of(module).read_text(encoding="utf-8"))} - reached
    return reached


def test_mypy_reads_each_module_of_the_cdk_library_that_the_code_reaches_and_no_other() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    (skipped,) = [one for one in settings["overrides"] if one.get("follow_imports") == "skip"]
    (followed,) = [one for one in settings["overrides"] if one.get("follow_imports") == "normal"]

    assert skipped["module"] == ["aws_cdk.*"]
    reached = {module for module in _reached() if not module.startswith(INTERFACES)}
    assert followed["module"] == sorted(reached | {f"{INTERFACES}.*", "aws_cdk._jsii"})
