"""The marks of long tests, by which a run of those tests chooses the modules that it imports."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
MARK = re.compile(r"\bmark\.(slow|nightly)\b")


def test_the_mark_of_a_long_test_is_in_the_module_of_that_test() -> None:
    others = [path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")]
    assert [path.name for path in others if MARK.search(path.read_text(encoding="utf-8"))] == []
