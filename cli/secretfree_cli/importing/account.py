"""The account of an import: the number of rows by outcome, and the first refused ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final

from secretfree.registry.batch import Batch, ManifestFile
from secretfree.registry.decision import Outcome

from secretfree_cli.importing import importer
from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.importing.report import Report, row_document, warning_document
from secretfree_cli.output import ExitCode

SHOWN_ROWS: Final = 10


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import over all its runs; with `dry_run`, the expected result."""

    batch: str
    dry_run: bool
    resumed: bool
    counts: Mapping[str, int]
    refusals: Mapping[str, int]
    first_refused: Sequence[Mapping[str, object]]
    files: Sequence[ManifestFile]
    seconds: float
    passed_over: int = 0
    """Enrolled devices whose attributes in the registry differ from their rows."""
    first_passed_over: Sequence[Mapping[str, object]] = ()
    unindexed: int = 0
    """Devices of the registry whose key is not in the index; 0 if the registry was not read."""
    warnings: Sequence[Mapping[str, object]] = ()
    """Kinds of doubtful ids, each with its number and first examples: `report.warning_document`."""
    remarks: Sequence[str] = ()
    """Remarks about the manifests."""
    not_read: Sequence[str] = ()
    """Files and folders that were not read, each with its folder."""

    @property
    def rows(self) -> int:
        """Number of rows of the manifests."""
        return sum(self.counts.values())

    @property
    def exit_code(self) -> ExitCode:
        """0 if no row was refused, 5 if all were, otherwise 3."""
        refused = self.counts[Outcome.REFUSED]
        if not refused:
            return ExitCode.OK
        return ExitCode.REFUSED if refused == self.rows else ExitCode.PARTLY_REFUSED

    def document(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "batch": self.batch,
            "dryRun": self.dry_run,
            "resumed": self.resumed,
            "rows": self.rows,
            **self.counts,
            "refusals": dict(self.refusals),
            "firstRefused": list(self.first_refused),
            "otherAttributes": self.passed_over,
            "firstOtherAttributes": list(self.first_passed_over),
            "withoutFingerprint": self.unindexed,
            "warnings": list(self.warnings),
            "remarks": list(self.remarks),
            "notRead": list(self.not_read),
            "files": [asdict(file) for file in self.files],
            "seconds": round(self.seconds, 3),
        }


def account_for(
    batch: Batch,
    checkpoint: Checkpoint,
    report: Report | None,
    seconds: float,
    *,
    counts: Mapping[str, int] | None = None,
    dry_run: bool = False,
    resumed: bool = False,
) -> ImportSummary:
    """Write the report, if one is requested, and return the summary."""
    warnings = [warning_document(one, batch.files) for one in checkpoint.doubtful_ids()]
    if report is not None:
        report.write(checkpoint.refused(), batch.files, warnings)
    return ImportSummary(
        batch=batch.id,
        dry_run=dry_run,
        resumed=resumed,
        counts=checkpoint.counts() if counts is None else counts,
        refusals=checkpoint.refusals_by_reason(),
        first_refused=[row_document(row, batch.files) for row in islice(checkpoint.refused(), SHOWN_ROWS)],
        files=batch.files,
        seconds=seconds,
        passed_over=checkpoint.count_passed_over(),
        first_passed_over=[row_document(row, batch.files) for row in islice(checkpoint.passed_over(), SHOWN_ROWS)],
        unindexed=checkpoint.setting(importer.UNINDEXED) or 0,
        warnings=warnings,
        remarks=checkpoint.setting(importer.REMARKS) or (),
        not_read=checkpoint.setting(importer.NOT_READ) or (),
    )
