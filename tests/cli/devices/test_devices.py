"""The commands that look after enrolled devices and batches, against a registry and a ledger on moto."""

import base64
import contextlib
import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import Standing
from secretfree.registry.store import ChangedMeanwhile
from secretfree.request.device_id import DeviceId
from secretfree_cli.devices import blocking
from secretfree_cli.devices import commands as devices_commands
from secretfree_cli.devices.adopt import adopt
from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.devices.reissue import reissue
from secretfree_cli.importing import batch_commands, commands
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.pacing import Pace
from secretfree_cli.target import Target

DEVICES = list(sample_devices(4, "dev-{}".format))
COMMANDS = {
    "enroll": commands.enroll,
    "list": devices_commands.list_devices,
    "show": devices_commands.show,
    "block": blocking.block,
    "unblock": blocking.unblock,
    "remove": devices_commands.remove,
    "reissue": reissue,
    "adopt": adopt,
    "export": devices_commands.export,
    "stats": devices_commands.stats,
    "batch": batch_commands.batch,
}


class Stack:
    """A registry and a ledger as one stack has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = boto3.client("dynamodb")
        self.client.create_table(**import_table_request("registry", "", "")["TableCreationParameters"])
        self.client.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("device-id", "record")],
            KeySchema=[
                {"AttributeName": "device-id", "KeyType": "HASH"},
                {"AttributeName": "record", "KeyType": "RANGE"},
            ],
        )
        self._patch = monkeypatch
        self.has_ledger = True
        self.revoker: str | None = "the-function"
        monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: self.target())

    def target(self) -> Target:
        return Target(
            session=boto3.Session(),
            endpoint_url=None,
            region="eu-central-1",
            stack_name="SecretFree",
            registry_table="registry",
            ledger_table="ledger" if self.has_ledger else None,
            policy_name="devices",
            revoker=self.revoker,
        )

    def run(self, name: str, *arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(COMMANDS[name], [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def json(self, *words: object, code: int = 0) -> Any:
        return json.loads(self.run(str(words[0]), *words[1:], "--json", code=code).stdout)

    def enroll(self, *pairs: tuple[int, int], batch: str, options: tuple[str, ...] = (), status: str = "") -> None:
        """Enrol devices by their numbers, each with the key of the device of another number."""
        path = Path(f"{batch}.csv")
        with path.open("w") as file:
            file.write("device-id,public-key,status,attributes.colour\n")
            for device, key in pairs:
                file.write(f"dev-{device},{DEVICES[key].public_key.registry_text()},{status},red\n")
        self.run("enroll", path, "--batch", batch, *options)

    def certify(
        self, device: int, *, state: str = "active", not_after: float | None = None, certificate: str = "c1"
    ) -> None:
        item = {
            "device-id": {"S": f"dev-{device}"},
            "record": {"S": f"certificate#{certificate}"},
            "state": {"S": state},
            "issuer": {"S": "private-ca"},
        }
        if not_after is not None:
            item["not-after"] = {"N": str(int(not_after * 1000))}
        self.client.put_item(TableName="ledger", Item=item)

    def register(self, device: int, *, status: str = "ACTIVE", policy: bool = True, thing: bool = True) -> str:
        """Give a device a certificate at IoT Core alone, as if the ledger had been restored; return its id."""
        iot = boto3.client("iot")
        made = iot.create_keys_and_certificate(setAsActive=status == "ACTIVE")
        if status == "REVOKED":
            iot.update_certificate(certificateId=made["certificateId"], newStatus=status)
        if policy:
            with contextlib.suppress(iot.exceptions.ResourceAlreadyExistsException):
                iot.create_policy(policyName="devices", policyDocument="{}")
            iot.attach_policy(policyName="devices", target=made["certificateArn"])
        iot.create_thing(thingName=f"dev-{device}")
        if thing:
            iot.attach_thing_principal(thingName=f"dev-{device}", principal=made["certificateArn"])
        return str(made["certificateId"])

    def record_issuance(self, device: int, **attributes: Any) -> None:
        item = {
            "device-id": {"S": f"dev-{device}"},
            "record": {"S": "issuance#private-ca"},
            "key-fingerprint": {"S": DEVICES[device].public_key.fingerprint},
            "state": {"S": "requesting"},
            "generation": {"N": "1"},
            "version": {"N": "7"},
            "begun-at": {"N": "1767225600000"},
            "attempts": {"N": "14"},
        }
        self.client.put_item(TableName="ledger", Item=item | attributes)

    def items(self) -> dict[str, Mapping[str, Any]]:
        found = self.client.scan(TableName="registry")["Items"]
        return {item["device-id"]["S"]: item for item in found if "#" not in item["device-id"]["S"]}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, moto_account: None) -> Stack:
    return Stack(monkeypatch)


def test_devices_are_listed_and_chosen_by_status_batch_and_prefix(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), batch="two", status="blocked")

    def listed(*options: str) -> set[str]:
        return {device["deviceId"] for device in stack.json("list", *options)["devices"]}

    assert listed() == {"dev-0", "dev-1", "dev-2"}
    assert listed("--batch", "one") == {"dev-0", "dev-1"}
    assert listed("--status", "blocked") == {"dev-2"}
    assert listed("--prefix", "dev-1") == {"dev-1"}
    assert stack.json("list", "--limit", "2")["more"] is True
    shown = stack.run("list", "--limit", "1")
    assert "dev-" in shown.stdout
    assert "--limit" in shown.stderr


def test_a_batch_is_listed_in_the_order_of_ids_a_page_at_a_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((3, 3), (1, 1), (0, 0), (2, 2), batch="one")
    read: list[int] = []
    original = DynamoDbRegistryStore.read
    monkeypatch.setattr(
        DynamoDbRegistryStore, "read", lambda store, ids: read.append(len(list(ids))) or original(store, ids)
    )
    first = stack.json("list", "--batch", "one", "--limit", "2")
    assert [one["deviceId"] for one in first["devices"]] == ["dev-0", "dev-1"]
    assert (first["more"], first["next"]) == (True, "dev-1")
    assert sum(read) <= 3
    second = stack.json("list", "--batch", "one", "--limit", "2", "--after", first["next"])
    assert [one["deviceId"] for one in second["devices"]] == ["dev-2", "dev-3"]
    assert (second["more"], second["next"]) == (False, None)
    backwards = stack.json("list", "--batch", "one", "--descending", "--limit", "1")
    assert [one["deviceId"] for one in backwards["devices"]] == ["dev-3"]
    stack.run("list", "--descending", code=ExitCode.USAGE)


def test_the_table_is_listed_a_page_at_a_time_and_each_device_once(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), (3, 3), batch="one")
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while True:
        page = stack.json("list", "--limit", "1", *after)
        seen += [one["deviceId"] for one in page["devices"]]
        if not page["more"]:
            break
        after = ("--after", page["next"])
    assert sorted(seen) == ["dev-0", "dev-1", "dev-2", "dev-3"]


def test_devices_are_found_by_key_and_by_a_part_of_their_id(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    Path("key.pem").write_text(DEVICES[1].public_key.pem())
    for key in (DEVICES[1].public_key.fingerprint.upper(), "key.pem"):
        assert [one["deviceId"] for one in stack.json("list", "--key", key)["devices"]] == ["dev-1"]
        assert stack.json("show", "--key", key)["deviceId"] == "dev-1"
    assert [one["deviceId"] for one in stack.json("list", "--contains", "V-1")["devices"]] == ["dev-1"]
    assert stack.json("show", "--contains", "v-1")["deviceId"] == "dev-1"
    assert "dev-0, dev-1" in stack.run("show", "--batch", "one", code=ExitCode.USAGE).stderr
    stack.run("show", "--contains", "nothing", code=ExitCode.NOT_FOUND)
    stack.run("show", code=ExitCode.USAGE)
    stack.run("list", "--key", "no-such-file", code=ExitCode.USAGE)


def test_devices_of_a_file_are_blocked_unblocked_and_removed(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), batch="one")
    Path("ids.txt").write_text("\ufeff# stolen in transit\ndev-0\r\n\n dev-1 \ndev-0\n")
    done = stack.json("block", "--from", "ids.txt", "dev-2", "--reason", "stolen")
    assert {one["deviceId"]: one["outcome"] for one in done["devices"]} == dict.fromkeys(
        ("dev-2", "dev-0", "dev-1"), "blocked"
    )
    stack.run("unblock", "--from", "ids.txt")
    stack.run("remove", "--from", "ids.txt")
    assert set(stack.items()) == {"dev-2"}
    Path("ids.txt").write_text("\n")
    stack.run("block", "--from", "ids.txt", "--reason", "x", code=ExitCode.USAGE)


@pytest.mark.parametrize("reason", ["", " ", "\t"])
def test_an_empty_reason_is_refused(reason: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", reason, code=ExitCode.USAGE)
    assert stack.items()["dev-0"]["status"]["S"] == "allowed"


def test_a_device_is_shown_with_its_certificates(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0)
    shown = stack.json("show", "dev-0")
    assert shown["keyFingerprint"] == DEVICES[0].public_key.fingerprint
    assert shown["attributes"] == {"colour": "red"}
    assert [one["certificateId"] for one in shown["certificates"]] == ["c1"]
    assert "c1 active" in stack.run("show", "dev-0").stdout
    stack.run("show", "dev-9", code=ExitCode.NOT_FOUND)
    stack.run("show", "a/b", code=ExitCode.USAGE)


def test_a_device_stuck_at_202_is_shown_with_since_attempts_lease_and_reason(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    later = str(int((time.time() + 30) * 1000))
    stack.record_issuance(
        0, **{"lease-owner": {"S": "w"}, "lease-expires": {"N": later}, "last-reason": {"S": "throttled"}}
    )
    (issuance,) = stack.json("show", "dev-0")["issuances"]
    assert (issuance["state"], issuance["attempts"], issuance["generation"]) == ("requesting", 14, 1)
    assert (issuance["since"], issuance["lastReason"]) == ("2026-01-01T00:00:00Z", "throttled")
    assert issuance["leaseExpires"].endswith("Z")
    shown = stack.run("show", "dev-0").stdout
    assert "gets 202 since 2026-01-01T00:00:00Z, after 14 requests; last reason: throttled" in shown
    assert "lease held until" in shown


def test_a_device_with_a_good_certificate_is_not_called_stuck_while_its_renewal_fails(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    end = {"N": str(4_102_444_800_000)}
    stack.record_issuance(0, **{"in-use": {"M": {"not-after": end}}, "last-reason": {"S": "<b>not a code</b>"}})
    (issuance,) = stack.json("show", "dev-0")["issuances"]
    assert (issuance["inUseUntil"], issuance["lastReason"]) == ("2100-01-01T00:00:00Z", None)
    shown = stack.run("show", "dev-0").stdout
    assert "gets its former certificate since" in shown
    assert "gets 202" not in shown
    assert "not a code" not in shown


def test_a_restored_ledger_does_not_hide_an_active_certificate(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    certificate = stack.register(0)
    shown = stack.json("show", "dev-0")
    (one,) = shown["certificates"]
    assert (one["certificateId"], one["state"]) == (certificate, None)
    assert one["iotCore"] == {
        "status": "ACTIVE",
        "policies": ["devices"],
        "policyAttached": True,
        "thingAttached": True,
    }
    assert [f"certificate {certificate}: active at IoT Core, but the ledger has no record of it"] == shown["warnings"]
    assert stack.json("remove", "dev-0", code=ExitCode.REFUSED)["devices"][0]["outcome"] == "has-active-certificate"
    boto3.client("iot").update_certificate(certificateId=certificate, newStatus="INACTIVE")
    stack.run("remove", "dev-0")
    assert stack.items() == {}


def test_what_the_ledger_calls_active_is_compared_with_iot_core(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.certify(0, certificate="0" * 64)
    assert any("IoT Core does not have it" in said for said in stack.json("show", "dev-0")["warnings"])
    certificate = stack.register(1, status="REVOKED")
    stack.certify(1, certificate=certificate)
    assert any("IoT Core says REVOKED" in said for said in stack.json("show", "dev-1")["warnings"])


def test_an_active_certificate_without_policy_or_thing_is_said(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0, certificate=stack.register(0, policy=False, thing=False))
    said = " ".join(stack.json("show", "dev-0")["warnings"])
    assert "the policy devices is not attached" in said
    assert "the thing dev-0 is not attached" in said


def test_a_blocked_device_whose_certificate_is_active_is_said(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0, certificate=stack.register(0))
    assert stack.json("show", "dev-0")["warnings"] == []
    stack.run("block", "dev-0", "--reason", "stolen")
    assert "Blocking stops new certificates and revokes none" in stack.json("show", "dev-0")["warnings"][0]


def test_a_device_that_only_iot_core_knows_is_shown_and_does_not_pass_for_enrolled(stack: Stack) -> None:
    certificate = stack.register(9)
    shown = stack.json("show", "dev-9", code=ExitCode.NOT_FOUND)
    assert (shown["status"], shown["certificates"][0]["certificateId"]) == ("not-enrolled", certificate)


def test_where_iot_core_may_not_be_asked_the_rest_is_shown(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0)

    def denied(*_: object) -> None:
        message = "User is not authorized to perform: iot:DescribeThing on resource: x"
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "DescribeThing")

    monkeypatch.setattr(IotView, "thing", denied)
    shown = stack.json("show", "dev-0")
    assert shown["certificates"][0]["state"] == "active"
    assert "iotCore" not in shown["certificates"][0]
    assert "could not be asked" in shown["warnings"][0]


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


def issuance(state: str, *, owner: str | None = None, issuer: str = "private-ca") -> Issuance:
    now = datetime.now(UTC)
    record = Issuance.first(DeviceId.parse("dev-0"), issuer, DEVICES[0].public_key.fingerprint, owner="w", now=now)
    if state != "requesting":
        record = record.issued(
            certificate_id="c" * 64, certificate_pem="pem", chain_pem=None, not_after=now + timedelta(days=90)
        )
    if state in {"active", "revoked"}:
        record = record.active(clear_at=None)
    return record.revoked(now) if state == "revoked" else record


@pytest.mark.parametrize("state", ["active", "revoked"])
def test_a_reissue_opens_a_new_generation_and_keeps_who_and_why(state: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    ledger = DynamoDbLedger(stack.client, table="ledger")
    ledger.write(issuance(state))
    done = stack.json("reissue", "dev-0", "--reason", "revoked by mistake")
    assert [one["outcome"] for one in done["issuances"]] == ["reopened"]
    found = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert found is not None
    standing = found.standing(found.fingerprint, now=datetime.now(UTC), renewal_window=timedelta(days=30), trusts=bool)
    assert standing is Standing.NEXT_GENERATION
    (shown,) = stack.json("show", "dev-0")["issuances"]
    assert shown["lastReissue"]["reason"] == "revoked by mistake"
    assert shown["lastReissue"]["by"].startswith("arn:aws:")
    again = stack.json("reissue", "dev-0", "--reason", "again")
    assert [one["outcome"] for one in again["issuances"]] == ["already-open"]


def test_a_reissue_at_one_issuer_leaves_the_other_alone(stack: Stack) -> None:
    ledger = DynamoDbLedger(stack.client, table="ledger")
    for issuer in ("private-ca", "iot-core"):
        ledger.write(issuance("active", issuer=issuer))
    stack.run("reissue", "dev-0", "--reason", "x", "--issuer", "iot-core")
    left = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert left is not None
    assert left.state.value == "active"


def test_a_device_that_is_being_served_is_not_reissued(stack: Stack) -> None:
    DynamoDbLedger(stack.client, table="ledger").write(issuance("requesting"))
    assert "being issued" in stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.FAILURE).stderr


def test_a_reissue_needs_a_reason_a_ledger_and_an_issuance(stack: Stack) -> None:
    stack.run("reissue", "dev-0", "--reason", " ", code=ExitCode.USAGE)
    stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.NOT_FOUND)
    stack.has_ledger = False
    stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.USAGE)


def test_a_request_that_comes_between_makes_the_reissue_fail(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = DynamoDbLedger(stack.client, table="ledger")
    ledger.write(issuance("active"))
    stale = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert stale is not None
    ledger.write(stale)
    monkeypatch.setattr(DynamoDbLedger, "read", lambda *_: stale)
    assert "run it again" in stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.FAILURE).stderr


def test_blocking_and_unblocking_change_the_status_and_say_why(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    done = stack.json("block", "dev-0", "dev-9", "--reason", "stolen", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == ["blocked", "not-found"]
    item = stack.items()["dev-0"]
    assert (item["status"]["S"], item["blocked-reason"]["S"]) == ("blocked", "stolen")
    assert stack.json("block", "dev-0", "--reason", "x")["devices"][0]["outcome"] == "already-blocked"
    stack.run("unblock", "dev-0")
    assert "blocked-reason" not in stack.items()["dev-0"]
    assert stack.items()["dev-0"]["status"]["S"] == "allowed"
    stack.run("block", "dev-0", code=ExitCode.USAGE)
    stack.run("unblock", "dev-9", code=ExitCode.NOT_FOUND)


def test_a_device_with_an_active_certificate_is_not_removed_unless_forced(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), (3, 3), batch="one")
    stack.certify(0)
    stack.certify(1, state="superseded")
    stack.certify(2, not_after=time.time() - 60)
    done = stack.json("remove", "dev-0", "dev-1", "dev-2", "dev-9", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == [
        "has-active-certificate",
        "removed",
        "removed",
        "not-found",
    ]
    assert set(stack.items()) == {"dev-0", "dev-3"}
    stack.run("remove", "dev-0", code=ExitCode.REFUSED)
    stack.run("remove", "dev-9", code=ExitCode.NOT_FOUND)
    stack.run("remove", "dev-0", "--force")
    assert set(stack.items()) == {"dev-3"}


@pytest.mark.parametrize("command", [("remove",), ("block", "--reason", "x"), ("unblock",)])
def test_an_impossible_id_among_several_is_found_before_any_device_is_touched(
    command: tuple[str, ...], stack: Stack
) -> None:
    stack.enroll((0, 0), batch="one")
    before = stack.items()
    stack.run(command[0], "dev-0", "bad id", *command[1:], code=ExitCode.USAGE)
    assert stack.items() == before


def test_devices_that_were_removed_are_told_also_where_an_error_ends_it_before_the_last(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    original = RegistryTable.delete_exactly

    def delete(table: RegistryTable, item: Any) -> None:
        if item["device-id"]["S"] == "dev-1":
            raise CliError("no more")
        original(table, item)

    monkeypatch.setattr(RegistryTable, "delete_exactly", delete)
    assert stack.run("remove", "dev-0", "dev-1", code=1).stdout.split() == ["dev-0", "removed"]


def test_of_several_devices_one_that_somebody_else_changes_stops_no_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    original = RegistryTable.update

    def update(table: RegistryTable, item: Any, *arguments: Any) -> None:
        if item["device-id"]["S"] == "dev-0":
            raise ChangedMeanwhile("just now")
        original(table, item, *arguments)

    monkeypatch.setattr(RegistryTable, "update", update)
    done = stack.json("block", "dev-0", "dev-1", "--reason", "x", code=ExitCode.PARTLY_REFUSED)
    assert [one["outcome"] for one in done["devices"]] == ["changed-meanwhile", "blocked"]


def test_without_a_ledger_to_ask_removal_must_be_forced(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.has_ledger = False
    stack.run("remove", "dev-0", code=ExitCode.USAGE)
    stack.run("batch", "revert", "one", code=ExitCode.USAGE)
    assert set(stack.items()) == {"dev-0"}
    assert "certificates" not in stack.json("show", "dev-0")


def test_a_revert_that_is_cut_off_says_how_to_resume(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_commands, "revert_batch", cut_off)
    result = stack.run("batch", "revert", "one", code=ExitCode.FAILURE)
    assert "the same command resumes where it stopped" in result.stderr


def test_an_export_that_is_cut_off_leaves_the_former_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("export", "--output", "e.jsonl")
    former = Path("e.jsonl").read_bytes()

    def cut_off(found: object, stream: TextIO) -> None:
        stream.write("half a line")
        raise KeyboardInterrupt

    monkeypatch.setattr(devices_commands.registry, "export_json_lines", cut_off)
    stack.run("export", "--output", "e.jsonl", code=ExitCode.FAILURE)
    assert Path("e.jsonl").read_bytes() == former
    assert not list(Path().glob("*.partial"))


def test_an_export_that_cannot_be_written_is_told_in_a_line(stack: Stack) -> None:
    result = stack.run("export", "--output", "nowhere/e.jsonl", code=ExitCode.FAILURE)
    assert result.stderr.splitlines()[-1] == "error: nowhere/e.jsonl cannot be written: No such file or directory"


@pytest.mark.parametrize("chosen", ["csv", "jsonl"])
def test_an_export_is_read_again_into_the_same_registry(chosen: str, stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.run("block", "dev-1", "--reason", "stolen, twice")
    before = stack.items()
    options = ("--attribute", "colour") if chosen == "csv" else ()
    assert "2 devices" in stack.run("export", "--format", chosen, "--output", f"e.{chosen}", *options).stderr
    stack.run("remove", "dev-0", "dev-1")
    stack.run("enroll", f"e.{chosen}", "--batch", "again")
    after = stack.items()
    for name in ("pubkey", "key-fingerprint", "status", "attributes"):
        assert {i: item[name] for i, item in after.items()} == {i: item[name] for i, item in before.items()}


def test_an_export_goes_to_stdout_and_takes_a_selection(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    output = stack.run("export", "--format", "csv", "--prefix", "dev-1").stdout
    assert [row["device-id"] for row in csv.DictReader(io.StringIO(output))] == ["dev-1"]


@pytest.mark.parametrize("chosen", ["csv", "jsonl"])
def test_an_export_leaves_out_retired_devices_which_have_no_key(chosen: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    gone = {"device-id": {"S": "gone"}, "status": {"S": "retired"}, "retired-at": {"S": "2026-01-01T00:00:00Z"}}
    stack.client.put_item(TableName="registry", Item=gone)
    exported = stack.run("export", "--format", chosen)
    assert "1 devices" in exported.stderr
    assert "gone" not in exported.stdout


def test_a_csv_says_which_attributes_it_leaves_out(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    assert "attributes colour:" in stack.run("export", "--format", "csv").stderr
    for complete in (("--format", "csv", "--attribute", "colour"), ("--format", "jsonl")):
        assert "attributes" not in stack.run("export", *complete).stderr


def test_the_registry_is_counted(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    legacy = {"device-id": {"S": "old"}, "pubkey": {"S": "rubbish"}}
    stack.client.put_item(TableName="registry", Item=legacy)
    assert stack.json("stats") == {
        "devices": 3,
        "byStatus": {"allowed": 3},
        "bySource": {"csv": 2, "unknown": 1},
        "byBatch": {"one": 2, "none": 1},
        "withoutFingerprint": 1,
        "unreadableKeys": 1,
    }
    assert "unreadable keys" in stack.run("stats").stdout


def names_in(document: object) -> Iterator[str]:
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield name
            # Below these, the names are data: ids of batches, states, an operator's attributes.
            if name not in {"byBatch", "byStatus", "bySource", "attributes"}:
                yield from names_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from names_in(value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "dev-0"),
        ("stats",),
        ("batch", "list"),
        ("batch", "show", "one"),
        ("batch", "revert", "one"),
        ("block", "dev-0", "--reason", "lost"),
    ],
    ids=" ".join,
)
def test_json_names_are_in_camel_case(arguments: tuple[str, ...], stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    names = list(names_in(stack.json(*arguments)))
    assert names
    assert [name for name in names if not re.fullmatch("[a-z][a-zA-Z0-9]*", name)] == []


def test_a_batch_is_undone_and_nothing_else(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), (3, 3), batch="two")
    before = stack.items()
    done = stack.json("batch", "revert", "two")
    assert (done["removed"], done["restored"], done["kept"]) == (2, 0, 0)
    assert stack.items() == {name: before[name] for name in ("dev-0", "dev-1")}
    assert stack.json("batch", "show", "two")["state"] == "reverted"
    assert stack.json("batch", "revert", "two")["removed"] == 0


def test_undoing_a_replacement_brings_the_former_item_back_however_often(stack: Stack) -> None:
    replace = ("--replace", "--reason", "swap")
    stack.enroll((0, 0), batch="one")
    first = stack.items()
    stack.enroll((0, 1), batch="two", options=replace)
    second = stack.items()
    stack.enroll((0, 2), batch="three", options=replace)
    assert stack.json("batch", "revert", "three")["restored"] == 1
    assert stack.items() == second
    assert stack.json("batch", "revert", "two")["restored"] == 1
    assert stack.items() == first


def test_a_row_that_a_later_batch_replaced_is_not_of_the_batch_any_more(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((0, 2), batch="two", options=("--replace", "--reason", "swap"))
    assert stack.json("batch", "revert", "one")["removed"] == 1
    assert set(stack.items()) == {"dev-0"}


def test_what_a_reverted_batch_brought_does_not_come_back_when_a_later_one_is_reverted(stack: Stack) -> None:
    replace = ("--replace", "--reason", "swap")
    stack.enroll((0, 0), batch="zero")
    first = stack.items()
    stack.enroll((0, 1), (1, 3), batch="one", options=replace)
    stack.enroll((0, 2), batch="two", options=replace)
    done = stack.json("batch", "revert", "one")
    assert (done["removed"], done["restored"], done["replacedSince"]) == (1, 0, 1)
    assert "another key from a later batch" in stack.run("batch", "revert", "one").stderr
    assert stack.json("batch", "revert", "two")["restored"] == 1
    assert stack.items() == first


def test_a_device_goes_where_every_batch_that_brought_it_was_reverted(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.enroll((0, 1), batch="two", options=("--replace", "--reason", "swap"))
    stack.run("batch", "revert", "one")
    assert stack.json("batch", "revert", "two")["removed"] == 1
    assert stack.items() == {}


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_former_key_that_is_another_devices_by_now_does_not_come_back(stack: Stack, is_indexed: bool) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((0, 2), (1, 3), batch="two", options=("--replace", "--reason", "swap"))
    stack.enroll((3, 0), batch="three")
    if not is_indexed:
        legacy = {"device-id": {"S": "old"}, "pubkey": {"S": DEVICES[0].public_key.registry_text()}}
        stack.run("remove", "dev-3", "--force")
        stack.client.put_item(TableName="registry", Item=legacy)
        stack.client.delete_item(TableName="registry", Key={"device-id": {"S": "registry#state"}})
    before = stack.items()
    done = stack.json("batch", "revert", "two", code=ExitCode.PARTLY_REFUSED)
    assert (done["restored"], done["formerKeyTaken"]) == (1, 1)
    assert stack.items()["dev-0"] == before["dev-0"]
    assert stack.items()["dev-1"]["batch"] == {"S": "one"}
    assert "former keys" in stack.run("batch", "revert", "two", code=ExitCode.PARTLY_REFUSED).stderr


def test_a_former_item_that_had_no_fingerprint_returns_with_it(stack: Stack) -> None:
    legacy = {"device-id": {"S": "dev-0"}, "pubkey": {"S": DEVICES[0].public_key.registry_text()}}
    stack.client.put_item(TableName="registry", Item=legacy)
    stack.enroll((0, 1), batch="one", options=("--replace", "--reason", "swap"))
    stack.run("batch", "revert", "one")
    assert stack.items()["dev-0"] == {**legacy, "key-fingerprint": {"S": DEVICES[0].public_key.fingerprint}}


def test_a_batch_is_one_line_in_a_pipe(stack: Stack) -> None:
    name = "a-rather-long-name-of-a-batch-that-somebody-chose-for-the-reel-17"[:64]
    stack.enroll((0, 0), batch=name)
    lines = stack.run("batch", "list").stdout.splitlines()
    assert len(lines) == 2
    assert name in lines[1]


def test_a_blocked_device_of_the_batch_goes_as_well(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", "x")
    assert stack.json("batch", "revert", "one")["removed"] == 1


def test_a_device_that_has_a_certificate_stays_when_its_batch_is_undone_unless_forced(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.certify(0)
    done = stack.json("batch", "revert", "one", code=ExitCode.PARTLY_REFUSED)
    assert (done["removed"], done["kept"]) == (1, 1)
    assert set(stack.items()) == {"dev-0"}
    assert "removed" in stack.run("batch", "revert", "one", "--force").stdout
    assert stack.items() == {}


def test_batches_are_shown_to_people(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    assert "one" in stack.run("batch", "list").stdout
    assert "sha256:" in stack.run("batch", "show", "one").stdout
    stack.run("batch", "show", "nine", code=ExitCode.NOT_FOUND)


def without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretfree_cli.devices.blocking.Pace", lambda _rate: Pace(1e9))


def test_a_batch_is_blocked_as_a_whole_and_no_other(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pause(monkeypatch)
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.enroll((2, 2), batch="two")
    assert stack.json("block", "--batch", "one", "--reason", "leaked")["devices"] == {"blocked": 2}
    assert {name: item["status"]["S"] for name, item in stack.items().items() if "blocked-reason" in item} == {
        "dev-0": "blocked",
        "dev-1": "blocked",
    }


def test_an_interrupted_block_of_a_batch_is_resumed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), (1, 1), (2, 2), batch="one")

    class Interrupted:
        def __init__(self, _rate: float) -> None:
            self.waits = 0

        def wait(self) -> None:
            self.waits += 1
            if self.waits > 1:
                raise KeyboardInterrupt

    monkeypatch.setattr("secretfree_cli.devices.blocking.Pace", Interrupted)
    result = CliRunner().invoke(blocking.block, ["--batch", "one", "--reason", "leaked"])
    assert "interrupted after 1 devices" in result.stderr
    without_pause(monkeypatch)
    done = stack.json("block", "--batch", "one", "--reason", "leaked")
    assert done["devices"] == {"already-blocked": 1, "blocked": 2}


def test_a_device_of_the_batch_that_changes_meanwhile_is_named_and_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pause(monkeypatch)
    stack.enroll((0, 0), (1, 1), batch="one")
    change = DynamoDbRegistryStore.set_status

    def raced(self: DynamoDbRegistryStore, device: Any, *arguments: Any, **settings: Any) -> None:
        if device.device_id == "dev-0":
            raise ChangedMeanwhile("dev-0")
        change(self, device, *arguments, **settings)

    monkeypatch.setattr(DynamoDbRegistryStore, "set_status", raced)
    done = stack.json("block", "--batch", "one", "--reason", "x", code=ExitCode.PARTLY_REFUSED)
    assert (done["devices"], done["changedMeanwhile"]) == ({"changed-meanwhile": 1, "blocked": 1}, ["dev-0"])


def test_what_is_blocked_by_batch_is_named_by_nothing_else(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--batch", "one", "--reason", "x", code=ExitCode.USAGE)
    stack.run("block", "--batch", "none", "--reason", "x", code=ExitCode.NOT_FOUND)


def test_a_block_again_writes_the_device_so_that_its_stream_has_a_change(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.enroll((0, 0), batch="one")
    stack.run("block", "dev-0", "--reason", "stolen")
    stack.client.update_item(
        TableName="registry",
        Key={"device-id": {"S": "dev-0"}},
        UpdateExpression="SET #at = :at",
        ExpressionAttributeNames={"#at": "blocked-at"},
        ExpressionAttributeValues={":at": {"S": "2026-01-01T00:00:00Z"}},
    )
    before = stack.items()["dev-0"]
    stack.run("block", "dev-0", "--reason", "stolen")
    assert stack.items()["dev-0"] == before
    stack.run("block", "dev-0", "--reason", "stolen", "--again")
    after = stack.items()["dev-0"]
    assert after["status"] == {"S": "blocked"}
    assert after["blocked-at"] != before["blocked-at"]


@pytest.mark.parametrize(("revoker", "said"), [(None, True), ("the-function", False)])
def test_a_block_says_where_nothing_revokes(stack: Stack, revoker: str | None, said: bool) -> None:
    stack.enroll((0, 0), batch="one")
    stack.revoker = revoker
    assert ("nothing revokes" in stack.run("block", "dev-0", "--reason", "stolen").stderr) is said
