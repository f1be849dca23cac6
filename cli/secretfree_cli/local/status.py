"""The status for other tools: the addresses of a running local cloud, and each product line deployed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secretfree.contract import Output

from secretfree_cli.local.clients import local_client
from secretfree_cli.local.state import CloudRecord
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.product_line import products_of
from secretfree_cli.target import Target, local_target


@dataclass(frozen=True)
class ProvisioningStatus:
    """One product line of one stack."""

    product: str | None
    """None for a stack that has no output `Product`."""
    stack_name: str
    url: str
    """Base of the provisioning API, resolvable from this host."""
    tls_url: str
    """The same base over TLS. The server's certificate chains to the cloud's `tls_ca`."""
    est_reenroll_url: str | None
    """Base of the domain with mutual TLS, for EST's re-enrolment, if the product line has one."""
    registry_table: str
    ledger_table: str | None
    authority_arn: str | None
    ca_certificate: str
    """Path of the PEM of the CA that signs the line's devices."""

    @classmethod
    def of(cls, target: Target) -> ProvisioningStatus:
        """Return the product line of a target in the local cloud."""
        return cls(
            product=target.product,
            stack_name=target.stack_name or "",
            url=target.require_url(),
            tls_url=target.device_url()[0],
            est_reenroll_url=target.est_reenroll_url,
            registry_table=target.registry_table,
            ledger_table=target.ledger_table,
            authority_arn=target.authority_arn,
            ca_certificate=str(target.ca_certificate),
        )

    def document(self) -> dict[str, object]:
        """Return the product line with the names of `local status --json`."""
        return {
            "product": self.product,
            "stackName": self.stack_name,
            "url": self.url,
            "tlsUrl": self.tls_url,
            "estReenrollUrl": self.est_reenroll_url,
            "registryTable": self.registry_table,
            "ledgerTable": self.ledger_table,
            "authorityArn": self.authority_arn,
            "caCertificate": self.ca_certificate,
        }


@dataclass(frozen=True)
class Status:
    """A running local cloud. The default product line of commands is first."""

    record: CloudRecord
    product_lines: tuple[ProvisioningStatus, ...]

    @property
    def first_line(self) -> ProvisioningStatus | None:
        """The first product line, or None if none is deployed."""
        return next(iter(self.product_lines), None)

    def cloud_document(self) -> dict[str, object]:
        """Return the fields that all product lines share, with the names of `local status --json`."""
        return {
            "tlsCa": self.record.tls_ca,
            "endpointUrl": self.record.endpoint_url,
            "region": self.record.region,
            "accessKeyId": self.record.access_key_id,
            "secretAccessKey": self.record.secret_access_key,
            "mqttHost": self.record.mqtt_host,
            "mqttPort": self.record.mqtt_port,
            "brokerCa": self.record.broker_ca,
            "privateCaEndpointUrl": self.record.private_ca_endpoint_url,
        }

    def document(self) -> dict[str, object]:
        """Return the document of `local status --json`. Other tools read it by these names."""
        first = self.first_line
        own: dict[str, object] = {
            "url": None,
            "tlsUrl": None,
            "estReenrollUrl": None,
            "stackName": None,
            "registryTable": None,
            "ledgerTable": None,
            "caCertificate": self.record.ca_certificate,
            "authorityArn": self.record.authority_arn,
        }
        if first is not None:
            own = {name: value for name, value in first.document().items() if name in own}
        return {**own, **self.cloud_document(), "productLines": [line.document() for line in self.product_lines]}


def status_of(record: CloudRecord, *, stack: str | None = None) -> Status:
    """Return the state of a running local cloud, with the product lines of one stack or of all.

    Raises: CliError with exit code 4 if there is no such stack.
    """
    stacks = _outputs_by_stack(record)
    if stack is not None and stack not in stacks:
        raise CliError(
            f"there is no stack {stack!r} in the local cloud (it has: {', '.join(sorted(stacks)) or 'none'})",
            hint="`secretfree local deploy` deploys an app",
            exit_code=ExitCode.NOT_FOUND,
        )
    first = stack or record.stack_name
    names = [stack] if stack else sorted(stacks, key=lambda name: (name != first, name))
    lines = [
        ProvisioningStatus.of(local_target(record, stack=name, product=product))
        for name in names
        if Output.PROVISIONING_URL in stacks[name]
        for product in _products(stacks[name])
    ]
    return Status(record, tuple(lines))


def _products(outputs: Mapping[str, str]) -> Sequence[str | None]:
    return products_of(outputs) or [None]


def _outputs_by_stack(record: CloudRecord) -> Mapping[str, Mapping[str, str]]:
    pages = local_client(record, "cloudformation").get_paginator("describe_stacks").paginate()
    return {
        stack["StackName"]: {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        for page in pages
        for stack in page["Stacks"]
    }
