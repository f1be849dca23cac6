"""A team's app, synthesised by the Python of an environment that has the wheel and no checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

APP = """
from aws_cdk import App, Duration, Stack
from cdk_iot_secretfree import (
    AuthoritySubject, DeviceAuthority, DevicePolicy, Issuer, MatchPolicy, SecretFreeProvisioning
)

app = App()
stack = Stack(app, "Team")
authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Team Device CA"))
SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority, validity=Duration.days(365)), Issuer.iot_core()],
    device_policy=DevicePolicy.least_privilege("widget"),
    match=MatchPolicy.UDID_AND_PUBLIC_KEY,
)
app.synth()
"""


def synthesise(python: Path, folder: Path) -> Path:
    """Synthesise the app in `folder`, with a cache of its own; return the cloud assembly's folder."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(APP, encoding="utf-8")
    out = folder / "cdk.out"
    result = subprocess.run(
        [python, "app.py"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", str(folder)),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "CDK_OUTDIR": str(out),
            "CDK_VALIDATION": "false",  # it would take as long as the rest, and another test validates the templates
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return out
