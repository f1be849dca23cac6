"""A device's way to its certificate, with curl and openssl as the device."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from secretfree.contract import IssuerSetting, Variable
from support.documents import ROOT, code_blocks

EVERY_KEY = ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"]


def test_curl_reaches_the_api_over_tls_if_it_trusts_the_local_ca(cloud: Any, workshop: Any) -> None:
    device = workshop.enrolled(cloud)
    command = ["curl", "--silent", "--show-error", "--fail", "-X", "POST", f"{cloud.target.tls_url}/new"]
    command += ["-H", f"device-csr: {base64.b64encode(device.csr()).decode()}"]
    untrusting = subprocess.run(command, capture_output=True, check=False)
    assert untrusting.returncode == 60  # curl's manual: the peer's certificate cannot be authenticated
    trusting = subprocess.run([*command, "--cacert", str(cloud.target.tls_ca)], capture_output=True, check=False)
    assert trusting.returncode == 0, trusting.stderr
    assert json.loads(trusting.stdout)["thingName"] == device.device_id


def test_the_commands_of_the_readme_enrol_and_provision_a_device(cloud: Any) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Embed it")[2].partition("## Read on")[0]
    commands = code_blocks(section)[-1].text.replace("--stack Widgets", f"--stack {cloud.target.stack_name}")
    script = ["set -euo pipefail", 'eval "$(secretfree local env)"', f"URL={cloud.url}"]
    script += [line for line in commands.splitlines() if not line.startswith("pip install")]
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=cloud.folder.project,
        env={**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout[ended.stdout.index('{"') :])["thingName"] == "sensor-0001"


@pytest.mark.parametrize("key_type", EVERY_KEY)
def test_private_ca_signs_each_kind_of_key(
    cloud: Any, workshop: Any, post: Callable[..., Any], openssl: Callable[..., bytes], key_type: str
) -> None:
    device = workshop.enrolled(cloud, key_type)

    reply = post(f"{cloud.url}/new", device.csr())

    device.keep(reply)
    assert b": OK" in openssl("verify", "-CAfile", cloud.target.ca_certificate, device.certificate)
    assert openssl("x509", "-in", device.certificate, "-noout", "-pubkey") == device.public_key_pem()


@pytest.mark.parametrize("key_type", EVERY_KEY)
def test_iot_core_signs_each_kind_of_key(
    cloud: Any, workshop: Any, post: Callable[..., Any], openssl: Callable[..., bytes], key_type: str
) -> None:
    device = workshop.enrolled(cloud, key_type)

    reply = post(f"{cloud.url}/proto", device.csr())

    device.keep(reply)
    # The local cloud's IoT Core has one CA, for its devices and for its broker.
    assert b": OK" in openssl("verify", "-CAfile", cloud.target.broker_ca, device.certificate)
    assert "certificateChain" not in reply.json


def test_the_answer_is_the_one_of_the_wire_contract(cloud: Any, workshop: Any, post: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud)

    reply = post(f"{cloud.url}/new", device.csr())

    certificate = x509.load_pem_x509_certificate(reply.json["certificate"].encode())
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json) == {
        "certificate", "certificateChain", "endpoint", "thingName", "certificateId", "notAfter", "renewAfter",
    }  # fmt: skip
    assert reply.json["thingName"] == device.device_id
    assert reply.json["endpoint"] == cloud.target.iot_endpoint == f"localhost:{cloud.target.mqtt_port}"
    assert reply.json["certificateId"] == certificate.fingerprint(hashes.SHA256()).hex()
    assert reply.json["certificateChain"].strip() == cloud.target.ca_certificate.read_text().strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reply.json["notAfter"])
    assert datetime.fromisoformat(reply.json["notAfter"]) == certificate.not_valid_after_utc
    begin = datetime.fromisoformat(reply.json["renewAfter"])
    assert certificate.not_valid_before_utc < begin < certificate.not_valid_after_utc


def test_the_certificate_is_a_clients_and_nothing_else(
    cloud: Any, workshop: Any, post: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    device = workshop.enrolled(cloud)

    device.keep(post(f"{cloud.url}/new", device.csr()))

    certificate = x509.load_pem_x509_certificate(device.certificate.read_bytes())
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    key_usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert not constraints.ca
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not key_usage.key_cert_sign
    assert not key_usage.crl_sign
    assert ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in {extension.oid for extension in certificate.extensions}
    purposes = openssl("x509", "-in", device.certificate, "-noout", "-purpose").decode()
    assert "SSL client : Yes" in purposes
    assert "SSL server : No" in purposes
    assert "SSL client CA : No" in purposes


def test_the_subject_is_the_policys_whatever_the_csr_says(
    cloud: Any, workshop: Any, post: Callable[..., Any], openssl: Callable[..., bytes]
) -> None:
    device = workshop.enrolled(cloud)

    device.keep(post(f"{cloud.url}/new", device.csr(subject=f"/C=XX/O=Somebody Else/OU=Admins/CN={device.device_id}")))

    subject = openssl("x509", "-in", device.certificate, "-noout", "-subject", "-nameopt", "RFC2253").decode().strip()
    assert subject == f"subject=CN={device.device_id}"


def test_validity_comes_from_the_configuration(cloud: Any, workshop: Any, post: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud)
    function = cloud.function_of_issuer("private-ca")
    settings = json.loads(function["Environment"]["Variables"][Variable.ISSUERS])["private-ca"]
    days = int(settings[IssuerSetting.VALIDITY_DAYS])

    device.keep(post(f"{cloud.url}/new", device.csr()))

    certificate = x509.load_pem_x509_certificate(device.certificate.read_bytes())
    assert abs(certificate.not_valid_after_utc - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize("form", ["der", "crlf", "one-line"])
def test_other_encodings_of_the_csr_are_taken(
    cloud: Any, workshop: Any, post: Callable[..., Any], openssl: Callable[..., bytes], form: str
) -> None:
    device = workshop.enrolled(cloud)
    pem = device.csr()
    encoded = {
        "der": openssl("req", "-outform", "DER", stdin=pem),
        "crlf": pem.replace(b"\n", b"\r\n"),
        "one-line": pem.replace(b"\n", b""),
    }[form]

    assert post(f"{cloud.url}/new", encoded).status == 200


def test_the_headers_name_may_be_in_any_case(cloud: Any, workshop: Any, curl: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud)

    assert curl(f"{cloud.url}/new", f"Device-CSR: {base64.b64encode(device.csr()).decode()}").status == 200


def test_a_pem_is_answered_to_whoever_accepts_one(cloud: Any, workshop: Any, post: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud)

    reply = post(f"{cloud.url}/new", device.csr(), "Accept: application/x-pem-file")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/x-pem-file"
    assert reply.body.count(b"BEGIN CERTIFICATE") == 1
    assert x509.load_pem_x509_certificate(reply.body)


@pytest.mark.parametrize("path", ["new", "proto"])
def test_asking_again_gives_the_same_certificate(
    cloud: Any, workshop: Any, post: Callable[..., Any], path: str
) -> None:
    device = workshop.enrolled(cloud)
    first = post(f"{cloud.url}/{path}", device.csr())
    issued = cloud.issued()

    again = post(f"{cloud.url}/{path}", device.csr())

    assert again.status == 200
    assert again.json == first.json
    assert cloud.issued() == issued


def test_thing_certificate_and_policy_hang_together(cloud: Any, workshop: Any, post: Callable[..., Any]) -> None:
    device = workshop.enrolled(cloud)
    reply = post(f"{cloud.url}/new", device.csr())
    iot = cloud.target.client("iot")

    thing = iot.describe_thing(thingName=device.device_id)
    (principal,) = iot.list_thing_principals(thingName=device.device_id)["principals"]
    certificate = iot.describe_certificate(certificateId=reply.json["certificateId"])["certificateDescription"]
    (policy,) = iot.list_attached_policies(target=principal)["policies"]

    settings = cloud.function_of_issuer("private-ca")["Environment"]["Variables"]
    assert thing["thingTypeName"] == settings["SECRETFREE_THING_TYPE"]
    assert principal == certificate["certificateArn"]
    assert certificate["status"] == "ACTIVE"
    assert policy["policyName"] == settings["SECRETFREE_POLICY_NAME"]


def test_the_operators_commands_take_a_device_from_nothing_to_a_message(cloud: Any, tmp_path: Path) -> None:
    def secretfree(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "secretfree_cli.main", *arguments],
            env={**os.environ, "SECRETFREE_PROJECT": str(cloud.folder.project)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    public_key = secretfree("device", "new", "by-command", "--key-type", "ec-p256").strip()
    secretfree("enroll", "by-command", "--public-key", public_key, "--local")
    document = json.loads(secretfree("device", "provision", "by-command", "--local", "--json"))
    received = secretfree("device", "connect", "by-command", "--local", "--message", "21.5")

    assert document["thingName"] == "by-command"
    assert received == "widget/by-command/hello  21.5\n"
