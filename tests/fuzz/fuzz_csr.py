"""The coverage-guided fuzzer (atheris) of the CSR and header parser.

python tests/fuzz/fuzz_csr.py [libFuzzer options, such as -max_total_time=60] tests/fuzz/corpus
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["secretfree"]):
    from csr_property import check


def one_input(data: bytes) -> None:
    """Fail loudly on any exception but SecretFreeError, and on any broken promise."""
    check(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
