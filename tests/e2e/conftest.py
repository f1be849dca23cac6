"""One local cloud a process, with the sample deployed by the real CDK CLI; curl and openssl are the device."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from secretfree_cli.local.cloud import deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.state import StateFolder
from secretfree_cli.target import Target, local_target
from secretfree_cli.testing.running import start, stop

REPOSITORY = Path(__file__).resolve().parents[2]


# Two processes run the tests side by side, each with a cloud of its own. These files take half of the time.
_SECOND_CLOUD = frozenset(
    {
        "test_e2e_regions",
        "test_e2e_own_app",
        "test_storm",
        "test_e2e_csr_in_body",
        "test_e2e_est",
        "test_e2e_manifest_import",
        "test_e2e_provisioning",
        "test_e2e_refusals",
        "test_e2e_demo",
    }
)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(
                pytest.mark.xdist_group("second cloud" if item.path.stem in _SECOND_CLOUD else "first cloud")
            )


@dataclass(frozen=True)
class Issued:
    """All that an issuance leaves behind, in each place where it would."""

    certificates: frozenset[str]
    things: frozenset[str]
    ledger: frozenset[tuple[str, str]]
    signed_by_private_ca: int


@dataclass(frozen=True)
class Cloud:
    """A running local cloud, seen through one stack in it."""

    folder: StateFolder
    target: Target

    @property
    def url(self) -> str:
        return self.target.require_url()

    def stack(self, name: str, **context: str) -> Cloud:
        """Deploy the sample once more, under another name and with other choices."""
        chosen = {f"secretfree:{key.replace('_', '-')}": value for key, value in context.items()}
        record = deploy_into(self.folder, Deployment(REPOSITORY, stack_name=name, context=chosen))
        return Cloud(self.folder, local_target(record, stack=name))

    def issued(self) -> Issued:
        """Take stock of everything that was ever issued."""
        iot = self.target.client("iot")
        ledger = self.target.resource("dynamodb").Table(self.target.ledger_table).scan()["Items"]
        with sqlite3.connect(f"file:{self.folder.data / 'private-ca.sqlite3'}?mode=ro", uri=True) as store:
            (signed,) = store.execute("SELECT count(*) FROM certificates").fetchone()
        return Issued(
            certificates=frozenset(
                certificate["certificateId"]
                for page in iot.get_paginator("list_certificates").paginate()
                for certificate in page["certificates"]
            ),
            things=frozenset(
                thing["thingName"] for page in iot.get_paginator("list_things").paginate() for thing in page["things"]
            ),
            ledger=frozenset((item["device-id"], item["record"]) for item in ledger),
            signed_by_private_ca=signed,
        )

    def put_item(self, device_id: str, public_key_pem: bytes, **attributes: str) -> None:
        """Write a registry item as existing deployments have it, past every check of the enrolment command."""
        self.target.client("dynamodb").put_item(
            TableName=self.target.registry_table,
            Item={
                "device-id": {"S": device_id},
                "pubkey": {"S": base64.b64encode(public_key_pem).decode()},
                **{name: {"S": value} for name, value in attributes.items()},
            },
        )

    def function_of_issuer(self, issuer: str) -> Mapping[str, Any]:
        """The configuration of the Lambda behind an issuer's path."""
        return next(f for f in self.functions() if f["Environment"]["Variables"].get("SECRETFREE_ISSUER") == issuer)

    def authorizer_function(self) -> Mapping[str, Any]:
        """The configuration of the authorizer's Lambda."""
        return next(f for f in self.functions() if f["Handler"].endswith("authorizer.handler"))

    def functions(self) -> list[Mapping[str, Any]]:
        """The configurations of all Lambdas of the stack."""
        resources = self.target.client("cloudformation").describe_stack_resources(StackName=self.target.stack_name)
        lambda_ = self.target.client("lambda")
        return [
            lambda_.get_function_configuration(FunctionName=resource["PhysicalResourceId"])
            for resource in resources["StackResources"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
        ]


@dataclass(frozen=True)
class Reply:
    """What curl got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def problem(self) -> bytes:
        """The refusal's bytes, the request id's value blanked out."""
        request_id = self.json["requestId"].encode()
        assert self.body.count(request_id) == 1
        return self.body.replace(request_id, b"-")


@dataclass(frozen=True)
class OpensslDevice:
    """A device whose key and CSRs are openssl's."""

    folder: Path
    device_id: str

    @property
    def key(self) -> Path:
        return self.folder / "device.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "device.pem"

    def public_key_pem(self) -> bytes:
        return openssl("pkey", "-in", self.key, "-pubout")

    def csr(self, *options: str, subject: str | None = None, digest: str = "sha256") -> bytes:
        """A new CSR in PEM; `options` as openssl-req takes them."""
        return openssl(
            "req",
            "-new",
            "-batch",
            f"-{digest}",
            "-key",
            self.key,
            "-subj",
            subject or f"/CN={self.device_id}",
            *options,
        )

    def keep(self, reply: Reply) -> None:
        """Store the certificate of a 200."""
        assert reply.status == 200, reply
        self.certificate.write_text(reply.json["certificate"])


KEY_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "rsa-1024": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
    "rsa-2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa-3072": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
    "ec-p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ec-p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "ec-p521": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"),
}


@dataclass(frozen=True)
class Workshop:
    """Makes devices, each in a folder and under an id of its own."""

    folder: Path
    serial: Iterator[int] = field(default_factory=count)

    def device(self, key_type: str = "ec-p256", device_id: str | None = None) -> OpensslDevice:
        number = next(self.serial)
        made = OpensslDevice(self.folder / str(number), device_id or f"device-{number:03}")
        made.folder.mkdir(parents=True)
        openssl("genpkey", *KEY_OPTIONS[key_type], "-out", made.key)
        return made

    def enrolled(self, cloud: Cloud, key_type: str = "ec-p256", device_id: str | None = None) -> OpensslDevice:
        made = self.device(key_type, device_id)
        cloud.put_item(made.device_id, made.public_key_pem())
        return made


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("project")
    # Alarms look at periods of so many seconds, so that a test need not wait for a quarter of an hour.
    os.environ.setdefault("SECRETFREE_ALARM_PERIOD", "2")
    record = start(home, Deployment(REPOSITORY, context={"secretfree:operator-roles": "true"}), owner=os.getpid())
    yield Cloud(StateFolder(home), local_target(record))
    stop(home)


@pytest.fixture(scope="session")
def bodies(cloud: Cloud) -> Cloud:
    """A stack that takes the CSR in the body and by EST too, has a domain with mutual TLS, and imports manifests."""
    s3 = cloud.target.client("s3")
    s3.create_bucket(Bucket="truststores")
    assert cloud.target.ca_certificate is not None
    s3.put_object(Bucket="truststores", Key="devices.pem", Body=cloud.target.ca_certificate.read_bytes())
    return cloud.stack(
        "Bodies",
        product="body",
        manifest_import="true",
        csr_in_body="true",
        est="true",
        est_domain="renew.example.com",
        est_domain_certificate="arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555",
        est_truststore="s3://truststores/devices.pem",
    )


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("devices"))


@pytest.fixture
def nothing_is_issued(cloud: Cloud) -> Iterator[None]:
    """Fail the test if anything was issued while it ran."""
    before = cloud.issued()
    yield
    after = cloud.issued()
    # What an earlier test retired may go meanwhile.
    assert after.certificates <= before.certificates
    assert after.things <= before.things
    assert after.ledger <= before.ledger
    assert after.signed_by_private_ca == before.signed_by_private_ca


def openssl(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr.decode()}"
    return done.stdout


def curl(
    url: str, *headers: str, body: bytes | None = None, method: str = "POST", options: Sequence[str] = ()
) -> Reply:
    """Ask with curl, as the wire contract shows it."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--max-time", "60", "-X", method, *options]
        + [part for header in headers for part in ("-H", header)]
        + ([] if body is None else ["--data-binary", "@-"])
        + [url],
        input=body,
        capture_output=True,
        check=True,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status_line, _, fields = head.partition(b"\r\n")
    parsed = message_from_bytes(fields)
    return Reply(int(status_line.split()[1]), {name.lower(): value for name, value in parsed.items()}, body)


def post(url: str, csr: bytes, *headers: str) -> Reply:
    return curl(url, f"device-csr: {base64.b64encode(csr).decode()}", *headers)


def certificate_id(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="session", name="openssl")
def openssl_fixture() -> Callable[..., bytes]:
    return openssl


@pytest.fixture(scope="session", name="curl")
def curl_fixture() -> Callable[..., Reply]:
    return curl


@pytest.fixture(scope="session", name="post")
def post_fixture() -> Callable[..., Reply]:
    return post
