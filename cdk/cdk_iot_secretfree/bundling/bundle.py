"""The Lambdas' code: the `secretfree` package and its locked wheels, put together without Docker."""

import contextlib
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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import jsii
from aws_cdk import BundlingOptions, DockerImage, ILocalBundling, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree import contract

from cdk_iot_secretfree.bundling.service_models import AWS_SERVICES, reduce_to_called_services
from cdk_iot_secretfree.validation import refuse, require_instance

RUNTIME_LOCK: Final = Path(__file__).with_name("requirements") / "runtime.txt"
"""The hash-locked requirements of the runtime, for both architectures."""

RUNTIME_PACKAGE: Final = "secretfree"

# Part of every hash, so that a change in how a bundle is laid out is a change of the asset.
_LAYOUT: Final = "5"
_SUPPORTED_RUNTIMES: Final = ("python3.12", "python3.13", "python3.14")
_DOCKER_IS_NOT_USED: Final = "cdk-iot-secretfree-bundles-without-docker"
# glibc 2.34 is that of Amazon Linux 2023, on which these runtimes are built. pip matches wheel tags literally, so
# every older glibc for which wheels exist is named as well.
_GLIBC_TAGS: Final = ("2_34", "2_28", "2_26", "2_24", "2_17")
_WHEELS: Final = "wheels"
_RECORDED_DIGEST: Final = "sha256"
_INSTALLER_TRACES: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


class BundleTarget(Enum):
    """Where the bundle is to run."""

    LAMBDA = "lambda"
    """AWS Lambda: wheels of the function's architecture and Python."""

    HOST = "host"
    """An emulator that runs functions on this machine, in this Python."""


class BundlingError(RuntimeError):
    """The bundle could not be made; the message names the command that failed and what to do."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What the functions' code is made for.

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
        """Refuse what no wheel exists for."""
        require_instance("target", self.target, BundleTarget, "BundleTarget.LAMBDA or BundleTarget.HOST")
        if self.runtime.name not in _SUPPORTED_RUNTIMES:
            refuse("runtime", self.runtime.name, ", ".join(_SUPPORTED_RUNTIMES))
        if self.architecture.name not in _MACHINES:
            refuse("architecture", self.architecture.name, ", ".join(_MACHINES))

    def code(self, scope: Construct) -> lambda_.Code:
        """The asset. Bundling happens at synth, once for each content, and never with Docker.

        The bundle is for this host where `scope` is deployed into the local cloud.
        """
        is_local = str(scope.node.try_get_context(contract.LOCAL_CONTEXT)).lower() == "true"
        bundle = replace(self, target=BundleTarget.HOST) if is_local else self
        wheels = bundle._wheels() if Stack.of(scope).bundling_required else None  # noqa: SLF001 - its own class
        return lambda_.Code.from_asset(
            str(runtime_source()),
            asset_hash=bundle.digest() if wheels is None else bundle._digest_with(wheels),  # noqa: SLF001
            bundling=BundlingOptions(
                image=DockerImage.from_registry(_DOCKER_IS_NOT_USED),
                local=_LocalBundling(bundle=bundle, wheels=wheels),
            ),
        )

    def digest(self) -> str:
        """Hex SHA-256 over the runtime's source and what the wheels are chosen by.

        Sorted relative paths and bytes, so that a checkout and an installed wheel of the same version agree. The hash
        of an asset also covers the installed wheels, byte by byte.
        """
        source = runtime_source()
        digest = hashlib.sha256()
        for part in self._wheels_parts():
            digest.update(f"{part}\n".encode())
        for file in _source_files(source):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(source).as_posix()} {content}\n".encode())
        return digest.hexdigest()

    def write(self, directory: Path) -> None:
        """Put the bundle into an existing, empty directory.

        Raises:
            BundlingError: when the wheels cannot be installed.
        """
        self._write(directory, self._wheels())

    def _write(self, directory: Path, wheels: "_Wheels") -> None:
        shutil.copytree(wheels.directory, directory, dirs_exist_ok=True)
        # The copy is compared, so that nothing can change between the comparison and the copy.
        if _digest_of_tree(directory) != wheels.digest:
            raise BundlingError(
                f"The installed wheels in {wheels.directory} changed during this synth. Delete the folder "
                f"{wheels.directory.parent} and synthesise again."
            )
        source = runtime_source()
        for file in _source_files(source):
            copy = directory / RUNTIME_PACKAGE / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        _normalise_modes(directory)

    def _digest_with(self, wheels: "_Wheels") -> str:
        return hashlib.sha256(f"{self.digest()} {wheels.digest}".encode()).hexdigest()

    def _platform(self) -> tuple[str, ...]:
        if self.target is BundleTarget.HOST:
            return (self.target.value, sysconfig.get_platform(), platform.python_implementation(), _host_python())
        return (self.target.value, self.architecture.name, self.runtime.name)

    def _wheels_parts(self) -> tuple[str, ...]:
        """What the installed wheels depend on, the models that are left in them included."""
        return (_LAYOUT, ",".join(sorted(AWS_SERVICES)), *self._platform(), _digest_of(RUNTIME_LOCK))

    def _wheels(self) -> "_Wheels":
        """The installed wheels, from the cache where they are as they were installed.

        The digest beside them finds what was changed by accident. What was changed together with the digest changes the
        asset's hash, since that covers the digest of what is deployed.
        """
        key = hashlib.sha256("\n".join(self._wheels_parts()).encode()).hexdigest()
        cached = _cache_directory() / key
        if (intact := _intact(cached)) is not None:
            return intact
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{key[:12]}.", dir=cached.parent) as scratch:
            entry = Path(scratch) / "entry"
            installed = entry / _WHEELS
            entry.mkdir()
            self._install(installed)
            _remove_traces_of_the_installer(installed)
            reduce_to_called_services(installed)
            digest = _digest_of_tree(installed)
            (entry / _RECORDED_DIGEST).write_text(digest)
            with contextlib.suppress(OSError):
                cached.rename(Path(scratch) / "changed")
            _rename_unless_there(entry, cached)
        return _Wheels(cached / _WHEELS, digest)

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
                f"{_cache_directory()}. This command failed with exit code {finished.returncode}:\n"
                f"  {' '.join(command)}\n{last_lines}"
            )


@dataclass(frozen=True)
class _Wheels:
    """An installed set of wheels. `digest`: of its files' paths and bytes."""

    directory: Path
    digest: str


def _intact(entry: Path) -> _Wheels | None:
    """A cache entry, if its wheels are those that were installed."""
    try:
        recorded = (entry / _RECORDED_DIGEST).read_text()
    except (OSError, ValueError):
        return None
    return _Wheels(entry / _WHEELS, recorded) if _digest_of_tree(entry / _WHEELS) == recorded else None


def runtime_source() -> Path:
    """The folder of the `secretfree` package that this library shares its contract with: checkout or site-packages."""
    return Path(contract.__file__).parent


@jsii.implements(ILocalBundling)
class _LocalBundling:
    def __init__(self, *, bundle: Bundle, wheels: "_Wheels | None") -> None:
        self._bundle = bundle
        self._wheels = wheels

    def try_bundle(self, output_dir: str, *_args: Any, **_options: Any) -> bool:
        # Returning False would start Docker, so a failure is raised instead.
        if self._wheels is None:
            self._bundle.write(Path(output_dir))
        else:
            self._bundle._write(Path(output_dir), self._wheels)  # noqa: SLF001 - its own module
        return True


_MACHINES: Final = {"arm64": "aarch64", "x86_64": "x86_64"}


def _installer(bundle: Bundle) -> Sequence[str]:
    """The command up to its target: pip of this interpreter, else uv (environments made by uv have no pip)."""
    python = bundle.runtime.name.removeprefix("python")
    machine = _MACHINES[bundle.architecture.name]
    checks = ("--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:")
    if importlib.util.find_spec("pip") is not None:
        pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile")
        if bundle.target is BundleTarget.HOST:
            return (*pip, *checks)
        tags = [argument for tag in _GLIBC_TAGS for argument in ("--platform", f"manylinux_{tag}_{machine}")]
        return (*pip, *checks, "--implementation", "cp", "--python-version", python, *tags)
    if (uv := _uv()) is not None:
        command = (uv, "pip", "install", *checks, "--no-progress", "--python", sys.executable, "--link-mode", "copy")
        if bundle.target is BundleTarget.HOST:
            return command
        return (*command, "--python-version", python, "--python-platform", f"{machine}-manylinux_2_34")
    raise BundlingError(
        f"Neither pip (of {sys.executable}) nor uv was found; one of them is needed to install the Lambdas' locked "
        "wheels. Try: python -m ensurepip"
    )


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _host_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _cache_directory() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification has relative paths ignored.
    root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return root / "cdk-iot-secretfree" / "wheels"


@functools.cache
def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest_of_tree(directory: Path) -> str:
    """Over the paths and bytes of all files. A link counts with its target's path: none is followed."""
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.rglob("*") if path.is_symlink() or path.is_file()):
        content = f"-> {file.readlink()}" if file.is_symlink() else hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(directory).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _source_files(source: Path) -> list[Path]:
    return sorted(
        file
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in {".pyc", ".pyo"}
    )


def _remove_traces_of_the_installer(directory: Path) -> None:
    """Leave what is imported: scripts and records hold paths of this machine and the installer's name."""
    shutil.rmtree(directory / "bin", ignore_errors=True)
    for cache in list(directory.rglob("__pycache__")):
        shutil.rmtree(cache)
    for metadata in directory.glob("*.dist-info"):
        for name in _INSTALLER_TRACES:
            (metadata / name).unlink(missing_ok=True)
    (directory / ".lock").unlink(missing_ok=True)


def _rename_unless_there(made: Path, cached: Path) -> None:
    """Atomic, so that two synths at once, or one that is killed, never leave half a cache entry."""
    try:
        made.rename(cached)
    except OSError:
        if not cached.is_dir():
            raise


def _normalise_modes(directory: Path) -> None:
    """The zip of the asset carries modes, and the umask of this machine is not part of its content."""
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
