"""What an import says at its end: counts on stdout, refused rows on stderr, or one JSON document."""

from __future__ import annotations

from collections.abc import Mapping

from secretfree_cli.importing.account import ImportSummary
from secretfree_cli.output import emit_fields, emit_json, inline, note


def show_summary(summary: ImportSummary, *, as_json: bool) -> None:
    """Write the account of an import."""
    if as_json:
        emit_json(summary.document())
        return
    for row in summary.first_passed_over:
        _show_row("enrolled", row, str(row["detail"]))
    unshown = summary.passed_over - len(summary.first_passed_over)
    if unshown > 0:
        note(f"enrolled  {unshown} more whose rows have other attributes")
    for row in summary.first_refused:
        _show_row("refused", row, f"{row['reason']}: {row['detail']}")
    unshown = summary.counts["refused"] - len(summary.first_refused)
    if unshown > 0:
        note(f"refused  {unshown} more; --report FILE lists all of them")
    if summary.unindexed:
        note(f"{summary.unindexed} devices of the registry lack key-fingerprint: a lookup by key does not find them")
        note("`secretfree index-keys` adds it")
    if summary.dry_run:
        note("dry run: nothing was written; an import would end with these counts")
    batch = {} if summary.dry_run else {"batch": summary.batch}
    emit_fields({**batch, **{name: count for name, count in summary.counts.items() if count}})


def _show_row(what: str, row: Mapping[str, object], text: str) -> None:
    line = f"{what}  {row['file']}:{row.get('member', row['line'])}  {row['deviceId'] or '-'}  {text}"
    note(inline(line).encode("ascii", "backslashreplace").decode("ascii"))
