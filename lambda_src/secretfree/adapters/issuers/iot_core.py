"""Issuing through AWS IoT Core's own CA. The kind has no settings."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from secretfree.adapters import single_try_clients
from secretfree.adapters.aws_errors import aws_call
from secretfree.adapters.certificates import device_certificate, key_fingerprint
from secretfree.adapters.iot_core import described
from secretfree.adapters.issuers import IssuerSurroundings
from secretfree.config.issuers import IssuerSettings
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    RequestFailedError,
    SearchTooWideError,
    ThingRegistry,
    UnrecordedSearch,
)

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_PAGE: Final = 250
# Number of inactive certificates whose keys are cached.
_MOST_REMEMBERED: Final = 10_000
# Maximum clock difference to AWS, in seconds.
_CLOCK_SKEW: Final = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class SearchBounds:
    """Limits of one search by the sweeper: pages of the list, and look-ups of certificates' keys."""

    pages: int = 200
    lookups: int = 1_000


def build(settings: IssuerSettings, surroundings: IssuerSurroundings) -> "IotCoreIssuer":
    """The issuer of this kind; raises ConfigurationError."""
    settings.require()
    return IotCoreIssuer(single_try_clients.iot(), surroundings.things)


class IotCoreIssuer:
    """Port `CertificateIssuer`, by Amazon's CA.

    CreateCertificateFromCsr makes another certificate at every call and has no idempotency token. So certificates are
    made INACTIVE, recorded, and only then attached and activated. A certificate whose answer was lost cannot connect.
    The device's next request gets another one. The sweeper finds the lost one by its key, issuer and minute, and
    deletes it.
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

    @property
    def copies_subject(self) -> bool:
        return True

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
        """Never called: a request returns the certificate itself."""
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"IoT Core's CA gives no references, so not {reference!r}", reason=Reason.UNEXPECTED
        )

    def search(self) -> UnrecordedSearch:
        """ListCertificates, newest first, and DescribeCertificate for unknown inactive ones of that time."""
        return _Search(self._client, self._bounds, self._fingerprints)

    def install(self, certificate: DeviceCertificate, *, resumed: bool) -> str:
        """Register nothing.

        Read the state of a resumed certificate: a revoked one stays revoked, a missing one fails.
        """
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


class _Search:
    """Port `UnrecordedSearch`.

    The list is read once, as far back as a search needs: M lost requests and C newer certificates cost M + C / 250
    pages at most. A certificate's key is looked up once in a process (`fingerprints`), so a search that reached its
    bounds gets further the next time.
    """

    def __init__(self, client: "IoTClient", bounds: SearchBounds, fingerprints: dict[str, str]) -> None:
        self._client = client
        self._bounds = bounds
        self._fingerprints = fingerprints
        self._inactive: list[tuple[datetime, str]] = []
        self._listed_since = datetime.max.replace(tzinfo=UTC)
        self._pages = 0
        self._marker: Any = {}

    def find(
        self, fingerprint: str, *, since: datetime, until: datetime, known: Collection[str]
    ) -> Sequence[DeviceCertificate]:
        candidates = [
            certificate_id
            for certificate_id in self._inactive_between(since - _CLOCK_SKEW, until + _CLOCK_SKEW)
            if certificate_id not in known and self._fingerprints.get(certificate_id, fingerprint) == fingerprint
        ]
        looked_up = map(self._look_up, candidates[: self._bounds.lookups])
        found = [lost for lost in looked_up if lost and key_fingerprint(lost.certificate_pem) == fingerprint]
        if not found and len(candidates) > self._bounds.lookups:
            raise SearchTooWideError(f"{len(candidates)} inactive certificates may be the lost one")
        return found

    def _look_up(self, certificate_id: str) -> DeviceCertificate | None:
        """DescribeCertificate. None if it is gone or no longer inactive."""
        found = described(self._client, certificate_id)
        if found is None:
            return None
        pem = found["certificatePem"]
        if len(self._fingerprints) >= _MOST_REMEMBERED:
            self._fingerprints.clear()
        self._fingerprints[certificate_id] = key_fingerprint(pem)
        # A certificate that names a CA is from another issuer. An operator may have deactivated it.
        if found["status"] != CertificateStatus.INACTIVE.value or found.get("caCertificateId"):
            return None
        return device_certificate(pem, certificate_id=certificate_id, certificate_arn=found["certificateArn"])

    def _inactive_between(self, since: datetime, until: datetime) -> list[str]:
        while self._listed_since >= since and self._marker is not None:
            if self._pages >= self._bounds.pages:
                raise SearchTooWideError("too many newer certificates to search for a lost one")
            self._list_further()
        first = bisect_left(self._inactive, since, key=itemgetter(0))
        last = bisect_right(self._inactive, until, key=itemgetter(0))
        return [certificate_id for _, certificate_id in self._inactive[first:last]]

    def _list_further(self) -> None:
        """Read one more page. `SearchBounds.pages` limits the memory."""
        with aws_call():
            page = self._client.list_certificates(pageSize=_PAGE, ascendingOrder=False, **self._marker)
        self._pages += 1
        self._marker = {"marker": page["nextMarker"]} if "nextMarker" in page else None
        self._listed_since = min((entry["creationDate"] for entry in page["certificates"]), default=self._listed_since)
        self._inactive += [
            (entry["creationDate"], entry["certificateId"])
            for entry in page["certificates"]
            if entry["status"] == CertificateStatus.INACTIVE.value
        ]
        self._inactive.sort()
