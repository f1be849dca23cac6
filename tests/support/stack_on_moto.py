"""A registry and a ledger on moto, and the commands that look after the devices in them."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from secretfree_cli.devices import blocking
from secretfree_cli.devices import commands as devices_commands
from secretfree_cli.devices.adopt import adopt
from secretfree_cli.devices.reissue import reissue
from secretfree_cli.importing import batch_commands, commands
from secretfree_cli.importing.prepare import import_table_request
from secretfree_cli.manifests.generate import sample_devices
from secretfree_cli.target import Target
from support.tables import LEDGER_TABLE

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


def make_tables() -> Any:
    """Make the registry, as `secretfree enroll` does, and the ledger; return a client of DynamoDB."""
    client = boto3.client("dynamodb")
    client.create_table(**import_table_request("registry", "", "")["TableCreationParameters"])
    client.create_table(**LEDGER_TABLE)
    return client


def target_on_moto(**fields: Any) -> Target:
    """The stack's target, apart from the given fields."""
    return replace(
        Target(
            session=boto3.Session(),
            endpoint_url=None,
            region="eu-central-1",
            stack_name="SecretFree",
            registry_table="registry",
            ledger_table=LEDGER_TABLE["TableName"],
            policy_name="devices",
        ),
        **fields,
    )


class Stack:
    """A registry and a ledger as one stack has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = make_tables()
        self._patch = monkeypatch
        self.has_ledger = True
        self.revoker: str | None = "the-function"
        monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: self.target())

    def target(self) -> Target:
        ledger_table = LEDGER_TABLE["TableName"] if self.has_ledger else None
        return target_on_moto(ledger_table=ledger_table, revoker=self.revoker)

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
