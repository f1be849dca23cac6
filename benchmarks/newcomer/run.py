"""A newcomer's path, with a stopwatch: the commands of the quickstart, as the page has them, from the wheel.

`python benchmarks/newcomer/run.py` builds the wheel and types each command into one shell in an empty folder: pip and
npm fetch what they need. It prints each command's seconds as JSON. The exit code is 1 if a command fails, or if the
first device is not connected within ten minutes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.documents import code_blocks  # noqa: E402 -- the tests' own reader of the page

PAGE = ROOT / "docs" / "tutorials" / "quickstart.md"
LIMIT_SECONDS = 600
_FIRST_DEVICE = "secretfree device connect"
_SECONDS = "seconds.txt"


def main() -> int:
    """Run the page once."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        folder = Path(name)
        wheel = build_wheel(folder / "dist")
        times = folder / _SECONDS
        started_under = os.getloadavg()[0]
        ended = subprocess.run(["bash", "-c", script(wheel, times)], cwd=folder, env=environment(), check=False)
        # A page that ended early may leave its cloud.
        left = folder / "widgets" / ".venv" / "bin" / "secretfree"
        if ended.returncode != 0 and left.exists():
            subprocess.run([left, "local", "down", "--forget"], cwd=folder / "widgets", check=False)
        steps = [line.split("\t", 1) for line in times.read_text(encoding="utf-8").splitlines()]
    commands = [{"command": command, "seconds": round(float(seconds), 1)} for seconds, command in steps]
    first = next((number for number, (_, command) in enumerate(steps) if command.startswith(_FIRST_DEVICE)), None)
    total = None if first is None else round(sum(float(seconds) for seconds, _ in steps[: first + 1]), 1)
    report = {
        "exitCode": ended.returncode,
        "secondsToFirstDevice": total,
        "cores": os.cpu_count(),
        "loadBefore": round(started_under, 1),
        "loadAfter": round(os.getloadavg()[0], 1),
        "commands": commands,
    }
    print(json.dumps(report, indent=1))
    return 0 if ended.returncode == 0 and total is not None and total <= LIMIT_SECONDS else 1


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, which stands in for the package index's."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def script(wheel: Path, times: Path) -> str:
    """The page's commands in their order, each with its time; a block with a title becomes that file."""
    parts = ["set -euo pipefail", "exec >&2"]
    for block in code_blocks(PAGE.read_text(encoding="utf-8")):
        if block.title:
            parts.append(f"cat > {block.title} <<'END-OF-FILE'\n{block.text}END-OF-FILE")
        elif block.language == "sh":
            parts += [timed(line, wheel, times) for line in block.text.splitlines() if line.strip()]
    return "\n".join(parts)


def timed(command: str, wheel: Path, times: Path) -> str:
    """One command between two looks at the clock."""
    typed = command.replace("cdk-iot-secretfree[local]", f"cdk-iot-secretfree[local] @ {wheel.as_uri()}")
    record = 'awk "BEGIN { printf \\"%.3f\\", $EPOCHREALTIME - $began }"'
    line = f"printf '%s\\t%s\\n' \"$({record})\" {shlex.quote(command)} >> {shlex.quote(str(times))}"
    return f"began=$EPOCHREALTIME\n{typed}\n{line}"


def environment() -> dict[str, str]:
    """The shell's environment without AWS settings and without an active virtual environment."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "VIRTUAL_ENV"))}


if __name__ == "__main__":
    sys.exit(main())
