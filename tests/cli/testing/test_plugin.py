"""The pytest plugin where no test uses it: it imports nothing."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, pytest
before = set(sys.modules)
import secretfree_cli.testing.plugin
print(*sorted(set(sys.modules) - before))
"""


def test_the_plugin_imports_nothing_but_pytest_and_the_standard_library():
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()

    assert {name for name in shown if name.split(".")[0] not in sys.stdlib_module_names} == {
        "secretfree_cli",
        "secretfree_cli.extras",
        "secretfree_cli.testing",
        "secretfree_cli.testing.plugin",
    }
