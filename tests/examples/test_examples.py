"""Each example synthesises, as `cdk synth` would run it, and has what its page says."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from functools import partial
from pathlib import Path

import aws_cdk
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples")]  # one process for all of them

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLING_STACKS = "aws:cdk:bundling-stacks"
APPS = sorted(EXAMPLES.glob("*/app.py"))
HAS = {
    "minimal": {"AWS::ACMPCA::CertificateAuthority": 1, "AWS::DynamoDB::GlobalTable": 2},
    "existing-table-and-ca": {"AWS::ACMPCA::CertificateAuthority": 0, "AWS::DynamoDB::GlobalTable": 1},
    "offline-parent": {"AWS::ACMPCA::CertificateAuthority": 1, "AWS::ACMPCA::CertificateAuthorityActivation": 0},
    "two-product-lines": {"AWS::ACMPCA::CertificateAuthority": 1, "AWS::DynamoDB::GlobalTable": 4},
    "two-regions": {"AWS::ACMPCA::CertificateAuthority": 2, "AWS::DynamoDB::GlobalTable": 4},
    "manifest-import": {"AWS::StepFunctions::StateMachine": 1},
}


@pytest.mark.parametrize("app", APPS, ids=[app.parent.name for app in APPS])
def test_an_example_synthesises_what_it_shows(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads((app.parent / "cdk.json").read_text(encoding="utf-8"))
    assert settings["app"] == "python3 app.py"
    monkeypatch.chdir(app.parent)
    # One process for all, as each costs seconds to start: the app's folder of output is given where the CLI gives it.
    monkeypatch.setattr(aws_cdk, "App", partial(aws_cdk.App, outdir=str(tmp_path), context={BUNDLING_STACKS: []}))
    runpy.run_path(str(app), run_name="__main__")
    templates = [json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.glob("*.template.json")]
    types = Counter(resource["Type"] for template in templates for resource in template["Resources"].values())
    assert {kind: types[kind] for kind in HAS[app.parent.name]} == HAS[app.parent.name]


def test_every_example_is_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(HAS) == {app.parent.name for app in APPS}
    assert all(f"{name}/app.py" in page for name in HAS)
