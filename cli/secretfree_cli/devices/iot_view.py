"""Reads a device's thing, certificates and policies from IoT Core. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from secretfree_cli.target import Target

ACTIVE: Final = "ACTIVE"


@dataclass(frozen=True)
class IotThing:
    """The thing that has the name of a device."""

    thing_type: str | None
    certificate_ids: Sequence[str]
    """The attached certificates."""


@dataclass(frozen=True)
class IotCertificate:
    """A certificate as IoT Core has it."""

    certificate_id: str
    status: str
    """`ACTIVE`, `INACTIVE`, `REVOKED` and so on (DescribeCertificate)."""
    policies: Sequence[str]
    things: Sequence[str]


class IotView:
    """IoT Core of a target."""

    def __init__(self, target: Target) -> None:
        self._client: Any = target.client("iot")

    def thing(self, device_id: str) -> IotThing | None:
        """Return the device's thing (DescribeThing, ListThingPrincipals), or None if there is none."""
        described = unless_missing(lambda: self._client.describe_thing(thingName=device_id))
        if described is None:
            return None
        found = self._pages(self._client.list_thing_principals, "principals", thingName=device_id)
        return IotThing(described.get("thingTypeName"), [arn.rpartition("/")[2] for arn in found if ":cert/" in arn])

    def certificate(self, certificate_id: str) -> IotCertificate | None:
        """Return a certificate (DescribeCertificate, ListAttachedPolicies, ListPrincipalThings), or None."""
        described = unless_missing(lambda: self._client.describe_certificate(certificateId=certificate_id))
        if described is None:
            return None
        description = described["certificateDescription"]
        arn = description["certificateArn"]
        policies = self._pages(self._client.list_attached_policies, "policies", target=arn)
        things = self._pages(self._client.list_principal_things, "things", principal=arn)
        return IotCertificate(
            certificate_id, description["status"], [policy["policyName"] for policy in policies], list(things)
        )

    def active_certificates(self, device_id: str) -> Sequence[str]:
        """Return the ids of certificates that are active and attached to the device's thing."""
        thing = self.thing(device_id)
        attached = () if thing is None else thing.certificate_ids
        found = (self.certificate(certificate_id) for certificate_id in attached)
        return [one.certificate_id for one in found if one is not None and one.status == ACTIVE]

    @staticmethod
    def _pages(call: Callable[..., Any], member: str, **arguments: str) -> Iterator[Any]:
        marker: dict[str, str] = {}
        while True:
            page = unless_missing(lambda: call(**arguments, **marker))  # noqa: B023 - called at once
            if page is None:
                return
            yield from page[member]
            # Two names for one thing: ListAttachedPolicies pages by marker, the others by nextToken.
            following = {"marker": page.get("nextMarker"), "nextToken": page.get("nextToken")}
            marker = {name: value for name, value in following.items() if value}
            if not marker:
                return


def unless_missing(call: Callable[[], Any]) -> Any:
    """Return the answer of a call of IoT Core, or None if the resource does not exist."""
    try:
        return call()
    except ClientError as error:
        if error.response["Error"].get("Code") != "ResourceNotFoundException":
            raise
    return None
