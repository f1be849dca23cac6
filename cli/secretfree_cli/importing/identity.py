"""The identity of an import: its batch, derived from files and options, is the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from secretfree.registry.batch import Batch, BatchState, ManifestFile, derived_batch_id, derived_import_id
from secretfree.registry.device import Provenance
from secretfree.registry.gate import Gate
from secretfree.registry.store import RegistryStore, find_batch

from secretfree_cli.importing.checking import encodable
from secretfree_cli.manifests.manifest import Manifest
from secretfree_cli.output import CliError


@dataclass(frozen=True, slots=True)
class BatchIdentity:
    """The batch of an import. `known` is its record from an earlier run, on this machine or another."""

    id: str
    import_id: str
    known: Batch | None

    @property
    def is_open(self) -> bool:
        """Whether an earlier run was interrupted, or still runs."""
        return self.known is not None and self.known.state is BatchState.IMPORTING

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run completed the import."""
        return self.known is not None and self.known.state is BatchState.COMPLETE


def identity_of(
    store: RegistryStore, files: Sequence[ManifestFile], options: Mapping[str, object], batch_id: str | None
) -> BatchIdentity:
    """Return the batch of the import of `files` with `options`.

    In this order: the batch of an interrupted run of the same import, the batch that `batch_id` names, the first
    derived batch that was not reverted.

    Raises: CliError if `batch_id` is another import's batch, or these files are being imported with other options
    """
    import_id = derived_import_id(files, options)
    unfinished = _unfinished(store, files, import_id)
    if unfinished is not None:
        if batch_id not in {None, unfinished.id}:
            raise CliError(f"this import is not finished in batch {unfinished.id}", hint="omit --batch to resume it")
        return BatchIdentity(unfinished.id, import_id, unfinished)
    if batch_id is not None:
        known = find_batch(store, batch_id)
        if known is not None and (known.state.is_undone or known.import_id != import_id):
            why = "was reverted" if known.state.is_undone else "is of other files or options"
            raise CliError(f"there is already a batch {known.id!r}, which {why}", hint="name another, or omit --batch")
        return BatchIdentity(batch_id, import_id, known)
    for attempt in count(1):
        known = find_batch(store, derived := derived_batch_id(import_id, attempt=attempt))
        if known is None or not known.state.is_undone:
            return BatchIdentity(derived, import_id, known)
    raise AssertionError("count does not end")


def options_of(gate: Gate, reading: Mapping[str, object], replace_reason: str | None = None) -> Mapping[str, object]:
    """Return the options that determine how rows are read and checked, by name."""
    return {
        "--device-profile": gate.profile.value,
        "match policy": gate.key_optional,
        "--replace and --reason": replace_reason,
        **reading,
    }


def files_of(manifests: Sequence[Manifest]) -> tuple[ManifestFile, ...]:
    """Return the manifests for a batch's record: name, digest and format."""
    return tuple(ManifestFile(encodable(one.name), one.digest(), one.format) for one in manifests)


def provenance_of(batch: Batch) -> Sequence[Provenance]:
    """Return the provenance of the devices of each of the batch's files."""
    began = datetime.fromisoformat(batch.started_at)
    return [Provenance(batch.id, began, file.format) for file in batch.files]


def size_of(manifests: Sequence[Manifest]) -> int:
    """Return the bytes of all manifests."""
    return sum(manifest.size for manifest in manifests)


def _unfinished(store: RegistryStore, files: Sequence[ManifestFile], import_id: str) -> Batch | None:
    """Return the batch of an interrupted run of this import, on this machine or another.

    Raises: CliError if these files are being imported with other options, which would mix the keys of both
    """
    digests = sorted(file.sha256 for file in files)
    for batch in store.batches(store.state().open).values():
        if batch.state is BatchState.IMPORTING and batch.import_id == import_id:
            return batch
        same_files = sorted(file.sha256 for file in batch.files) == digests
        if batch.state is BatchState.IMPORTING and same_files and batch.import_id is not None:
            raise CliError(
                f"an import of these files with other options (batch {batch.id}) is not finished",
                hint=f"run it again with its options, or undo it: `secretfree batch revert {batch.id}`",
            )
    return None
