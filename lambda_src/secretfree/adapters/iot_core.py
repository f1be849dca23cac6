"""IoT Core: the things, what ties them to certificates, and issuing by Amazon's own CA."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.adapters.certificates import device_certificate, key_fingerprint
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    RegisteredCertificate,
    RequestFailedError,
    SearchTooWideError,
    StillAttachedError,
    ThingRegistry,
)
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot.type_defs import CertificateDescriptionTypeDef

_PAGE: Final = 250
# What an inactive certificate's key was looked up to be is remembered for so many of them.
_MOST_REMEMBERED: Final = 10_000
# AWS's clock against ours.
_CLOCK_SKEW: Final = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class SearchBounds:
    """How far a search for a lost certificate goes: pages of the list, and certificates whose key is looked up.

    The defaults fit into a device's request. The sweeper has minutes, and goes through what a brown-out has left.
    """

    pages: int = 8
    lookups: int = 40


SWEEPERS_BOUNDS: Final = SearchBounds(pages=200, lookups=1_000)


class IotCoreThings:
    """Port `ThingRegistry`."""

    def __init__(
        self,
        client: "IoTClient",
        *,
        thing_type: str,
        policy_name: str,
        groups: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._thing_type = thing_type
        self._policy_name = policy_name
        self._groups = tuple(groups)
        self._attributes = dict(attributes or {})

    def ensure_thing(self, device_id: DeviceId) -> None:
        """CreateThing; where the name exists with other settings, it is ours if it is of our thing type."""
        payload: Any = {"attributePayload": {"attributes": self._attributes}} if self._attributes else {}
        with aws_call():
            try:
                self._client.create_thing(thingName=device_id, thingTypeName=self._thing_type, **payload)
            except ClientError as error:
                if error_code(error) != "ResourceAlreadyExistsException":
                    raise
            else:
                return
        self._require_ours(device_id)

    def attachments(self, device_id: DeviceId, certificate_arn: str) -> Sequence[Callable[[], None]]:
        """AttachPolicy, AttachThingPrincipal (exclusive) and, for each group, AddThingToThingGroup."""
        return (
            partial(self._attach_policy, certificate_arn),
            partial(self._attach_thing, device_id, certificate_arn),
            *(partial(self._join, group, device_id) for group in self._groups),
        )

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """DescribeCertificate. Any state but ACTIVE and REVOKED is as good as INACTIVE here: it cannot connect."""
        described = _described(self._client, certificate_id)
        if described is None:
            return None
        status = described["status"]
        known = CertificateStatus(status) if status in set(CertificateStatus) else CertificateStatus.INACTIVE
        return RegisteredCertificate(certificate_arn=described["certificateArn"], status=known)

    def retire(self, device_id: DeviceId, certificate_id: str) -> None:
        """UpdateCertificate (INACTIVE) first, so that the door is closed whatever follows; then detach, then delete."""
        registered = self.describe(certificate_id)
        if registered is None:
            return
        arn = registered.certificate_arn
        if registered.status is CertificateStatus.ACTIVE:
            _ignoring_absence(
                lambda: self._client.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
            )
        _ignoring_absence(lambda: self._client.detach_policy(policyName=self._policy_name, target=arn))
        detached = _ignoring_absence(lambda: self._client.detach_thing_principal(thingName=device_id, principal=arn))
        with aws_call():
            try:
                self._client.delete_certificate(certificateId=certificate_id, forceDelete=True)
            except ClientError as error:
                # Detaching takes effect in a while; where nothing was detached, somebody else has attached something.
                if error_code(error) == "DeleteConflictException" and detached:
                    raise StillAttachedError(certificate_id) from error
                if error_code(error) != "ResourceNotFoundException":
                    raise

    def _require_ours(self, device_id: DeviceId) -> None:
        with aws_call():
            thing = self._client.describe_thing(thingName=device_id)
        if thing.get("thingTypeName") != self._thing_type:
            raise SecretFreeError(
                ErrorCode.CONFLICT,
                f"thing {device_id} exists with thing type {thing.get('thingTypeName')!r}: accepted is "
                f"{self._thing_type!r}; it is not taken over",
                reason=Reason.CONFLICTING_THING,
            )

    def _attach_policy(self, certificate_arn: str) -> None:
        with aws_call():
            self._client.attach_policy(policyName=self._policy_name, target=certificate_arn)

    def _attach_thing(self, device_id: DeviceId, certificate_arn: str) -> None:
        self._with_thing(
            device_id,
            lambda: self._client.attach_thing_principal(
                thingName=device_id, principal=certificate_arn, thingPrincipalType="EXCLUSIVE_THING"
            ),
        )

    def _join(self, group: str, device_id: DeviceId) -> None:
        self._with_thing(
            device_id, lambda: self._client.add_thing_to_thing_group(thingGroupName=group, thingName=device_id)
        )

    def _with_thing(self, device_id: DeviceId, call: Callable[[], object]) -> None:
        """`call`; where something is missing, once more with the thing made: someone may have deleted it since."""
        with aws_call():
            try:
                call()
            except ClientError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise
            else:
                return
        self.ensure_thing(device_id)
        with aws_call():
            call()


class IotCoreIssuer:
    """Port `CertificateIssuer`, by Amazon's CA.

    CreateCertificateFromCsr makes another certificate at every call and takes no token. So certificates are made
    INACTIVE, recorded, and only then attached and activated: one whose answer was lost can connect nowhere. Such a one
    is found again by its key, which no other device has, among the inactive certificates of that minute.
    """

    def __init__(self, client: "IoTClient", things: ThingRegistry, *, bounds: SearchBounds | None = None) -> None:
        self._client = client
        self._things = things
        self._bounds = bounds or SearchBounds()
        self._fingerprints: dict[str, str] = {}

    @property
    def repeatable_for(self) -> timedelta:
        return timedelta()

    @property
    def installs_active(self) -> bool:
        return False

    def request(self, order: CertificateOrder) -> DeviceCertificate:
        """CreateCertificateFromCsr, inactive."""
        with aws_call():
            answer = self._client.create_certificate_from_csr(
                certificateSigningRequest=order.csr.pem(), setAsActive=False
            )
        return device_certificate(
            answer["certificatePem"], certificate_id=answer["certificateId"], certificate_arn=answer["certificateArn"]
        )

    def collect(self, reference: str) -> DeviceCertificate | None:
        """Never asked: a request gives the certificate itself."""
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"IoT Core's CA gives no references, so not {reference!r}", reason=Reason.UNEXPECTED
        )

    def find_unrecorded(
        self, fingerprint: str, *, since: datetime, until: datetime, known: Collection[str]
    ) -> Sequence[DeviceCertificate]:
        """ListCertificates, the newest first, and DescribeCertificate for those inactive, unknown and of that time.

        A certificate's key is looked up once in a process, so that a search given up for its bounds gets further the
        next time.
        """
        inactive = self._inactive_between(since - _CLOCK_SKEW, until + _CLOCK_SKEW)
        candidates = [
            certificate_id
            for certificate_id in inactive
            if certificate_id not in known and self._fingerprints.get(certificate_id, fingerprint) == fingerprint
        ]
        looked_up = map(self._look_up, candidates[: self._bounds.lookups])
        found = [lost for lost in looked_up if lost and key_fingerprint(lost.certificate_pem) == fingerprint]
        if not found and len(candidates) > self._bounds.lookups:
            raise SearchTooWideError(f"{len(candidates)} inactive certificates may be the lost one")
        return found

    def install(self, certificate: DeviceCertificate, *, resumed: bool) -> str:
        """Nothing to register. One taken up again is looked at first: revoked it stays, deleted it is made anew."""
        if certificate.certificate_arn is not None and not resumed:
            return certificate.certificate_arn
        registered = self._things.describe(certificate.certificate_id)
        if registered is None:
            raise RequestFailedError(certificate.certificate_id)
        if registered.status is CertificateStatus.REVOKED:
            raise CertificateRevokedError(certificate.certificate_id)
        return registered.certificate_arn

    def activate(self, certificate_id: str) -> None:
        """UpdateCertificate."""
        with aws_call():
            self._client.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")

    def _look_up(self, certificate_id: str) -> DeviceCertificate | None:
        """DescribeCertificate; None where it is gone, or inactive no more."""
        described = _described(self._client, certificate_id)
        if described is None:
            return None
        pem = described["certificatePem"]
        if len(self._fingerprints) >= _MOST_REMEMBERED:
            self._fingerprints.clear()
        self._fingerprints[certificate_id] = key_fingerprint(pem)
        if described["status"] != CertificateStatus.INACTIVE.value:
            return None
        return device_certificate(pem, certificate_id=certificate_id, certificate_arn=described["certificateArn"])

    def _inactive_between(self, since: datetime, until: datetime) -> list[str]:
        inactive: list[str] = []
        marker: Any = {}
        for _page in range(self._bounds.pages):
            with aws_call():
                page = self._client.list_certificates(pageSize=_PAGE, ascendingOrder=False, **marker)
            created = [entry["creationDate"] for entry in page["certificates"]]
            inactive += [
                entry["certificateId"]
                for entry in page["certificates"]
                if entry["status"] == CertificateStatus.INACTIVE.value and since <= entry["creationDate"] <= until
            ]
            if "nextMarker" not in page or (created and min(created) < since):
                return inactive
            marker = {"marker": page["nextMarker"]}
        raise SearchTooWideError("too many certificates were made since to find one among them")


def _described(client: "IoTClient", certificate_id: str) -> "CertificateDescriptionTypeDef | None":
    """DescribeCertificate; None where it is gone."""
    with aws_call():
        try:
            return client.describe_certificate(certificateId=certificate_id)["certificateDescription"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
    return None


def _ignoring_absence(call: Callable[[], object]) -> bool:
    """What is to go may be gone already; whether it was there."""
    with aws_call():
        try:
            call()
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return False
    return True
