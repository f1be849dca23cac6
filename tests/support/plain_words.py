"""The phrases that the style page asks to avoid, read from the page itself."""

import re
from functools import cache

from support.documents import ROOT, blocks


@cache
def phrases_to_avoid() -> tuple[re.Pattern[str], ...]:
    """One pattern for each line of the page's list; a line is a regular expression, matched as whole words."""
    (listed,) = blocks(ROOT / "CONTRIBUTING.md", "avoid")
    return tuple(re.compile(rf"\b(?:{line.strip()})\b", re.IGNORECASE) for line in listed.splitlines() if line.strip())
