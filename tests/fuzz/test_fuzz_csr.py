"""The fuzzer's promise on the kept corpus at each run, and a short search for more when asked for slow tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from csr_property import check
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import seeds

FUZZ = Path(__file__).parent
CORPUS = sorted(path for path in (FUZZ / "corpus").iterdir() if path.is_file())
VERIFIABLE = {
    "der-p256",
    "der-rsa-2048",
    "pem-cr-one-line",
    "pem-crlf",
    "planned-extensions",
    "planned-sha1",
    "text-pem",
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_kept_input_is_refused_or_verified_with_every_rule_kept(path: Path) -> None:
    check(path.read_bytes())


def test_the_corpus_reaches_the_verified_side_too() -> None:
    assert {path.name for path in CORPUS if check(path.read_bytes())} >= VERIFIABLE


def test_the_corpus_holds_every_seed_and_stays_small() -> None:
    assert {name for name, _ in seeds()} <= {path.name for path in CORPUS}
    assert sum(path.stat().st_size for path in CORPUS) < 100_000


@settings(max_examples=300, deadline=None)
@given(plan=st.binary(max_size=200))
def test_no_planned_request_breaks_a_promise(plan: bytes) -> None:
    check(b"\2" + plan)


@pytest.mark.parametrize(
    "seconds", [pytest.param(4, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.nightly)]
)
def test_a_fuzzing_run_finds_nothing(tmp_path: Path, seconds: int) -> None:
    pytest.importorskip("atheris", reason="atheris has wheels for Linux and CPython 3.11 to 3.13")
    found, crashes = tmp_path / "found", tmp_path / "crashes"
    found.mkdir()
    crashes.mkdir()
    limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1"]
    run = subprocess.run(
        [sys.executable, FUZZ / "fuzz_csr.py", *limits, f"-artifact_prefix={crashes}/", found, FUZZ / "corpus"],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert list(crashes.iterdir()) == []
    (executed,) = re.findall(r"stat::number_of_executed_units: (\d+)", run.stderr)
    assert int(executed) > len(list((FUZZ / "corpus").iterdir())), "no input but the corpus was tried"
