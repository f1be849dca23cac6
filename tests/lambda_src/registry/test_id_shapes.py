"""Doubtful ids of a manifest whose rows are read in many runs: the same warnings, however the rows are divided."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.registry.id_shapes import IdShapes


def shapes(ids: Sequence[str], *, per_run: int = 1_000, refused: Sequence[str] = ()) -> IdShapes:
    """What the close of an import has, of runs of `per_run` rows each."""
    rows = [(row, device_id, row <= len(ids)) for row, device_id in enumerate([*ids, *refused], start=1)]
    merged = IdShapes()
    for first in range(0, len(rows), per_run):
        run = IdShapes()
        for row, device_id, admitted in rows[first : first + per_run]:
            run.add(row, device_id, admitted=admitted)
        merged.merge(json.loads(json.dumps(run.document())))
    return merged


def told(ids: Sequence[str], *, refused: Sequence[str] = ()) -> dict[str, int]:
    return {one["warning"]: one["count"] for one in shapes(ids, refused=refused).warnings()}


@pytest.mark.parametrize(
    ("ids", "refused", "warnings"),
    [
        (["00012", "00013", "00014"], [], {}),
        (["00012", "00013", "14"], [], {"lost-leading-zeros": 1}),
        (["pump-1", "pump-2", "pump-10"], [], {"uneven-length": 1}),
        (["pump-1", "Mar-01", "2026-03-01"], [], {"spreadsheet-damage": 2}),
        (["pump-1"], ["4711.0", "no good!"], {"spreadsheet-damage": 1}),
        ([], [], {}),
    ],
)
def test_doubtful_ids_are_counted_by_kind(ids: list[str], refused: list[str], warnings: dict[str, int]) -> None:
    assert told(ids, refused=refused) == warnings


def test_a_warning_names_the_first_rows_and_says_what_is_wrong() -> None:
    (warning,) = shapes(["00012"] * 90 + [str(number) for number in range(10, 20)], per_run=7).warnings()
    assert warning["warning"] == "lost-leading-zeros"
    assert warning["count"] == 10
    assert "leading zeros" in warning["detail"]
    # One example of each run is kept: the runs of rows 85 to 91, 92 to 98 and 99 to 100.
    assert warning["examples"] == [
        {"row": 91, "deviceId": "10"},
        {"row": 92, "deviceId": "11"},
        {"row": 99, "deviceId": "18"},
    ]


ID = st.one_of(st.from_regex(r"[a-zA-Z0-9:_-]{1,64}", fullmatch=True), st.sampled_from(["Mar-01", "1E+15", "007", "7"]))


@given(st.lists(ID, max_size=30), st.lists(ID, max_size=5), st.integers(1, 8))
def test_the_division_into_runs_changes_no_count(ids: list[str], refused: list[str], per_run: int) -> None:
    divided = shapes(ids, refused=refused, per_run=per_run).warnings()
    assert {one["warning"]: one["count"] for one in divided} == told(ids, refused=refused)


def test_what_a_run_returns_is_bounded_by_the_longest_id() -> None:
    ids = ["a" * length for length in range(1, 65)] + ["7" * length for length in range(1, 65)]
    assert len(json.dumps(shapes(ids * 3).document())) < 32 * 1024
