"""How a Private CA publishes revocations to relying parties."""

from dataclasses import dataclass, field
from typing import Final

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_acmpca as acmpca
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_iot_secretfree.acknowledgments import BUCKET, acknowledge
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import is_retained, require_match, require_whole_days


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class RevocationList:
    """A certificate revocation list (CRL), which Private CA writes into a bucket.

    The bucket that is made here blocks public access, so no client can fetch the list from the address in the
    certificates. To publish the list, put CloudFront in front of the bucket and set `custom_cname` to its host name.

    Args:
        bucket: yours; made (private, encrypted) when absent. An imported bucket needs a policy of yours that lets
            Private CA write it.
        expiration: validity of each list, 1 to 5,000 days.
        custom_cname: host name that certificates give as the list's address, instead of the bucket's own.
    """

    bucket: s3.IBucket | None = None
    expiration: Duration = field(default_factory=lambda: Duration.days(7))
    custom_cname: str | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid host name. Private CA expects the name without `https://`."""
        if self.custom_cname is not None:
            require_match("custom_cname", self.custom_cname, _HOST_NAME, "a host name, as in 'crl.example.com'")


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class Revocation:
    """How revocations are published to relying parties. AWS IoT Core itself checks the certificate's state.

    Args:
        crl: keep a revocation list.
        ocsp: answer OCSP requests (charged for each certificate).
    """

    crl: RevocationList | None = None
    ocsp: bool = False


def crl_bucket(authority: Construct, crl: RevocationList, removal_policy: RemovalPolicy) -> s3.IBucket:
    bucket = crl.bucket or s3.Bucket(
        authority,
        "RevocationLists",
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        # Private CA tests the bucket by writing an object, and CloudFormation cannot delete a bucket with objects.
        removal_policy=RemovalPolicy.RETAIN if is_retained(removal_policy) else removal_policy,
    )
    if crl.bucket is None:
        not_yours = "Revocation lists are public by nature. RevocationList(bucket=...) takes a bucket with your key."
        acknowledge(bucket, {**BUCKET, "S3DefaultEncryptionKMS": not_yours})
    service = iam.ServicePrincipal("acm-pca.amazonaws.com")
    # The statement that Private CA requires. The account id excludes the CAs of other accounts.
    added = [
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[service],
                actions=actions,
                resources=[resource],
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(authority).account}},
            )
        ).statement_added
        for actions, resource in (
            (["s3:GetBucketAcl", "s3:GetBucketLocation"], bucket.bucket_arn),
            (["s3:PutObject", "s3:PutObjectAcl"], bucket.arn_for_objects("*")),
        )
    ]
    if not all(added):
        Annotations.of(authority).add_warning_v2(
            "cdk-iot-secretfree:crlBucketPolicy",
            "The CRL's bucket is imported, so its policy is not changed here. Let acm-pca.amazonaws.com have "
            "s3:GetBucketAcl, s3:GetBucketLocation, s3:PutObject and s3:PutObjectAcl, or the CA cannot be made.",
        )
    return bucket


def revocation_configuration(
    revocation: Revocation, bucket: s3.IBucket | None
) -> acmpca.CfnCertificateAuthority.RevocationConfigurationProperty | None:
    if revocation.crl is None and not revocation.ocsp:
        return None
    kind = acmpca.CfnCertificateAuthority
    crl = revocation.crl
    return kind.RevocationConfigurationProperty(
        crl_configuration=None
        if crl is None or bucket is None
        else kind.CrlConfigurationProperty(
            enabled=True,
            expiration_in_days=require_whole_days("expiration", crl.expiration, 1, 5_000),
            s3_bucket_name=bucket.bucket_name,
            custom_cname=crl.custom_cname,
            s3_object_acl="BUCKET_OWNER_FULL_CONTROL",
        ),
        ocsp_configuration=kind.OcspConfigurationProperty(enabled=True) if revocation.ocsp else None,
    )


_HOST_NAME: Final = r"(?=.{1,253}$)([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}"
