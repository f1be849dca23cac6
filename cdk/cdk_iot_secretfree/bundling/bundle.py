"""The Lambdas' code: the `secretfree` package and its locked wheels, put together without Docker."""

import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import jsii
from aws_cdk import Annotations, BundlingOptions, DockerImage, ILocalBundling, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree import contract

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.bundling.bytecode import Compiler, find_compiler, find_uv, running_compiler
from cdk_iot_secretfree.bundling.cache import CachedTree, cache_directory, cached_tree, digest_of_files, write_files
from cdk_iot_secretfree.bundling.errors import BundlingError
from cdk_iot_secretfree.bundling.service_models import CALLED_OPERATIONS, reduce_to_called_operations
from cdk_iot_secretfree.validation import refuse

RUNTIME_LOCK: Final = Path(__file__).with_name("requirements") / "runtime.txt"
"""The hash-locked requirements of the runtime, for both architectures."""

RUNTIME_PACKAGE: Final = "secretfree"

# Part of every hash: a change of the bundle's layout changes the asset.
_LAYOUT: Final = "7"
_SUPPORTED_RUNTIMES: Final = ("python3.12", "python3.13", "python3.14")
_DOCKER_IS_NOT_USED: Final = "cdk-iot-secretfree-bundles-without-docker"
# Amazon Linux 2023, the base of these runtimes, has glibc 2.34. pip matches wheel tags literally, so the list also
# names every older glibc for which wheels exist.
_GLIBC_TAGS: Final = ("2_34", "2_28", "2_26", "2_24", "2_17")
_WHEELS: Final = "wheels"
_BYTECODE: Final = "bytecode"
_INSTALLER_TRACES: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


class BundleTarget(Enum):
    """Where the bundle runs."""

    LAMBDA = "lambda"
    """AWS Lambda: wheels of the function's architecture and Python."""

    HOST = "host"
    """An emulator that runs functions on this machine, in this Python."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The platform of the functions' code.

    Args:
        runtime: Python 3.12, 3.13 or 3.14.
        architecture: arm64 (default) or x86_64.
        target: `BundleTarget.HOST` only for an emulator on this machine.

    Raises:
        InvalidArgumentError: for a runtime or an architecture that has no bundle.
    """

    runtime: lambda_.Runtime = lambda_.Runtime.PYTHON_3_13
    architecture: lambda_.Architecture = lambda_.Architecture.ARM_64
    target: BundleTarget = BundleTarget.LAMBDA

    def __post_init__(self) -> None:
        """Refuse a runtime or an architecture without wheels."""
        if self.runtime.name not in _SUPPORTED_RUNTIMES:
            refuse("runtime", self.runtime.name, ", ".join(_SUPPORTED_RUNTIMES))
        if self.architecture.name not in _MACHINES:
            refuse("architecture", self.architecture.name, ", ".join(_MACHINES))

    def code(self, scope: Construct) -> lambda_.Code:
        """The asset. Bundling happens at synth, once for each content, and never with Docker.

        If `scope` is deployed into the local cloud, the bundle is for this host.
        """
        is_local = str(scope.node.try_get_context(contract.LOCAL_CONTEXT)).lower() == "true"
        bundle = replace(self, target=BundleTarget.HOST) if is_local else self
        stack = Stack.of(scope)
        shared = _codes.setdefault(stack, {})
        if bundle not in shared:
            shared[bundle] = bundle._code(stack)  # noqa: SLF001 - its own class
        return shared[bundle]

    def _code(self, stack: Stack) -> lambda_.Code:
        parts = self._parts() if stack.bundling_required else None
        if parts is not None and not parts.have_bytecode:
            Annotations.of(stack).add_warning_v2(f"{RUNTIME_PACKAGE}:no-bytecode", self._advice_on_bytecode())
        return lambda_.Code.from_asset(
            str(runtime_source()),
            asset_hash=self.digest() if parts is None else self._digest_of(parts.sources, parts.trees),
            bundling=BundlingOptions(
                image=DockerImage.from_registry(_DOCKER_IS_NOT_USED),
                local=_LocalBundling(bundle=self, parts=parts),
            ),
        )

    def _advice_on_bytecode(self) -> str:
        return (
            f"No CPython {self._python()} was found on this machine, so the functions are deployed without bytecode. "
            "Each cold start then compiles all modules, which takes about three times as long. To mend it, install one "
            f"and synthesise again: uv python install {self._python()}, or a python{self._python()} on the PATH."
        )

    def digest(self) -> str:
        """Hex SHA-256 over the runtime's source and everything that decides which wheels are installed.

        Sorted relative paths and bytes, so that a checkout and an installed wheel of the same version agree. The hash
        of an asset also covers the installed wheels and the bytecode, byte by byte.
        """
        return self._digest_of(_sources())

    def _digest_of(self, sources: Mapping[str, bytes], trees: Sequence[CachedTree] = ()) -> str:
        parts = (*self._wheels_parts(), digest_of_files(sources.items()), *(tree.digest for tree in trees))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def write(self, directory: Path) -> None:
        """Put the bundle into an existing, empty directory.

        Raises:
            BundlingError: when the wheels cannot be installed.
        """
        self._write(directory, self._parts())

    def _write(self, directory: Path, parts: "_Parts") -> None:
        for tree in parts.trees:
            tree.copy_into(directory)
        write_files(parts.sources.items(), directory)
        _normalise_modes(directory)

    def _python(self) -> str:
        return self.runtime.name.removeprefix("python")

    def _compiler(self) -> Compiler | None:
        return running_compiler() if self.target is BundleTarget.HOST else find_compiler(self._python())

    def _parts(self) -> "_Parts":
        sources, wheels, compiler = _sources(), self._wheels(), self._compiler()
        if compiler is None:
            return _Parts(sources, (wheels,))
        return _Parts(sources, (wheels, _bytecode_of_wheels(compiler, wheels), _bytecode_of_sources(compiler, sources)))

    def _platform(self) -> tuple[str, ...]:
        if self.target is BundleTarget.HOST:
            return (self.target.value, sysconfig.get_platform(), platform.python_implementation(), _host_python())
        return (self.target.value, self.architecture.name, self.runtime.name)

    def _wheels_parts(self) -> tuple[str, ...]:
        """Everything that decides the content of the installed wheels, including the operations that stay in them."""
        called = (f"{service}: {', '.join(sorted(names))}" for service, names in sorted(CALLED_OPERATIONS.items()))
        return (_LAYOUT, *called, *self._platform(), _digest_of(RUNTIME_LOCK))

    def _wheels(self) -> CachedTree:
        """The installed wheels: from the cache if their files are unchanged, otherwise installed again."""

        def make(directory: Path) -> None:
            self._install(directory)
            _remove_traces_of_the_installer(directory)
            reduce_to_called_operations(directory)

        return cached_tree(_WHEELS, self._wheels_parts(), make)

    def _install(self, directory: Path) -> None:
        command = [*_installer(self), "--target", str(directory), "-r", str(RUNTIME_LOCK)]
        # The lock fixes every version and hash. Constraints that the user's pip or uv is configured with may conflict.
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_CONSTRAINT")}
        finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        if finished.returncode != 0:
            last_lines = "\n".join((finished.stderr or finished.stdout).strip().splitlines()[-12:])
            raise BundlingError(
                "The Lambdas' locked wheels could not be installed; the package registry (or the mirror that pip is "
                "configured for) has to be reachable once, later synths use the cache in "
                f"{cache_directory()}. This command failed with exit code {finished.returncode}:\n"
                f"  {' '.join(command)}\n{last_lines}"
            )


# One asset for all functions of a stack, because each asset hashes and stages the wheels again.
_codes: Final[WeakKeyDictionary[Stack, dict[Bundle, lambda_.Code]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Parts:
    """The parts of a bundle: the runtime's files by their path, and folders of the cache."""

    sources: Mapping[str, bytes]
    trees: tuple[CachedTree, ...]

    @property
    def have_bytecode(self) -> bool:
        return len(self.trees) > 1


def _bytecode_of_wheels(compiler: Compiler, wheels: CachedTree) -> CachedTree:
    return _bytecode(compiler, wheels.digest, lambda: wheels.directory)


def _bytecode_of_sources(compiler: Compiler, sources: Mapping[str, bytes]) -> CachedTree:
    """Compile from a copy, because the package's own files may change during the compilation."""
    with tempfile.TemporaryDirectory() as scratch:

        def copied() -> Path:
            write_files(sources.items(), Path(scratch))
            return Path(scratch)

        return _bytecode(compiler, digest_of_files(sources.items()), copied)


def _bytecode(compiler: Compiler, digest: str, source: Callable[[], Path]) -> CachedTree:
    """The bytecode for `digest`: from the cache, else compiled from the folder that `source` returns."""

    def make(target: Path) -> None:
        folder = source()
        target.mkdir()
        files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py"))
        compiler.compile(files, source=folder, target=target)

    return cached_tree(_BYTECODE, (_LAYOUT, compiler.release, digest), make)


def runtime_source() -> Path:
    """The folder of the `secretfree` package whose contract this library uses: in a checkout or in site-packages."""
    return Path(contract.__file__).parent


@jsii.implements(ILocalBundling)
class _LocalBundling:
    def __init__(self, *, bundle: Bundle, parts: "_Parts | None") -> None:
        self._bundle = bundle
        self._parts = parts

    def try_bundle(self, output_dir: str, *_args: Any, **_options: Any) -> bool:
        # Returning False would start Docker, so a failure is raised instead.
        parts = self._bundle._parts() if self._parts is None else self._parts  # noqa: SLF001 - its own module
        self._bundle._write(Path(output_dir), parts)  # noqa: SLF001
        return True


_MACHINES: Final = {"arm64": "aarch64", "x86_64": "x86_64"}


def _installer(bundle: Bundle) -> Sequence[str]:
    """The command without its target: pip of this interpreter, else uv (environments made by uv have no pip)."""
    python = bundle._python()  # noqa: SLF001 - its own module
    machine = _MACHINES[bundle.architecture.name]
    checks = ("--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:")
    if importlib.util.find_spec("pip") is not None:
        pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile")
        if bundle.target is BundleTarget.HOST:
            return (*pip, *checks)
        tags = [argument for tag in _GLIBC_TAGS for argument in ("--platform", f"manylinux_{tag}_{machine}")]
        return (*pip, *checks, "--implementation", "cp", "--python-version", python, *tags)
    if (uv := find_uv()) is not None:
        command = (uv, "pip", "install", *checks, "--no-progress", "--python", sys.executable, "--link-mode", "copy")
        if bundle.target is BundleTarget.HOST:
            return command
        return (*command, "--python-version", python, "--python-platform", f"{machine}-manylinux_2_34")
    raise BundlingError(
        f"Neither pip (of {sys.executable}) nor uv was found; one of them is needed to install the Lambdas' locked "
        "wheels. Try: python -m ensurepip"
    )


def _host_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@functools.cache
def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sources() -> Mapping[str, bytes]:
    """The runtime's files, by their paths in the bundle."""
    source = runtime_source()
    return {
        f"{RUNTIME_PACKAGE}/{file.relative_to(source).as_posix()}": file.read_bytes()
        for file in sorted(source.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in {".pyc", ".pyo"}
    }


def _remove_traces_of_the_installer(directory: Path) -> None:
    """Keep only what is imported. Scripts and records hold paths of this machine and the installer's name."""
    shutil.rmtree(directory / "bin", ignore_errors=True)
    for cache in list(directory.rglob("__pycache__")):
        shutil.rmtree(cache)
    for metadata in directory.glob("*.dist-info"):
        for name in _INSTALLER_TRACES:
            (metadata / name).unlink(missing_ok=True)
    (directory / ".lock").unlink(missing_ok=True)


def _normalise_modes(directory: Path) -> None:
    """Set the modes, because the asset's zip carries them and they would depend on this machine's umask."""
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
