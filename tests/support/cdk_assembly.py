"""A version of aws-cdk-lib, as its jsii assembly describes it, and which of its names a Python source uses.

Only names that start at an import of `aws_cdk` are followed: types, their static members, and keyword arguments.
"""

from __future__ import annotations

import ast
import functools
import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGE = "aws-cdk-lib"


@dataclass(frozen=True)
class Assembly:
    """The types of one version, by their full names."""

    types: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, site_packages: Path) -> Assembly:
        """Read it from an installed aws-cdk-lib."""
        (archive,) = (site_packages / "aws_cdk" / "_jsii").glob(f"{_PACKAGE}@*.tgz")
        with tarfile.open(archive) as files:
            for member in files:  # the archive has thousands of files
                if member.name == "package/.jsii.gz" and (file := files.extractfile(member)) is not None:
                    return cls(json.loads(gzip.decompress(file.read()))["types"])
        raise AssertionError(f"{archive} has no assembly")

    def missing(self, source: str) -> Iterator[str]:
        """The names in a Python source that this version does not have."""
        tree = ast.parse(source)
        roots = dict(_imports(tree))
        for fqn in roots.values():
            if fqn not in self._places:
                yield fqn
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (path := _path_of(node, roots)) is not None:
                yield from self._missing_members(path)
            if isinstance(node, ast.Call) and (path := _path_of(node.func, roots)) is not None:
                yield from self._missing_keywords(path, {one.arg for one in node.keywords if one.arg is not None})

    @functools.cached_property
    def _places(self) -> frozenset[str]:
        """The full names of the types and of the modules around them."""
        parts = (name.split(".") for name in self.types)
        return frozenset(".".join(path[:length]) for path in parts for length in range(1, len(path) + 1))

    def _missing_members(self, path: str) -> Iterator[str]:
        owner, _, name = path.rpartition(".")
        if path not in self._places and _plain(name) not in self._members(owner):
            yield path

    def _missing_keywords(self, path: str, given: set[str]) -> Iterator[str]:
        owner, _, name = path.rpartition(".")
        if (called := self.types.get(path)) is None:
            parameters = self._members(owner).get(_plain(name), {}).get("parameters", [])
        elif called["kind"] == "interface":  # a struct, whose keywords are its properties
            parameters = [{"name": "", "type": {"fqn": path}}]
        else:
            parameters = self._initializer(called).get("parameters", [])
        known = {_plain(one["name"]) for one in parameters}
        known |= {member for one in parameters for member in self._members(one["type"].get("fqn", ""))}
        yield from (f"{path}({keyword}=)" for keyword in sorted(given) if _plain(keyword) not in known)

    def _initializer(self, called: Mapping[str, Any]) -> Mapping[str, Any]:
        if "initializer" not in called and called.get("base") in self.types:
            return self._initializer(self.types[called["base"]])
        return called.get("initializer", {})

    def _members(self, fqn: str) -> dict[str, Mapping[str, Any]]:
        """The members of a type and of those that it extends, by their plain names."""
        described = self.types.get(fqn)
        if described is None:
            return {}
        bases = [*([described["base"]] if "base" in described else []), *described.get("interfaces", [])]
        found = {name: member for base in bases for name, member in self._members(base).items()}
        for kind in ("members", "properties", "methods"):
            found |= {_plain(member["name"]): member for member in described.get(kind, [])}
        return found


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module imports from aws_cdk, each with its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "aws_cdk":
            prefix = ".".join([_PACKAGE, *node.module.split(".")[1:]])
            yield from ((one.asname or one.name, f"{prefix}.{one.name}") for one in node.names)


def _path_of(node: ast.expr, roots: Mapping[str, str]) -> str | None:
    """The full name of `a.b.c` where `a` is imported from aws_cdk; None for all else."""
    if isinstance(node, ast.Name):
        return roots.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _path_of(node.value, roots)) is not None:
        return f"{owner}.{node.attr}"
    return None


def _plain(name: str) -> str:
    """A name in the form that TypeScript's and Python's have in common."""
    return name.replace("_", "").lower()
