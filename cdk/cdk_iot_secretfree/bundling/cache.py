"""The cache of installed and compiled folders. A folder is reused while its files are unchanged."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdk_iot_secretfree.bundling.errors import BundlingError

_RECORDED_DIGEST: Final = "sha256"


@dataclass(frozen=True)
class CachedTree:
    """A folder of the cache. `digest`: of its files' paths and bytes."""

    directory: Path
    digest: str

    def copy_into(self, directory: Path) -> None:
        """Copy the files. The copied bytes are compared, so that nothing changes between the hash and the copy."""
        if write_files(_files_of_tree(self.directory), directory) != self.digest:
            raise BundlingError(
                f"The files in {self.directory} changed during this synth. Delete the folder {self.directory.parent} "
                "and synthesise again."
            )


def cached_tree(kind: str, parts: Sequence[str], make: Callable[[Path], None]) -> CachedTree:
    """The folder that `make` writes: from the cache if its files are unchanged, otherwise made again.

    The stored digest detects accidental changes. A change of both files and digest changes the asset's hash, because
    the hash covers the digest of what is deployed.
    """
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    cached = cache_directory() / kind / key
    if (intact := _intact(cached, kind)) is not None:
        return intact
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{key[:12]}.", dir=cached.parent) as scratch:
        entry = Path(scratch) / "entry"
        entry.mkdir()
        make(entry / kind)
        digest = digest_of_files(_files_of_tree(entry / kind))
        (entry / _RECORDED_DIGEST).write_text(digest)
        with contextlib.suppress(OSError):
            cached.rename(Path(scratch) / "changed")
        _rename_unless_there(entry, cached)
    return CachedTree(cached / kind, digest)


def cache_directory() -> Path:
    """Return the folder of this library in the user's cache."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return root / "cdk-iot-secretfree"


def digest_of_files(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the hex SHA-256 over paths and bytes, in the order given."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def write_files(files: Iterable[tuple[str, bytes]], directory: Path) -> str:
    """Write files below `directory` and return the digest of what was written."""

    def written() -> Iterator[tuple[str, bytes]]:
        for name, content in files:
            copy = directory / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            yield name, content

    return digest_of_files(written())


def _intact(entry: Path, kind: str) -> CachedTree | None:
    """A cache entry, if its files are unchanged."""
    try:
        recorded = (entry / _RECORDED_DIGEST).read_text()
    except (OSError, ValueError):
        return None
    tree = entry / kind
    return CachedTree(tree, recorded) if digest_of_files(_files_of_tree(tree)) == recorded else None


def _files_of_tree(directory: Path) -> Iterator[tuple[str, bytes]]:
    """The files' paths and bytes. A link counts as a file that holds its target's path; links are not followed."""
    for file in sorted(path for path in directory.rglob("*") if path.is_symlink() or path.is_file()):
        content = f"-> {file.readlink()}".encode() if file.is_symlink() else file.read_bytes()
        yield file.relative_to(directory).as_posix(), content


def _rename_unless_there(made: Path, cached: Path) -> None:
    """Write atomically: neither two synths at once nor a killed one leave half a cache entry."""
    try:
        made.rename(cached)
    except OSError:
        if not cached.is_dir():
            raise
