"""Rules on whether the device can connect with its certificate."""

from __future__ import annotations

from collections.abc import Iterator

from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState

from secretfree_cli.diagnose.evidence import Certificate, CertificateStatus, Evidence
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.rules import rule

_HANDED_OUT = frozenset({IssuanceState.ACTIVE, IssuanceState.REVOKED})
_GONE = {
    CertificateStatus.REVOKED: (Cause.CERTIFICATE_REVOKED, "revoked"),
    CertificateStatus.INACTIVE: (Cause.CERTIFICATE_DEACTIVATED, "deactivated"),
    CertificateStatus.OTHER: (Cause.CERTIFICATE_DEACTIVATED, "not active"),
    CertificateStatus.ABSENT: (Cause.CERTIFICATE_DELETED, "deleted"),
}


@rule
def certificate_out_of_use(evidence: Evidence) -> Iterator[Finding]:
    """IoT Core does not accept a certificate that is active in the ledger."""
    for issuance, certificate in _handed_out(evidence):
        if certificate.status not in _GONE:
            continue
        cause, what = _GONE[certificate.status]
        mistaken = (
            "If it was a mistake, activate it again: `aws iot update-certificate --new-status ACTIVE`."
            if certificate.status is CertificateStatus.INACTIVE and issuance.state is IssuanceState.ACTIVE
            else "If it was a mistake, let the device have a new one: `secretfree reissue DEVICE --reason TEXT`."
        )
        yield Finding(
            cause=cause,
            stage=Stage.REGISTRATION,
            rank=Rank.CERTIFICATE,
            summary=(
                f"The certificate of {evidence.device_id} ({certificate.issuer}) was {what} at IoT Core by hand "
                "or by another program."
                if certificate.status is not CertificateStatus.OTHER
                else f"The certificate of {evidence.device_id} ({certificate.issuer}) is not active at IoT Core."
            ),
            action=f"Find who did it in CloudTrail (certificate {certificate.certificate_id}). {mistaken}",
            concern=Concern.OPERATOR,
            since=certificate.changed_at,
        )


@rule
def revoked_in_the_ledger(evidence: Evidence) -> Iterator[Finding]:
    """The ledger refuses this key, because a certificate of it was revoked or deactivated."""
    for issuance in evidence.issuances:
        if issuance.state is IssuanceState.REVOKED and evidence.certificate_of(issuance) is None:
            yield Finding(
                cause=Cause.CERTIFICATE_REVOKED,
                stage=Stage.REGISTRATION,
                rank=Rank.CERTIFICATE,
                summary=f"The certificate of {evidence.device_id} ({issuance.issuer}) was revoked.",
                action="If it was a mistake, let the device have a new one: `secretfree reissue DEVICE --reason TEXT`.",
                concern=Concern.OPERATOR,
            )


@rule
def expired(evidence: Evidence) -> Iterator[Finding]:
    """The certificate has expired, and the device has not renewed it."""
    for _, certificate in _handed_out(evidence):
        over = certificate.not_after is not None and certificate.not_after <= evidence.now
        if over and certificate.status is CertificateStatus.ACTIVE:
            yield Finding(
                cause=Cause.CERTIFICATE_EXPIRED,
                stage=Stage.CONNECTION,
                rank=Rank.CERTIFICATE,
                summary=f"The certificate of {evidence.device_id} ({certificate.issuer}) has expired.",
                action="The device must post again to get a new one. Its firmware should renew before `notAfter`.",
                concern=Concern.FIRMWARE,
                since=certificate.not_after,
            )


@rule
def policy(evidence: Evidence) -> Iterator[Finding]:
    """The certificate cannot connect, because its policy is missing or does not allow it."""
    expected = evidence.policy
    if expected is None:
        return
    for _, certificate in _handed_out(evidence):
        if certificate.status is not CertificateStatus.ACTIVE or certificate.policies is None:
            continue
        if expected.name in certificate.policies:
            continue
        others = ", ".join(certificate.policies)
        yield Finding(
            cause=Cause.POLICY_WRONG if others else Cause.POLICY_DETACHED,
            stage=Stage.REGISTRATION,
            rank=Rank.CERTIFICATE,
            summary=(
                f"The certificate of {evidence.device_id} has the wrong policy: {others} instead of {expected.name}."
                if others
                else f"The policy {expected.name} is detached from the certificate of {evidence.device_id}."
            ),
            action=(
                f"Attach it: `aws iot attach-policy --policy-name {expected.name} --target CERTIFICATE_ARN` "
                f"(certificate {certificate.certificate_id})."
            ),
            concern=Concern.OPERATOR,
        )
    if not expected.exists or not expected.allows_connect:
        yield Finding(
            cause=Cause.POLICY_WRONG,
            stage=Stage.REGISTRATION,
            # Without a certificate, the device fails for another reason.
            rank=Rank.CERTIFICATE if evidence.has_usable_certificate else Rank.REMARK,
            summary=(
                f"The policy {expected.name} does not allow {evidence.device_id} to connect."
                if expected.exists
                else f"The policy {expected.name} of the product line does not exist."
            ),
            action="Restore the policy: deploy the stack again, or set its earlier version as the default.",
            concern=Concern.OPERATOR,
            since=expected.changed_at,
        )


@rule
def thing(evidence: Evidence) -> Iterator[Finding]:
    """The certificate has no thing, or the thing's name belongs to something else."""
    found = evidence.thing
    if found is None or evidence.device_id is None:
        return
    if found.exists and evidence.thing_types and found.type_name not in evidence.thing_types:
        accepted = ", ".join(sorted(evidence.thing_types))
        yield Finding(
            cause=Cause.THING_OF_OTHER_TYPE,
            stage=Stage.REGISTRATION,
            rank=Rank.CERTIFICATE,
            summary=(
                f"The thing {evidence.device_id} has the type {found.type_name or 'none'}, and not {accepted}, "
                "so the service does not touch it (409)."
            ),
            action=(
                f"If the thing is this device's: `secretfree adopt {evidence.device_id}`. "
                "If it belongs to another fleet, change one of the ids."
            ),
            concern=Concern.OPERATOR,
        )
        return
    for _, certificate in _handed_out(evidence):
        if certificate.status is not CertificateStatus.ACTIVE or certificate.things is None:
            continue
        if evidence.device_id in certificate.things:
            continue
        yield Finding(
            cause=Cause.THING_DETACHED if found.exists else Cause.THING_MISSING,
            stage=Stage.REGISTRATION,
            rank=Rank.CERTIFICATE,
            summary=(
                f"The thing {evidence.device_id} is detached from its certificate."
                if found.exists
                else f"The thing {evidence.device_id} does not exist."
            ),
            action=(
                ("" if found.exists else "Create the thing with the product line's type. ")
                + f"Attach it: `aws iot attach-thing-principal --thing-name {evidence.device_id} "
                f"--principal CERTIFICATE_ARN` (certificate {certificate.certificate_id})."
            ),
            concern=Concern.OPERATOR,
        )


@rule
def provisioned(evidence: Evidence) -> Iterator[Finding]:
    """Provisioning is complete. The device must connect."""
    for issuance, certificate in _handed_out(evidence):
        if certificate.status is not CertificateStatus.ACTIVE or not evidence.has_usable_certificate:
            continue
        connected = evidence.thing.connected if evidence.thing is not None else None
        where = {
            True: " and is connected",
            False: ", and is not connected now",
            None: "",
        }[connected]
        until = f" until {certificate.not_after:%Y-%m-%d}" if certificate.not_after else ""
        yield Finding(
            cause=Cause.PROVISIONED,
            stage=Stage.CONNECTION,
            rank=Rank.ABSENT,
            summary=f"{evidence.device} has a valid certificate ({issuance.issuer}){until}{where}.",
            action=(
                "Nothing."
                if connected
                else "If the device does not connect: check its IoT endpoint, its clock, its network and its topics."
            ),
            concern=Concern.NOBODY if connected else Concern.FIRMWARE,
            since=issuance.begun_at,
        )
        return


def _handed_out(evidence: Evidence) -> Iterator[tuple[Issuance, Certificate]]:
    for issuance in evidence.issuances:
        certificate = evidence.certificate_of(issuance)
        if issuance.state in _HANDED_OUT and certificate is not None:
            yield issuance, certificate
