"""Every reason of the runtime in plain words, with the action and the responsible role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from secretfree.errors import Reason

from secretfree_cli.diagnose.finding import Concern, Stage


@dataclass(frozen=True)
class Explanation:
    """`meaning` completes "The request of DEVICE ..."."""

    meaning: str
    action: str
    concern: Concern
    stage: Stage


_CHECK_CSR = "Let the firmware's developers check a request with `secretfree check-csr`; the contract lists the rules."
_AGAIN = "Nothing: the device must post again after `Retry-After`. If it lasts, look at the metrics of the stage."


def _form(meaning: str, action: str = _CHECK_CSR) -> Explanation:
    return Explanation(meaning, action, Concern.FIRMWARE, Stage.REQUEST)


EXPLANATIONS: Mapping[Reason, Explanation] = MappingProxyType(
    {
        Reason.MISSING_HEADER: _form(
            "has no header `device-csr`", "Send the CSR in base64 in the header `device-csr`."
        ),
        Reason.MULTIPLE_HEADERS: _form("has several headers `device-csr`", "Send the header `device-csr` once."),
        Reason.MISSING_BODY: _form(
            "has no body, at the path that takes the CSR as the body", "Send the CSR as the body."
        ),
        Reason.CONTENT_TYPE: _form(
            "has a body of another type than a CSR's",
            "Send `Content-Type: application/pkcs10` or `application/x-pem-file`.",
        ),
        Reason.HEADER_AND_BODY: _form(
            "has a header `device-csr` at the path that takes the CSR as the body",
            "Send the body alone, or send the header to the path without `/csr`.",
        ),
        Reason.NO_SUCH_PATH: _form(
            "uses an unknown label of EST, or re-enrolment where it is not available",
            "See the guide on EST for the paths.",
        ),
        Reason.OVERSIZED: _form("is too large"),
        Reason.NOT_BASE64: _form("has a CSR that is not in canonical base64"),
        Reason.NOT_A_CSR: _form("holds no readable PKCS #10 request"),
        Reason.NOT_DER: _form("holds bytes that are not DER"),
        Reason.CSR_STRUCTURE: _form("has a CSR whose structure is not that of PKCS #10"),
        Reason.CSR_VERSION: _form("has a CSR of another version than 1"),
        Reason.TEXT_BEFORE_PEM: _form("has text before the PEM block"),
        Reason.STRING_TYPE: _form("has a subject in a string type that is not accepted"),
        Reason.SIGNATURE_ENCODING: _form("has a signature that is not encoded as its algorithm demands"),
        Reason.TRAILING_BYTES: _form("has bytes after the CSR"),
        Reason.SUBJECT: _form("has a subject that the device profile does not accept"),
        Reason.DEVICE_ID: _form("has a common name that is not a device id"),
        Reason.REQUESTED_EXTENSION: _form("requests an X.509 extension that is not accepted"),
        Reason.KEY_KIND: _form("has a key of a kind that is not accepted"),
        Reason.WEAK_KEY: Explanation(
            "has a weak key, which others can compute",
            "Replace the device's key: the key generator of this hardware or firmware is broken. Look for siblings.",
            Concern.SECURITY,
            Stage.REQUEST,
        ),
        Reason.SIGNATURE_ALGORITHM: _form("is signed with an algorithm that is not accepted"),
        Reason.BAD_SIGNATURE: Explanation(
            "has a bad signature: the sender does not hold the private key of the CSR",
            "A firmware fault (another key signs, or bytes change on the way), or an attempt to pose as this device.",
            Concern.FIRMWARE,
            Stage.AUTHORIZATION,
        ),
        Reason.UNKNOWN_DEVICE: Explanation(
            "names a device, or a key, that is not enrolled",
            "If the device is genuine, enrol its public key: `secretfree enroll`. Else it is a probe.",
            Concern.FACTORY,
            Stage.AUTHORIZATION,
        ),
        Reason.BLOCKED_DEVICE: Explanation(
            "is refused because the device is blocked, or its certificate was revoked",
            "If the block is wrong: `secretfree unblock DEVICE`. If the certificate was revoked by mistake: "
            "`secretfree reissue DEVICE --reason TEXT`.",
            Concern.OPERATOR,
            Stage.AUTHORIZATION,
        ),
        Reason.NOT_YET_ALLOWED: Explanation(
            "is refused because its `not-before` in the registry is later than now",
            "Wait. If the date is wrong, remove the device with `secretfree remove` and enrol it with another one.",
            Concern.OPERATOR,
            Stage.AUTHORIZATION,
        ),
        Reason.KEY_MISMATCH: Explanation(
            "came with another key than the enrolled one",
            "If the device was repaired or its key was enrolled wrongly, enrol the new key with "
            "`--replace --reason TEXT`. Else this is a clone: find its source address in the API's access log.",
            Concern.SECURITY,
            Stage.AUTHORIZATION,
        ),
        Reason.AMBIGUOUS_KEY: Explanation(
            "came with a key that is enrolled for more than one device",
            "Remove the key from all devices but the one that holds it: `secretfree list`, `secretfree remove`.",
            Concern.FACTORY,
            Stage.AUTHORIZATION,
        ),
        Reason.REGISTRY_RECORD: Explanation(
            "has a registry record that cannot be read",
            "Enrol the device again with its public key: `secretfree enroll ... --replace --reason TEXT`.",
            Concern.FACTORY,
            Stage.AUTHORIZATION,
        ),
        Reason.CLIENT_CERTIFICATE: Explanation(
            "renews by EST with a client certificate that is not a valid one of this device",
            "Let the device enrol again with `simpleenroll`. If it sent no request, find who has its certificate.",
            Concern.FIRMWARE,
            Stage.AUTHORIZATION,
        ),
        Reason.DIGEST_MISMATCH: Explanation(
            "changed between the authorizer and the issuer",
            "This does not happen by itself: look at what stands between the API and the function.",
            Concern.SECURITY,
            Stage.ISSUANCE,
        ),
        Reason.REGISTRY_UNAVAILABLE: Explanation(
            "failed because the registry table could not be read",
            "Check the table's state and throttling, its key, and the authorizer's role.",
            Concern.ACCOUNT,
            Stage.AUTHORIZATION,
        ),
        Reason.LEDGER_UNAVAILABLE: Explanation(
            "failed because the ledger table did not answer",
            "Check the table's state and throttling, its key, and the issuer's role.",
            Concern.ACCOUNT,
            Stage.ISSUANCE,
        ),
        Reason.LEASE_HELD: Explanation(
            "waits because another request of the same device is in progress", _AGAIN, Concern.NOBODY, Stage.ISSUANCE
        ),
        Reason.QUEUED: Explanation("waits for its turn", _AGAIN, Concern.NOBODY, Stage.QUEUE),
        Reason.CERTIFICATE_PENDING: Explanation(
            "waits because the certificate authority has not signed yet", _AGAIN, Concern.NOBODY, Stage.ISSUANCE
        ),
        Reason.DEADLINE: Explanation(
            "ran out of time before the certificate was in place", _AGAIN, Concern.NOBODY, Stage.ISSUANCE
        ),
        Reason.THROTTLED: Explanation(
            "was throttled",
            "Slow the device down to `Retry-After`. If AWS throttles, ask for a higher quota: `secretfree plan`.",
            Concern.FIRMWARE,
            Stage.ISSUANCE,
        ),
        Reason.UPSTREAM_REFUSED: Explanation(
            "failed because AWS refused a call",
            "The log's `detail` names the call and AWS's error: check the role, the policy, the CA and the quotas.",
            Concern.OPERATOR,
            Stage.ISSUANCE,
        ),
        Reason.UPSTREAM_UNAVAILABLE: Explanation(
            "waits because AWS did not answer a call",
            "Look at AWS Health for IoT Core, Private CA and DynamoDB in this Region. The device must post again.",
            Concern.ACCOUNT,
            Stage.ISSUANCE,
        ),
        Reason.CONFLICTING_THING: Explanation(
            "has the name of a thing that belongs to something else",
            "If the thing is this device's, adopt it (`secretfree adopt`). If not, give one of them another id.",
            Concern.OPERATOR,
            Stage.REGISTRATION,
        ),
        Reason.FOREIGN_CERTIFICATE: Explanation(
            "has a certificate to delete that has another policy",
            "Find the product line that uses the certificate, and detach one of the policies.",
            Concern.OPERATOR,
            Stage.REGISTRATION,
        ),
        Reason.CERTIFICATE_MISSING: Explanation(
            "requested a renewal, but IoT Core no longer has its certificate",
            "If it was deleted by mistake, let the device have a new one: `secretfree reissue DEVICE --reason TEXT`.",
            Concern.OPERATOR,
            Stage.REGISTRATION,
        ),
        Reason.LEDGER_RECORD: Explanation(
            "has a ledger record that cannot be read",
            "Repair the item that the log's `detail` names, or restore it from a backup.",
            Concern.OPERATOR,
            Stage.ISSUANCE,
        ),
        Reason.CONFIGURATION: Explanation(
            "failed because the deployment's configuration is wrong",
            "The log's `detail` names the fault. Correct it and deploy again.",
            Concern.OPERATOR,
            Stage.ISSUANCE,
        ),
        Reason.UNEXPECTED: Explanation(
            "failed for a reason that the service does not know",
            "Report it with the log line: this is a defect of the product.",
            Concern.OPERATOR,
            Stage.ISSUANCE,
        ),
    }
)


def explanation_of(reason: Reason) -> Explanation:
    """Return the explanation; a general one for a reason that is not in this table."""
    general = Explanation(
        f"ended with the reason {reason.value}", "Read the log line.", Concern.OPERATOR, Stage.REQUEST
    )
    return EXPLANATIONS.get(reason, general)
