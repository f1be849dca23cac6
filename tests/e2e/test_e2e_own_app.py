"""A foreign app, which knows nothing of the local cloud: own CAs, the default synthesizer, two lines in one stack."""

from __future__ import annotations

import json
import re
import textwrap
import time
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
from secretfree_cli.target import Target, local_target

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs" / "guides" / "ids-that-never-change.md"
PATIENCE_SECONDS = 60
APP = """
from aws_cdk import App, Stack, aws_apigateway, aws_ec2, aws_kms, aws_sqs
from cdk_iot_secretfree import (
    ApiOptions, AuthoritySubject, DeviceAuthority, DevicePolicy, FunctionNetwork, FunctionOptions, Issuer,
    SecretFreeProvisioning,
)

app = App()
stack = Stack(app, "Own")
root = DeviceAuthority.root(stack, "Root", subject=AuthoritySubject(common_name="Own root"))
below = DeviceAuthority.subordinate_of(stack, "Below", root, subject=AuthoritySubject(common_name="Own issuer"))
DeviceAuthority.pending_offline_parent(stack, "Waiting", subject=AuthoritySubject(common_name="Waiting"))
vpc = aws_ec2.Vpc(stack, "Vpc", max_azs=2)
functions = FunctionOptions(
    network=FunctionNetwork(vpc=vpc),
    tracing=True,
    log_encryption_key=aws_kms.Key(stack, "LogKey"),
    dead_letter_queue=aws_sqs.Queue(stack, "Failed"),
    snap_start=True,
)
guarded = ApiOptions(
    source_rate_limit=10_000, tracing=True, execution_logging=aws_apigateway.MethodLoggingLevel.INFO
)
endpoint = vpc.add_interface_endpoint("Api", service=aws_ec2.InterfaceVpcEndpointAwsService.APIGATEWAY)
private = ApiOptions(private_endpoints=[endpoint])
lines = {"gadget": {}, "gizmo": {"functions": functions, "api": guarded}, "inner": {"api": private}}
for product, options in lines.items():
    SecretFreeProvisioning(
        stack,
        product.capitalize(),
        product=product,
        issuers=[Issuer.private_ca(below)],
        device_policy=DevicePolicy.least_privilege(product),
        **options,
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
    put_device(target, device)
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
    every = ["gadget", "gizmo", "inner"]
    assert [(line["product"], line["stackName"]) for line in lines] == [(product, "Own") for product in every]
    assert len({line["registryTable"] for line in lines}) == len(every)
    assert len({line["url"] for line in lines}) == len(every)
    assert {line["authorityArn"] for line in lines} == {lines[0]["authorityArn"]}


def test_a_construct_that_is_renamed_by_the_guides_steps_keeps_its_devices(
    cloud: Any, workshop: Any, post: Callable[..., Any], record: CloudRecord, own_app: Path
) -> None:
    before = local_target(record, stack="Own", product="gadget")
    device, waiting = workshop.device(), workshop.device()
    for one in (device, waiting):
        put_device(before, one)
    issued = post(f"{before.url}/new", device.csr())
    assert issued.status == 200, issued

    (own_app / "app.py").write_text(renamed(APP, before))
    after = local_target(deploy_into(cloud.folder, Deployment(own_app)), stack="Own", product="gadget")

    assert (after.registry_table, after.ledger_table) == (before.registry_table, before.ledger_table)
    assert after.url != before.url
    again = post(f"{after.url}/new", device.csr())
    assert again.status == 200, again
    assert again.json["certificateId"] == issued.json["certificateId"]
    assert post(f"{after.url}/new", waiting.csr()).status == 200
    # The registry's stream reaches the new function: a block takes effect.
    key = {"device-id": {"S": device.device_id}}
    blocked = {"UpdateExpression": "SET #s = :b", "ExpressionAttributeNames": {"#s": "status"}}
    blocked |= {"ExpressionAttributeValues": {":b": {"S": "blocked"}}}
    after.client("dynamodb").update_item(TableName=after.registry_table, Key=key, **blocked)
    ends = time.monotonic() + PATIENCE_SECONDS
    while status_of(after, issued.json["certificateId"]) != "REVOKED":
        assert time.monotonic() < ends, "the certificate is not revoked"
        time.sleep(0.2)
    # The other line of the stack is untouched.
    neighbour = workshop.device()
    gizmo = local_target(cloud.folder.require_up(), stack="Own", product="gizmo")
    put_device(gizmo, neighbour)
    assert post(f"{gizmo.url}/new", neighbour.csr()).status == 200


def renamed(app: str, line: Target) -> str:
    """The app with the construct of product `gadget` as the guide's step 2 writes it, and the values of step 1."""
    (described,) = line.client("cloudformation").describe_stacks(StackName="Own")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    table = line.client("dynamodb").describe_table(TableName=line.registry_table)["Table"]
    noted = {
        "REGISTRY_TABLE": line.registry_table,
        "LEDGER_TABLE": line.ledger_table,
        "STREAM_ARN": table["LatestStreamArn"],
        "THING_TYPE_NAME": outputs[Output.THING_TYPE_NAME],
    }
    (code,) = re.findall(r"^ *```python\n(.*?)^ *```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    written = textwrap.dedent(code).replace('"widget"', '"gadget"').replace("(authority)", "(below)")
    constants = "".join(f"{name} = {value!r}\n" for name, value in noted.items())
    imports = "from cdk_iot_secretfree import DeviceRegistry, IssuanceLedger, ThingType\n"
    without = app.replace('"gadget": {}, ', "")
    assert without != app
    return without.replace("app.synth()", f"{imports}{constants}{written}app.synth()")


def put_device(line: Target, device: Any) -> None:
    line.client("dynamodb").put_item(
        TableName=line.registry_table,
        Item={"device-id": {"S": device.device_id}, "pubkey": {"S": device.public_key_pem().decode()}},
    )


def status_of(line: Target, certificate_id: str) -> str:
    described = line.client("iot").describe_certificate(certificateId=certificate_id)
    return str(described["certificateDescription"]["status"])
