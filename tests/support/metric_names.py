"""Write the names of the metrics, as the contract has them, into the page about operations: `make metric-names`.

The page's table names each metric twice: by its member of `Metric`, which does not change, and by its name in
CloudWatch. The second is updated everywhere on the page.
"""

import re
from collections.abc import Mapping

from secretfree.contract import Metric
from support.documents import ROOT

PAGE = ROOT / "docs" / "guides" / "operations.md"
_ROW = re.compile(r"^\| `([A-Z_]+)` \| `(\w+)` \|", re.MULTILINE)


def documented(page: str) -> Mapping[str, str]:
    """The name in CloudWatch of each member of `Metric`, as the page has it."""
    return dict(_ROW.findall(page))


def renamed(page: str, names: Mapping[str, str]) -> str:
    """The page with `names`, by member, in place of those that it has."""
    current = {name: names.get(member, name) for member, name in documented(page).items()}
    return re.sub(r"`(\w+)`", lambda found: f"`{current.get(found[1], found[1])}`", page)


if __name__ == "__main__":
    PAGE.write_text(renamed(PAGE.read_text(), {metric.name: metric.value for metric in Metric}))
