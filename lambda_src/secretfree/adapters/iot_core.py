"""IoT Core: the things, and their links to certificates."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateStatus,
    RegisteredCertificate,
    StillAttachedError,
)
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot.type_defs import CertificateDescriptionTypeDef


class IotCoreCertificates:
    """Reads certificates from IoT Core."""

    def __init__(self, client: "IoTClient") -> None:
        self._client = client

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """DescribeCertificate. States other than ACTIVE and REVOKED count as INACTIVE: they prevent a connection.

        A certificate that awaits provisioning counts as not registered: it was never in use, so nothing was taken out
        of use.
        """
        found = described(self._client, certificate_id)
        if found is None or found["status"] == "PENDING_ACTIVATION":
            return None
        status = found["status"]
        known = CertificateStatus(status) if status in set(CertificateStatus) else CertificateStatus.INACTIVE
        return RegisteredCertificate(certificate_arn=found["certificateArn"], status=known)


class IotCoreThings(IotCoreCertificates):
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
        super().__init__(client)
        self._thing_type = thing_type
        self._policy_name = policy_name
        self._groups = tuple(groups)
        self._attributes = dict(attributes or {})

    def ensure_thing(self, device_id: DeviceId) -> None:
        """CreateThing. An existing thing with other settings is accepted if it has the product line's thing type."""
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

    def retire(self, device_id: DeviceId, certificate_id: str) -> None:
        """UpdateCertificate (INACTIVE) first, so that it cannot connect if a later call fails.

        Then detach and delete.
        """
        registered = self.describe(certificate_id)
        if registered is None:
            return
        arn = registered.certificate_arn
        self._require_no_other_policy(certificate_id, arn)
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
                # Detaching takes effect after a while. If this call detached nothing, something else is attached.
                if error_code(error) == "DeleteConflictException" and detached:
                    raise StillAttachedError(certificate_id) from error
                if error_code(error) != "ResourceNotFoundException":
                    raise

    def revoke(self, certificate_id: str) -> bool:
        """UpdateCertificate (REVOKED). IoT Core ends the certificate's connections within minutes."""
        return revoked(self._client, certificate_id)

    def remove_thing(self, device_id: DeviceId) -> None:
        """DeleteThing; a missing thing is success.

        SecretFreeError (`conflict`) for a thing of another type. Raises StillAttachedError while a certificate is
        attached, or still being detached.
        """
        with aws_call():
            try:
                thing = self._client.describe_thing(thingName=device_id)
            except ClientError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise
                return
        self._require_our_type(device_id, thing.get("thingTypeName"))
        with aws_call():
            try:
                self._client.delete_thing(thingName=device_id)
            except ClientError as error:
                if error_code(error) != "InvalidRequestException":
                    raise
                raise StillAttachedError(device_id) from error

    def discard(self, certificate_id: str) -> bool:
        """DeleteCertificate without force: IoT Core refuses a certificate that is active or attached."""
        with aws_call():
            try:
                self._client.delete_certificate(certificateId=certificate_id, forceDelete=False)
            except ClientError as error:
                if error_code(error) in {"CertificateStateException", "DeleteConflictException"}:
                    return False
                if error_code(error) != "ResourceNotFoundException":
                    raise
        return True

    def _require_no_other_policy(self, certificate_id: str, certificate_arn: str) -> None:
        """ListAttachedPolicies. Another product line may use a certificate that has a foreign policy."""
        with aws_call():
            attached = self._client.list_attached_policies(target=certificate_arn)["policies"]
        others = sorted({policy["policyName"] for policy in attached} - {self._policy_name})
        if others:
            raise SecretFreeError(
                ErrorCode.CONFLICT,
                f"certificate {certificate_id} has another policy, {others[0]!r}: it stays unchanged",
                reason=Reason.FOREIGN_CERTIFICATE,
            )

    def _require_ours(self, device_id: DeviceId) -> None:
        with aws_call():
            thing = self._client.describe_thing(thingName=device_id)
        self._require_our_type(device_id, thing.get("thingTypeName"))

    def _require_our_type(self, device_id: DeviceId, thing_type: str | None) -> None:
        if thing_type != self._thing_type:
            raise SecretFreeError(
                ErrorCode.CONFLICT,
                f"thing {device_id} exists with thing type {thing_type!r}; accepted: "
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
        """Run `call`. If something is missing, the thing may have been deleted: create it again and repeat the call."""
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


class IotCertificates:
    """Port `Certificates` of revocation."""

    def __init__(self, client: "IoTClient") -> None:
        self._client = client

    def revoke(self, certificate_id: str) -> bool:
        """UpdateCertificate (REVOKED). IoT Core ends the certificate's connections within minutes."""
        return revoked(self._client, certificate_id)


def described(client: "IoTClient", certificate_id: str) -> "CertificateDescriptionTypeDef | None":
    """DescribeCertificate; None where it is gone."""
    with aws_call():
        try:
            return client.describe_certificate(certificateId=certificate_id)["certificateDescription"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
    return None


def revoked(client: "IoTClient", certificate_id: str) -> bool:
    """UpdateCertificate (REVOKED); False if the certificate does not exist."""
    return _ignoring_absence(lambda: client.update_certificate(certificateId=certificate_id, newStatus="REVOKED"))


def _ignoring_absence(call: Callable[[], object]) -> bool:
    """Remove something that may already be absent. Returns whether it was there."""
    with aws_call():
        try:
            call()
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return False
    return True
