"""The subject of issued certificates: the registry's device id and the configured organisation, nothing of the CSR."""

from secretfree.config.issuers import SubjectConfig
from secretfree.request.device_id import DeviceId


def passthrough_subject(device_id: DeviceId, policy: SubjectConfig) -> dict[str, str]:
    """`ApiPassthrough.Subject` of IssueCertificate (acm-pca, ASN1Subject); missing parts of the policy are left out."""
    parts = {
        "Country": policy.country,
        "Organization": policy.organization,
        "OrganizationalUnit": policy.organizational_unit,
        "CommonName": str(device_id),
    }
    return {name: value for name, value in parts.items() if value}
