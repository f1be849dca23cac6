"""Each example deployed as it stands, and a device provisioned. Runs outside the checkout, with the wheel alone.

`tests/packaging/test_own_apps.py` copies this file beside the examples and runs it there.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from secretfree_cli.testing.cloud import LocalCloud

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="session")
def secretfree_app() -> Path:
    return EXAMPLES / "minimal"


def outputs_of(cloud: LocalCloud, stack: str) -> dict[str, str]:
    (described,) = cloud.session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def provisions_a_device(cloud: LocalCloud) -> Any:
    device = cloud.enrolled_device()
    identity = cloud.provision(device, seconds=120)
    topic = cloud.topic(device, "hello")
    with cloud.connect(device) as session:
        session.subscribe(topic)
        session.publish(topic, "hello")
        assert session.receive(timeout=10) is not None
    return identity


def test_minimal(secretfree_cloud: LocalCloud) -> None:
    assert secretfree_cloud.target.stack_name == "Minimal"
    provisions_a_device(secretfree_cloud)


def test_two_product_lines(secretfree_cloud: LocalCloud) -> None:
    sensors = secretfree_cloud.deploy(EXAMPLES / "two-product-lines", stack="Sensors")
    gateways = sensors.line(stack="Gateways")

    provisions_a_device(sensors)
    provisions_a_device(gateways)
    assert sensors.target.authority_arn == gateways.target.authority_arn


def test_manifest_import(secretfree_cloud: LocalCloud) -> None:
    cloud = secretfree_cloud.deploy(EXAMPLES / "manifest-import", stack="ManifestImport")
    device = cloud.new_device()
    row = json.dumps({"device-id": device.device_id, "public-key": device.public_key_pem})
    bucket = outputs_of(cloud, "ManifestImport")["ManifestBucket"]

    cloud.session.client("s3").put_object(Bucket=bucket, Key="manifests/lot.jsonl", Body=row.encode())

    table = cloud.session.resource("dynamodb").Table(cloud.target.registry_table)
    ends = time.monotonic() + 240
    while "Item" not in table.get_item(Key={"device-id": device.device_id}, ConsistentRead=True):
        assert time.monotonic() < ends, "the import enrolled nothing"
        time.sleep(0.5)
    assert cloud.provision(device, seconds=120).thing_name == device.device_id


def test_existing_table_and_ca(secretfree_cloud: LocalCloud) -> None:
    """The table and the CA exist before the app: here a table made by hand, and the CA of the local cloud."""
    secretfree_cloud.session.client("dynamodb").create_table(
        TableName="shipped-devices",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
    )
    context = {"ca-arn": secretfree_cloud.record.authority_arn, "table": "shipped-devices"}

    cloud = secretfree_cloud.deploy(EXAMPLES / "existing-table-and-ca", stack="ExistingTableAndCa", context=context)

    assert cloud.target.registry_table == "shipped-devices"
    provisions_a_device(cloud)


def test_offline_parent(secretfree_cloud: LocalCloud) -> None:
    app = EXAMPLES / "offline-parent"
    first = secretfree_cloud.deploy(app, stack="OfflineParent")
    outputs = outputs_of(first, "OfflineParent")
    request = next(value for key, value in outputs.items() if "CertificateSigningRequest" in key)

    signed, root = sign_offline(x509.load_pem_x509_csr(request.encode()))
    (app / "signed.pem").write_bytes(signed)
    (app / "chain.pem").write_bytes(root)
    cloud = secretfree_cloud.deploy(app, stack="OfflineParent")

    identity = provisions_a_device(cloud)
    assert identity.chain_pem.strip().endswith(root.decode().strip())


def sign_offline(request: x509.CertificateSigningRequest) -> tuple[bytes, bytes]:
    """Sign a CA of path length 0 with a new root; return both certificates as PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Offline root")])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public_key: Any, path_length: int | None, years: int) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=365 * years))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        return builder.sign(key, hashes.SHA384())

    encoding = serialization.Encoding.PEM
    root = certificate(name, key.public_key(), None, 20).public_bytes(encoding)
    return certificate(request.subject, request.public_key(), 0, 10).public_bytes(encoding), root
