"""Adopting the things of another deployment."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from secretfree_cli.output import ExitCode
from secretfree_cli.target import Target
from support.stack_on_moto import Stack


def test_things_without_a_type_are_adopted_and_others_left_alone(stack: Stack) -> None:
    iot = boto3.client("iot")
    for name in ("widget", "gadget"):
        iot.create_thing_type(thingTypeName=name)
    iot.create_thing(thingName="dev-0")
    iot.create_thing(thingName="dev-1", thingTypeName="gadget")
    iot.create_thing(thingName="dev-2", thingTypeName="widget")
    stack.enroll((0, 0), (1, 1), (2, 2), (3, 3), batch="one")
    options = ("--thing-type", "widget")

    def types() -> dict[str, str | None]:
        return {thing["thingName"]: thing.get("thingTypeName") for thing in iot.list_things()["things"]}

    before = types()
    dry = stack.json("adopt", "--all", "--dry-run", *options, code=ExitCode.PARTLY_REFUSED)
    assert types() == before
    done = stack.json("adopt", "--batch", "one", *options, code=ExitCode.PARTLY_REFUSED)
    assert {one["deviceId"]: one["outcome"] for one in done["devices"]} == {
        "dev-0": "adopted",
        "dev-1": "other-thing-type",
        "dev-2": "already-ours",
        "dev-3": "no-thing",
    }
    assert dry["counts"] == done["counts"]
    assert types() == {"dev-0": "widget", "dev-1": "gadget", "dev-2": "widget"}
    assert "--thing-type" in stack.run("adopt", "dev-0", code=ExitCode.USAGE).stderr
    stack.run("adopt", "dev-0", *options)
    stack.run("adopt", "dev-1", *options, code=ExitCode.REFUSED)
    stack.run("adopt", "dev-0", "--thing-type", "absent", code=ExitCode.NOT_FOUND)
    for wrong in ((), ("dev-0", "--all"), ("--all", "--batch", "one")):
        stack.run("adopt", *wrong, *options, code=ExitCode.USAGE)


def certificate_of(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate of `key`, as another CA than the product's made it."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def enrolled_key(stack: Stack, *keys: ec.EllipticCurvePrivateKey) -> None:
    """Enrol `dev-0` with each of `keys`, one after another."""
    for number, key in enumerate(keys):
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        path = Path(f"keys-{number}.csv")
        path.write_text(f"device-id,public-key\ndev-0,{base64.b64encode(spki).decode()}\n")
        stack.run("enroll", path, *(("--replace", "--reason", "new board") if number else ()))


@pytest.mark.parametrize(
    ("enrolled", "attached", "outcome"),
    [
        ("a", "a", "adopted"),
        ("a", "aa", "adopted"),
        ("a", "", "adopted"),
        ("ab", "ab", "adopted"),
        ("a", "b", "other-principal"),
        ("a", "ab", "other-principal"),
    ],
)
def test_a_thing_is_adopted_only_if_its_certificates_have_the_devices_key(
    enrolled: str, attached: str, outcome: str, stack: Stack
) -> None:
    iot = boto3.client("iot")
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in "ab"}
    enrolled_key(stack, *(keys[name] for name in enrolled))
    iot.create_thing_type(thingTypeName="widget")
    iot.create_thing(thingName="dev-0")
    for name in attached:
        made = iot.register_certificate_without_ca(certificatePem=certificate_of(keys[name]), status="ACTIVE")
        iot.attach_thing_principal(thingName="dev-0", principal=made["certificateArn"])
    code = ExitCode.REFUSED if outcome == "other-principal" else ExitCode.OK
    done = stack.json("adopt", "dev-0", "--thing-type", "widget", code=code)
    assert done["counts"] == {outcome: 1}
    assert iot.describe_thing(thingName="dev-0").get("thingTypeName") == ("widget" if outcome == "adopted" else None)


def test_a_thing_with_a_principal_that_is_no_certificate_is_left_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = boto3.client("iot")
    iot.create_thing_type(thingTypeName="widget")
    iot.create_thing(thingName="dev-0")
    stack.enroll((0, 0), batch="one")

    class OfCognito:
        """IoT Core with a Cognito identity attached to each thing, which moto cannot attach."""

        def __getattr__(self, name: str) -> Any:
            return getattr(iot, name)

        def get_paginator(self, _operation: str) -> Any:
            pages = [{"principals": ["eu-central-1:00000000-0000-0000-0000-000000000000"]}]
            return SimpleNamespace(paginate=lambda **_: pages)

    monkeypatch.setattr(Target, "client", lambda _, service: OfCognito() if service == "iot" else boto3.client(service))
    done = stack.json("adopt", "dev-0", "--thing-type", "widget", code=ExitCode.REFUSED)
    assert done["counts"] == {"other-principal": 1}


def test_a_device_that_is_not_enrolled_adopts_no_thing(stack: Stack) -> None:
    iot = boto3.client("iot")
    iot.create_thing_type(thingTypeName="widget")
    iot.create_thing(thingName="stranger")
    done = stack.json("adopt", "stranger", "--thing-type", "widget", code=ExitCode.REFUSED)
    assert done["counts"] == {"not-enrolled": 1}
    assert "thingTypeName" not in iot.describe_thing(thingName="stranger")


@pytest.mark.parametrize("code", ["VersionConflictException", "ResourceNotFoundException"])
def test_a_thing_that_changes_while_it_is_adopted_is_judged_again(
    code: str, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = boto3.client("iot")
    for name in ("widget", "gadget"):
        iot.create_thing_type(thingTypeName=name)
    iot.create_thing(thingName="dev-0")
    stack.enroll((0, 0), batch="one")

    class Raced:
        """IoT Core, where another operator gives the thing to another fleet before this update arrives."""

        def __getattr__(self, name: str) -> Any:
            return getattr(iot, name)

        def update_thing(self, **_: object) -> None:
            iot.update_thing(thingName="dev-0", thingTypeName="gadget")
            raise ClientError({"Error": {"Code": code, "Message": "x"}}, "UpdateThing")

    monkeypatch.setattr(Target, "client", lambda _, service: Raced() if service == "iot" else boto3.client(service))
    done = stack.json("adopt", "dev-0", "--thing-type", "widget", code=ExitCode.REFUSED)
    assert done["counts"] == {"other-thing-type": 1}
    assert iot.describe_thing(thingName="dev-0")["thingTypeName"] == "gadget"
