"""Lets the tests import the modules beside them, which the fuzzer runs as scripts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
