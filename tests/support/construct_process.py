"""A faster Node process of the construct, for tests that synthesise hundreds of times.

The construct runs in Node, and each of its calls is a message to it. By default, a second Node process relays all
messages, and each construct keeps the stack trace of its creation.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from jsii._kernel.providers.process import _NodeProcess

# The program talks over its descriptor 3. Without a relay, its input and output are the descriptors 0 and 1.
DIRECT = """
const fs = require("fs");
const { readSync, writeSync } = fs;
fs.readSync = (descriptor, ...rest) => readSync(descriptor === 3 ? 0 : descriptor, ...rest);
fs.writeSync = (descriptor, ...rest) => writeSync(descriptor === 3 ? 1 : descriptor, ...rest);
process.stdout.write = process.stderr.write.bind(process.stderr);
require("../lib/program.js");
"""
ENVIRONMENT = {
    "NODE_OPTIONS": "--preserve-symlinks",  # as the relay starts the program
    "CDK_DISABLE_STACK_TRACE": "1",
}


def quicken() -> None:
    """Make this process start its Node process this way. Its child processes have the defaults."""
    runtime, start = _NodeProcess._jsii_runtime, _NodeProcess.start

    def direct_runtime(process: _NodeProcess) -> str:
        relay = runtime(process)
        Path(relay).write_text(DIRECT, encoding="utf-8")
        return relay

    def start_quickly(process: _NodeProcess) -> None:
        with patch.dict(os.environ, ENVIRONMENT):
            start(process)

    _NodeProcess._jsii_runtime = direct_runtime  # type: ignore[method-assign]
    _NodeProcess.start = start_quickly  # type: ignore[method-assign]
