"""The end of an import: counts on stdout and refused rows on stderr, or one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from secretfree_cli.importing.account import ImportSummary
from secretfree_cli.output import emit_fields, emit_json, inline, note

_NAMED_NOT_READ: Final = 10


def show_summary(summary: ImportSummary, *, as_json: bool) -> None:
    """Write the account of an import."""
    if as_json:
        emit_json(summary.document())
        return
    for remark in summary.remarks:
        note(remark)
    _show_not_read(summary.not_read)
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
    for warning in summary.warnings:
        _show_warning(warning)
    if summary.unindexed:
        note(f"{summary.unindexed} devices of the registry lack key-fingerprint: a lookup by key does not find them")
        note("`secretfree index-keys` adds it")
    if summary.dry_run:
        note("dry run: nothing was written; an import would end with these counts")
    batch = {} if summary.dry_run else {"batch": summary.batch}
    emit_fields({**batch, **{name: count for name, count in summary.counts.items() if count}})


def _show_not_read(names: Sequence[str]) -> None:
    if names:
        more = ", ..." if len(names) > _NAMED_NOT_READ else ""
        note(inline(f"{len(names)} not read: {', '.join(names[:_NAMED_NOT_READ])}{more}"))


def _show_warning(warning: Mapping[str, Any]) -> None:
    examples = [f"{one['deviceId']} ({one['file']}:{one.get('member', one['line'])})" for one in warning["examples"]]
    more = ", ..." if warning["count"] > len(examples) else ""
    line = f"warning  {warning['warning']}: {warning['count']} {warning['detail']}: {', '.join(examples)}{more}"
    note(inline(line).encode("ascii", "backslashreplace").decode("ascii"))


def _show_row(what: str, row: Mapping[str, object], text: str) -> None:
    line = f"{what}  {row['file']}:{row.get('member', row['line'])}  {row['deviceId'] or '-'}  {text}"
    note(inline(line).encode("ascii", "backslashreplace").decode("ascii"))
