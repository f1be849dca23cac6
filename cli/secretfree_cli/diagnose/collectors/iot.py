"""The present state at IoT Core: certificates, their policies and things, the thing, the product line's policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from secretfree.issuance.record import Issuance

from secretfree_cli.diagnose.collectors.reading import Reading, is_absent, moment
from secretfree_cli.diagnose.collectors.stack import Stack
from secretfree_cli.diagnose.evidence import Certificate, CertificateStatus, DevicePolicyState, Thing
from secretfree_cli.diagnose.policy_document import allows_connect
from secretfree_cli.target import Target


@dataclass(frozen=True)
class Registered:
    """The answer of IoT Core."""

    certificates: Sequence[Certificate]
    thing: Thing | None
    policy: DevicePolicyState | None


def read(
    target: Target,
    stack: Stack,
    reading: Reading,
    *,
    device_id: str | None,
    issuances: Sequence[Issuance],
    known: Mapping[str, str],
) -> Registered:
    """Read the current certificate of each issuer, the thing and the policy. Superseded certificates are left out."""
    if device_id is None:
        return Registered((), None, None)
    client = target.client("iot")
    current = [issuance.certificate_id for issuance in issuances if issuance.certificate_id in known]
    certificates = [
        found
        for certificate_id in current
        if certificate_id is not None
        and (found := _certificate(client, reading, certificate_id, known[certificate_id])) is not None
    ]
    return Registered(
        certificates,
        _thing(client, reading, device_id),
        _policy(client, reading, stack.policy_name, device_id),
    )


def _certificate(client: Any, reading: Reading, certificate_id: str, issuer: str) -> Certificate | None:
    described = reading.attempt(
        "certificates at IoT Core",
        lambda: _or_nothing(lambda: client.describe_certificate(certificateId=certificate_id)),
    )
    if described is None:
        return None
    if not described:
        return Certificate(certificate_id=certificate_id, issuer=issuer, status=CertificateStatus.ABSENT)
    certificate = described["certificateDescription"]
    arn, status = certificate["certificateArn"], certificate["status"]
    return Certificate(
        certificate_id=certificate_id,
        issuer=issuer,
        status=CertificateStatus(status) if status in set(CertificateStatus) else CertificateStatus.OTHER,
        changed_at=moment(certificate.get("lastModifiedDate")),
        not_after=moment(certificate.get("validity", {}).get("notAfter")),
        policies=reading.attempt("policies of the certificate", lambda: _policies(client, arn)),
        things=reading.attempt("things of the certificate", lambda: _things(client, arn)),
    )


def _policies(client: Any, arn: str) -> Sequence[str]:
    pages = client.get_paginator("list_attached_policies").paginate(target=arn)
    return [policy["policyName"] for page in pages for policy in page["policies"]]


def _things(client: Any, arn: str) -> Sequence[str]:
    pages = client.get_paginator("list_principal_things").paginate(principal=arn)
    return [name for page in pages for name in page["things"]]


def _thing(client: Any, reading: Reading, device_id: str) -> Thing | None:
    thing = reading.attempt("the thing", lambda: _or_nothing(lambda: client.describe_thing(thingName=device_id)))
    if thing is None:
        return None
    if not thing:
        return Thing(exists=False)
    connected, since = _connectivity(client, device_id)
    return Thing(exists=True, type_name=thing.get("thingTypeName"), connected=connected, connectivity_changed_at=since)


def _connectivity(client: Any, device_id: str) -> tuple[bool | None, datetime | None]:
    """Whether the device is connected; None in accounts that do not index connectivity, which is not a gap."""
    try:
        things = client.search_index(queryString=f'thingName:"{device_id}"').get("things", [])
    except ClientError:
        return None, None
    for thing in things:
        state = thing.get("connectivity")
        if thing.get("thingName") == device_id and state is not None and "connected" in state:
            stamp = state.get("timestamp")
            return bool(state["connected"]), None if stamp is None else datetime.fromtimestamp(stamp / 1000, UTC)
    return None, None


def _policy(client: Any, reading: Reading, name: str | None, device_id: str) -> DevicePolicyState | None:
    if name is None:
        return None
    policy = reading.attempt("the device policy", lambda: _or_nothing(lambda: client.get_policy(policyName=name)))
    if policy is None:
        return None
    if not policy:
        return DevicePolicyState(name=name, exists=False, allows_connect=False)
    return DevicePolicyState(
        name=name,
        exists=True,
        allows_connect=allows_connect(policy["policyDocument"], device_id),
        changed_at=moment(policy.get("lastModifiedDate")),
    )


def _or_nothing(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the answer, or an empty one if the resource does not exist."""
    try:
        return read()
    except ClientError as error:
        if not is_absent(error):
            raise
        return {}
