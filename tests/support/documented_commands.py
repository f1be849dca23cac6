"""The commands and examples of the documents, and the test that runs each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.documents import DOCUMENTS, ROOT, ids, lines

SHELLS = frozenset({"sh", "bash", "console"})


@dataclass(frozen=True)
class Command:
    """A command line of a document, with its continuations; `where` is `PAGE:LINE`."""

    document: Path
    where: str
    text: str


WHOLE_PAGES: Mapping[str, str] = {
    "README.md": "tests/e2e/test_e2e_provisioning.py",
    "docs/guides/est.md": "tests/e2e/test_e2e_est.py",
    "docs/tutorials/quickstart.md": "tests/packaging/test_quickstart.py",
    "docs/reference/device-clients.md": "tests/e2e/test_e2e_device_clients.py",
}
"""Pages whose commands another test runs from the page, in order."""

ELSEWHERE: Mapping[str, str] = {
    r"pip install": "tests/packaging/test_wheel.py",
    r"make demo": "tests/e2e/test_e2e_demo.py",
    r"make (test|help)|\.venv/bin/python -m pytest": "Makefile",
    r"make setup|source \.venv/bin/activate": "Makefile",
    r"secretfree audit": "tests/e2e/test_e2e_audit.py",
    r"secretfree enroll uart": "tests/cli/factory/test_factory_serial.py",
    r"secretfree enroll scan": "tests/e2e/test_e2e_factory.py",
    r"secretfree enroll phone": "tests/cli/factory/test_phone_session.py",
    r"secretfree (index-keys|adopt|stats)": "tests/e2e/test_e2e_migration.py",
    r"secretfree local up|secretfree device .* --local|secretfree enroll .* --local": "tests/e2e/test_e2e_regions.py",
    r"secretfree local (replication-lag|stop-region|start-region)": "tests/cli/local/test_local_regions.py",
    r"secretfree ca distrust": "tests/e2e/test_e2e_rotation.py",
    r"secretfree renew|secretfree device jobs": "tests/e2e/test_e2e_renewal.py",
    r"secretfree plan": "tests/cli/plan/test_plan_commands.py",
    r"secretfree export --table": "tests/cli/devices/test_export.py",
    r"make( -C examples/device-c)?( sanitized| sizes)?$": "tests/e2e/test_e2e_device_c.py",
    r"apt-get install libmbedtls-dev": "tests/e2e/test_e2e_device_c.py",
    r"export (DEVICE_ID|API_HOST|BROKER_HOST|TOPIC_PREFIX)=|examples/device-c/build/": "tests/e2e/test_e2e_device_c.py",
    r"softhsm2-util|secretfree device new .*--pkcs11|openssl req .*-provider tpm2": (
        "tests/e2e/test_e2e_hardware_keys.py"
    ),
    r"curl .*OLD_URL": "tests/e2e/test_e2e_migration.py",
    r"curl .*application/pkcs10": "tests/e2e/test_e2e_csr_in_body.py",
}
"""Commands that need more than a running cloud, by a regular expression, and where they run."""

ON_AWS = r"aws "
"""Commands of the AWS CLI, which is not a tool of this project: `tests/docs/test_aws_commands.py` holds their names."""


def commands() -> Iterator[Command]:
    """Every command line of every document, except the changelog and blocks that are whole files."""
    for document in DOCUMENTS:
        if document.name != "CHANGELOG.md" and ids(document) not in WHOLE_PAGES:
            yield from _commands(document)


def runs_elsewhere(command: Command) -> str | None:
    """The file that runs the command; None for one that runs in the sample's local cloud."""
    return next((file for form, file in ELSEWHERE.items() if re.match(form, command.text)), None)


def _commands(document: Path) -> Iterator[Command]:
    begun, where = "", ""
    for line in lines(document):
        if line.language not in SHELLS or not line.text.strip():
            continue
        where = where if begun else str(line)
        text = begun + re.split(r"\s+#\s", line.text)[0].strip().removeprefix("$ ")
        begun = text.removesuffix("\\") if text.endswith("\\") else ""
        if not begun:
            yield Command(document, where, text)


def named_files() -> set[Path]:
    """Every file that is named as running a command."""
    return {ROOT / file for file in (*WHOLE_PAGES.values(), *ELSEWHERE.values())}
