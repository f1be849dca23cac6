"""The settings of EST, the standard protocol of enrolment over TLS (RFC 7030)."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_s3 as s3
from secretfree.contract import ISSUER_NAME_FORM

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import HOST_NAME, HOST_NAME_FORM, require_match


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class MutualTlsDomain:
    """A domain name of API Gateway where clients present a certificate (mutual TLS).

    API Gateway refuses clients without a certificate that leads to the truststore. Point the name at
    `SecretFreeProvisioning.reenroll_domain` with an alias record.

    Args:
        name: as in `renew.example.com`; part of the devices' URL, so no wildcard. It must differ from `ApiDomain.name`.
        certificate: for that name, in the stack's Region.
        truststore_bucket: the bucket with the truststore, in the stack's Region.
        truststore_key: the truststore's key there: the CA certificates in PEM, one after another.
        truststore_version: its version, for a bucket with versions. API Gateway reads the truststore at a deployment
            that changes key or version.
        ownership_certificate: a public certificate of ACM for the name, where `certificate` was imported or comes from
            AWS Private CA.
    """

    name: str
    certificate: acm.ICertificate
    truststore_bucket: s3.IBucket
    truststore_key: str
    truststore_version: str | None = None
    ownership_certificate: acm.ICertificate | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid host name or object key."""
        require_match("name", self.name, HOST_NAME, HOST_NAME_FORM, known=True)
        require_match("truststore_key", self.truststore_key, _KEY, "1 to 1,024 characters of an object's key")
        if self.truststore_version is not None:
            require_match("truststore_version", self.truststore_version, r"\S{1,1024}", "an object's version")


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class EstOptions:
    """Enrolment by EST, at `{url}/.well-known/est`.

    `cacerts`, `simpleenroll` and `csrattrs` need no client certificate. `simplereenroll` needs one, and exists only at
    the domain `reenroll`.

    Args:
        default_issuer: the name of the issuer that answers a path without a label; the first one when absent. In
            `/.well-known/est/LABEL/simpleenroll`, the label is the issuer's path.
        reenroll: the domain of `simplereenroll`, with mutual TLS.
    """

    default_issuer: str | None = None
    reenroll: MutualTlsDomain | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid issuer's name."""
        if self.default_issuer is not None:
            form = "1 to 32 of a-z 0-9 -, a letter first, as in 'private-ca'"
            require_match("default_issuer", self.default_issuer, ISSUER_NAME_FORM, form, known=True)


_KEY: Final = r"[^\x00-\x1f]{1,1024}"
