"""A foreign app, which knows nothing of the local cloud: own CAs, the default synthesizer, two lines in one stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from secretfree.contract import Output
from secretfree_cli.local.cloud import deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.state import CloudRecord
from secretfree_cli.main import main
from secretfree_cli.target import local_target

REPOSITORY = Path(__file__).resolve().parents[2]
APP = """
from aws_cdk import App, RemovalPolicy, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, DevicePolicy, Issuer, SecretFreeProvisioning

app = App()
stack = Stack(app, "Own")
root = DeviceAuthority.root(stack, "Root", subject=AuthoritySubject(common_name="Own root"))
below = DeviceAuthority.subordinate_of(stack, "Below", root, subject=AuthoritySubject(common_name="Own issuer"))
DeviceAuthority.pending_offline_parent(stack, "Waiting", subject=AuthoritySubject(common_name="Waiting"))
for product in ("gadget", "gizmo"):
    SecretFreeProvisioning(
        stack,
        product.capitalize(),
        product=product,
        issuers=[Issuer.private_ca(below)],
        device_policy=DevicePolicy.least_privilege(product),
    ).add_outputs()
app.synth()
"""


@pytest.fixture(scope="module")
def own_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own-app")
    (folder / "app.py").write_text(APP)
    (folder / "cdk.json").write_text('{"app": "python3 app.py"}')
    (folder / "node_modules").symlink_to(REPOSITORY / "node_modules")
    return folder


@pytest.fixture(scope="module")
def record(cloud: Any, own_app: Path) -> CloudRecord:
    return deploy_into(cloud.folder, Deployment(own_app))


def test_an_app_with_cas_of_its_own_is_deployed_unchanged_and_provisions_a_device(
    cloud: Any, workshop: Any, post: Callable[..., Any], record: CloudRecord
) -> None:
    target = local_target(record, stack="Own", product="gadget")
    assert record.stack_name == cloud.target.stack_name  # the first deployed stays the one that commands mean
    assert target.authority_arn not in (None, record.authority_arn)
    device = workshop.device()
    target.client("dynamodb").put_item(
        TableName=target.registry_table,
        Item={"device-id": {"S": device.device_id}, "pubkey": {"S": device.public_key_pem().decode()}},
    )
    reply = post(f"{target.url}/new", device.csr())
    assert reply.status == 200, reply
    chain = x509.load_pem_x509_certificates(reply.json["certificateChain"].encode())
    assert [item.subject.rfc4514_string() for item in chain] == ["CN=Own issuer", "CN=Own root"]
    x509.load_pem_x509_certificate(reply.json["certificate"].encode()).verify_directly_issued_by(chain[0])
    assert target.ca_certificate is not None
    assert x509.load_pem_x509_certificate(target.ca_certificate.read_bytes()) == chain[0]
    outputs = target.client("cloudformation").describe_stacks(StackName="Own")["Stacks"][0]["Outputs"]
    waiting = next(output["OutputValue"] for output in outputs if "CertificateSigningRequest" in output["OutputKey"])
    assert x509.load_pem_x509_csr(waiting.encode()).is_signature_valid
    assert Output.AUTHORITY_ARN in {output["OutputKey"] for output in outputs}


def test_two_lines_of_a_stack_are_enrolled_provisioned_and_shown_by_the_command(
    cloud: Any, record: CloudRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(cloud.folder.project))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Any:
        done = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    for product in ("gadget", "gizmo"):
        line = ("--local", "--stack", "Own", "--product", product)
        device = f"{product}-1"
        key = command("device", "new", device)["publicKey"]
        command("enroll", "device", device, "--public-key", key, *line)
        command("device", "provision", device, *line)
        shown = command("show", device, *line)
        assert shown["deviceId"] == device
        assert CliRunner().invoke(main, ["device", "connect", device, *line]).exit_code == 0
        other = "gizmo" if product == "gadget" else "gadget"
        assert CliRunner().invoke(main, ["show", device, *line[:-1], other]).exit_code == 4

    lines = command("local", "status", "--stack", "Own")["productLines"]
    assert [(line["product"], line["stackName"]) for line in lines] == [("gadget", "Own"), ("gizmo", "Own")]
    assert len({line["registryTable"] for line in lines}) == 2
    assert len({line["url"] for line in lines}) == 2
    assert {line["authorityArn"] for line in lines} == {lines[0]["authorityArn"]}
