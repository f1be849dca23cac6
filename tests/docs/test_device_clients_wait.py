"""The device clients of the reference page wait as the wire contract says."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from secretfree_device import Patience
from support.documents import ROOT, code_blocks

_PAGE = ROOT / "docs" / "reference" / "device-clients.md"
_PROGRAMS = {block.title: block.text for block in code_blocks(_PAGE.read_text(encoding="utf-8"))}
_NOT_ENROLLED = '{"code":"not-authorized"}'
# Status, `Retry-After` and body of each answer; 000: there was no answer.
_ANSWERS = [
    *[("000", "", "")] * 11,
    ("503", "7", ""),
    ("202", "9000", ""),
    *[("429", "5", "")] * 12,
    ("503", "7200", ""),
    ("202", "30", ""),
    ("503", "Fri, 31 Dec 1999 23:59:59 GMT", ""),
    ("202", "", ""),
    ("202", "99999999", ""),
    ("403", "", "<html>a proxy</html>"),
    ("403", "", _NOT_ENROLLED),
]
_CURL = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --output) body=$2 ;; --dump-header) headers=$2 ;; esac
  shift
done
line=$(head -n 1 "$ANSWERS"); sed -i 1d "$ANSWERS"
status=${line%%|*} rest=${line#*|}
if [ "$status" = 000 ]; then exit 7; fi
printf 'HTTP/1.1 %s x\\r\\nRetry-After: %s\\r\\n\\r\\n' "$status" "${rest%%|*}" > "$headers"
printf '%s' "${rest#*|}" > "$body"
printf '%s' "$status"
"""


def _expected(spread: float) -> list[float]:
    """The contract's pauses, where each random number is `spread` of its range."""
    patience, failures, pauses = Patience(), 0, []

    def uniform(low: float, high: float) -> float:
        return low + spread * (high - low)

    for status, text, _ in _ANSWERS[:-1]:
        asked = min(float(text), 86_400.0) if text.isdigit() else None
        failures = 0 if status == "202" and asked else failures + 1
        pauses.append(
            patience.until_turn(asked, uniform) if failures == 0 and asked else patience.pause(failures, asked, uniform)
        )
    return pauses


def test_the_shell_waits_as_the_contract_says(tmp_path: Path) -> None:
    programs = {
        "curl": _CURL,
        "openssl": "#!/bin/sh\necho csr\n",
        "od": "#!/bin/sh\necho 0\n",
        "sleep": '#!/bin/sh\necho "$1" >> "$PAUSES"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    answers, pauses, script = tmp_path / "answers", tmp_path / "pauses", tmp_path / "provision.sh"
    answers.write_text("".join("|".join(answer) + "\n" for answer in _ANSWERS))
    script.write_text(_PROGRAMS["provision.sh"])

    done = subprocess.run(
        ["sh", str(script), "https://api", "device", "key"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSWERS": str(answers), "PAUSES": str(pauses)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == f"status 403: {_NOT_ENROLLED}\n"
    assert done.returncode == 1
    assert [float(line) for line in pauses.read_text().splitlines()] == _expected(0.0)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_python_waits_as_the_contract_says(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    program: dict[str, Callable[..., object]] = {}
    exec(compile(_PROGRAMS["provision.py"], "provision.py", "exec"), program)  # noqa: S102 - the page's own program
    answers, pauses = iter(_ANSWERS), list[float]()

    def post(*_: object) -> tuple[int, str | None, bytes]:
        status, retry_after, body = next(answers)
        return int(status), retry_after or None, body.encode()

    program |= {"post": post, "signing_request": lambda *_: "csr"}
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("random.SystemRandom.uniform", lambda _, low, high: low + spread * (high - low))

    with pytest.raises(SystemExit, match="not-authorized"):
        program["provision"]("https://api", "device", None, None)

    assert pauses == _expected(spread)


def test_c_tells_the_caller_how_to_wait(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/openssl/ssl.h").exists():
        pytest.skip("no C compiler with OpenSSL's headers (libssl-dev) on this machine")
    renamed = _PROGRAMS["provision.c"].replace("int main(", "int provision(")
    trial = "int main(int count, char **arguments) { (void)count; (void)provision; return outcome(arguments[1]); }\n"
    (tmp_path / "provision.c").write_text(renamed + trial)
    binary = str(tmp_path / "provision")
    subprocess.run(
        [compiler, "-D_POSIX_C_SOURCE=200809L", str(tmp_path / "provision.c"), "-o", binary, "-lssl", "-lcrypto"],
        check=True,
    )

    def told(status: str, retry_after: str, body: str) -> tuple[int, str]:
        answer = f"HTTP/1.1 {status} x\r\nRetry-After: {retry_after}\r\n\r\n{body}"
        done = subprocess.run([binary, answer], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr.strip()

    assert told("202", "9000", "") == (3, "9000")
    assert told("202", "99999999", "") == (3, "86400")
    assert told("202", "", "") == (2, "0")
    assert told("503", "7200", "") == (2, "7200")
    assert told("403", "", "<html>a proxy</html>") == (2, "0")
    assert told("403", "", _NOT_ENROLLED) == (1, f"status 403: {_NOT_ENROLLED}")
