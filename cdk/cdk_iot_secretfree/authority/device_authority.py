"""The certificate authority that signs devices: an AWS Private CA, made here or brought along."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Final

import jsii
from aws_cdk import Annotations, CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_acmpca as acmpca
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct
from secretfree.contract import IotRegistration

from cdk_iot_secretfree.functions import IotAccount
from cdk_iot_secretfree.options import FunctionOptions, KeyAlgorithm, UsageMode
from cdk_iot_secretfree.validation import (
    is_retained,
    is_token,
    refuse,
    require_instance,
    require_match,
    require_range,
    require_removal_policy,
    require_whole_days,
)


@dataclass(frozen=True, kw_only=True)
class AuthoritySubject:
    """The distinguished name of a certificate authority.

    Args:
        common_name: 1 to 64 characters, as in `Widget device CA`.
        organization: up to 64 characters.
        organizational_unit: up to 64 characters.
        country: two capital letters (ISO 3166-1 alpha-2).
        state: up to 128 characters.
        locality: up to 128 characters.
    """

    common_name: str
    organization: str | None = None
    organizational_unit: str | None = None
    country: str | None = None
    state: str | None = None
    locality: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Private CA would refuse at deploy time (RFC 5280, upper bounds)."""
        for argument, longest in _SUBJECT_LENGTHS.items():
            if (value := getattr(self, argument)) is not None:
                form = f"1 to {longest} printable characters"
                require_match(argument, value, f"[^\\x00-\\x1f\\x7f]{{1,{longest}}}", form)
        if self.country is not None:
            require_match("country", self.country, "[A-Z]{2}", "two capital letters, as in 'DE'")

    def render(self) -> acmpca.CfnCertificateAuthority.SubjectProperty:
        """The subject as CloudFormation has it."""
        return acmpca.CfnCertificateAuthority.SubjectProperty(
            common_name=self.common_name,
            organization=self.organization,
            organizational_unit=self.organizational_unit,
            country=self.country,
            state=self.state,
            locality=self.locality,
        )


@dataclass(frozen=True, kw_only=True)
class RevocationList:
    """A certificate revocation list (CRL), which Private CA writes into a bucket.

    The bucket that is made here blocks public access: no client can fetch the list from the address in the certificates
    unless you publish the bucket, as through CloudFront, and name the publisher by `custom_cname`.

    Args:
        bucket: yours; made (private, encrypted) when absent. One that is imported needs a policy of your own by which
            Private CA may write it.
        expiration: how long each list holds, 1 to 5,000 days.
        custom_cname: host name that certificates give as the list's address, instead of the bucket's own.
    """

    bucket: s3.IBucket | None = None
    expiration: Duration = field(default_factory=lambda: Duration.days(7))
    custom_cname: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no host name: Private CA wants it without `https://`."""
        if self.custom_cname is not None:
            require_match("custom_cname", self.custom_cname, _HOST_NAME, "a host name, as in 'crl.example.com'")


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """How others learn that a certificate was revoked. AWS IoT Core itself checks the certificate's own state.

    Args:
        crl: keep a revocation list.
        ocsp: answer OCSP requests (charged for each certificate).
    """

    crl: RevocationList | None = None
    ocsp: bool = False


class DeviceAuthority(Construct, metaclass=jsii.JSIIAbstractClass):
    """A Private CA that signs devices, and its registration with AWS IoT Core in the stack's Region.

    Made by `root`, `subordinate_of`, `pending_offline_parent` or `from_arn`.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        key_algorithm: KeyAlgorithm,
        usage_mode: UsageMode,
        registration: IotRegistration,
        functions: FunctionOptions,
    ) -> None:
        super().__init__(scope, id)
        require_instance(
            "key_algorithm", key_algorithm, KeyAlgorithm, ", ".join(f"KeyAlgorithm.{k.name}" for k in KeyAlgorithm)
        )
        require_instance("usage_mode", usage_mode, UsageMode, ", ".join(f"UsageMode.{m.name}" for m in UsageMode))
        require_instance(
            "registration",
            registration,
            IotRegistration,
            ", ".join(f"IotRegistration.{r.name}" for r in IotRegistration),
        )
        self.key_algorithm = key_algorithm
        self.usage_mode = usage_mode
        self.registration = registration
        self._functions = functions

    @property
    @abstractmethod
    def arn(self) -> str:
        """ARN of the Private CA."""

    @property
    def signing_algorithm(self) -> str:
        """The algorithm that it signs with: it fits its own key."""
        return self.key_algorithm.signing_algorithm

    @property
    def validity_days(self) -> int | None:
        """How long its own certificate holds, where that is known at synth; what it issues must not outlive it."""
        return None

    @property
    def certificate_chain(self) -> str | None:
        """PEM of its certificate and those above it, as a subordinate needs them; None where not known."""
        return None

    @property
    def is_short_lived(self) -> bool:
        """Whether its certificates hold seven days at most."""
        return self.usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE

    @property
    def is_active(self) -> bool:
        """Whether it has its certificate in this deployment: all but one that waits for an offline parent."""
        return True

    @property
    def is_registered(self) -> bool:
        """Whether AWS IoT Core knows it once this deployment is done."""
        return self.is_active and self.registration is not IotRegistration.NONE

    def grant_issue(self, grantee: iam.IGrantable, *, template_arn: str) -> iam.Grant:
        """Let a principal have certificates made from this one template, and read them."""
        iam.Grant.add_to_principal(grantee=grantee, actions=["acm-pca:GetCertificate"], resource_arns=[self.arn])
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["acm-pca:IssueCertificate"],
            resource_arns=[self.arn],
            conditions={"StringEquals": {"acm-pca:TemplateArn": template_arn}},
        )

    def grant_revoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal revoke certificates of this CA."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["acm-pca:RevokeCertificate"], resource_arns=[self.arn]
        )

    @staticmethod
    def root(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        subject: AuthoritySubject,
        key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
        usage_mode: UsageMode = UsageMode.GENERAL_PURPOSE,
        validity: Duration | None = None,
        revocation: Revocation | None = None,
        registration: IotRegistration = IotRegistration.DEFAULT,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        functions: FunctionOptions | None = None,
    ) -> "DeviceAuthority":
        """A root of its own, self-signed, which signs devices directly.

        Args:
            scope: the parent.
            id: the construct's id.
            subject: its distinguished name.
            key_algorithm: of its key; the signing algorithm follows.
            usage_mode: general purpose, or short-lived (certificates of at most seven days, cheaper).
            validity: of its own certificate, whole days; ten years when absent.
            revocation: CRL and OCSP; neither by default, and neither is possible in short-lived mode.
            registration: how AWS IoT Core knows it.
            removal_policy: what happens to the CA when it leaves the stack; it is kept by default, except where the
                deployment that makes it fails.
            functions: how the custom resource's function runs.

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        authority = _MadeAuthority(
            scope,
            id,
            kind="ROOT",
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            validity_days=_own_validity(validity, _TEN_YEARS),
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions or FunctionOptions(),
        )
        authority.sign_itself()
        return authority

    @staticmethod
    def subordinate_of(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        parent: "DeviceAuthority",
        *,
        subject: AuthoritySubject,
        key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
        usage_mode: UsageMode = UsageMode.GENERAL_PURPOSE,
        path_length: int = 0,
        validity: Duration | None = None,
        revocation: Revocation | None = None,
        registration: IotRegistration = IotRegistration.DEFAULT,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        functions: FunctionOptions | None = None,
    ) -> "DeviceAuthority":
        """A CA whose certificate another Private CA signs.

        Args:
            scope: the parent.
            id: the construct's id.
            parent: who signs it: general purpose, active, and, if brought by ARN, with its `certificate_chain`.
            subject: its distinguished name.
            key_algorithm: of its key; the signing algorithm follows.
            usage_mode: general purpose, or short-lived (certificates of at most seven days, cheaper).
            path_length: how many CAs may stand below it, 0 to 3.
            validity: of its own certificate, whole days; five years when absent.
            revocation: CRL and OCSP; neither by default, and neither is possible in short-lived mode.
            registration: how AWS IoT Core knows it.
            removal_policy: what happens to the CA when it leaves the stack; it is kept by default, except where the
                deployment that makes it fails.
            functions: how the custom resource's function runs.

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        require_instance("parent", parent, DeviceAuthority, "a DeviceAuthority")
        if not parent.is_active:
            refuse("parent", parent.node.path, "an authority that has its certificate already")
        if parent.certificate_chain is None:
            refuse("parent", parent.node.path, "an authority made here, or from_arn with its certificate_chain")
        if parent.usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE:
            refuse("parent", parent.usage_mode.name, "an authority of UsageMode.GENERAL_PURPOSE")
        days = _own_validity(validity, _FIVE_YEARS)
        # The parent's certificate was made a moment earlier, so an equal validity would end later than it.
        if parent.validity_days is not None and days >= parent.validity_days:
            refuse("validity", f"{days} days", f"less than its parent's {parent.validity_days} days")
        authority = _MadeAuthority(
            scope,
            id,
            kind="SUBORDINATE",
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            validity_days=days,
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions or FunctionOptions(),
        )
        authority.be_signed_by(parent, require_range("path_length", path_length, 0, 3))
        return authority

    @staticmethod
    def pending_offline_parent(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        subject: AuthoritySubject,
        signed_certificate: str | None = None,
        chain: str | None = None,
        key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
        usage_mode: UsageMode = UsageMode.GENERAL_PURPOSE,
        revocation: Revocation | None = None,
        registration: IotRegistration = IotRegistration.DEFAULT,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        functions: FunctionOptions | None = None,
    ) -> "DeviceAuthority":
        """A CA whose certificate is signed outside AWS, by a root in a safe.

        The first deployment makes the key and outputs the certificate signing request; sign it as a CA with path
        length 0. The second deployment, with `signed_certificate` and `chain`, activates the CA and registers it.
        Until then nothing can be issued with it.

        Args:
            scope: the parent.
            id: the construct's id.
            subject: its distinguished name.
            signed_certificate: PEM of the one certificate that the parent signed.
            chain: PEM of the certificates above it, its issuer first, the root last.
            key_algorithm: of its key; the signing algorithm follows.
            usage_mode: general purpose, or short-lived (certificates of at most seven days, cheaper).
            revocation: CRL and OCSP; neither by default, and neither is possible in short-lived mode.
            registration: how AWS IoT Core knows it.
            removal_policy: what happens to the CA when it leaves the stack; it is kept by default, except where the
                deployment that makes it fails.
            functions: how the custom resource's function runs.

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        if (signed_certificate is None) != (chain is None):
            missing = "chain" if chain is None else "signed_certificate"
            refuse(missing, None, "PEM: signed_certificate and chain come together, once the parent has signed")
        authority = _MadeAuthority(
            scope,
            id,
            kind="SUBORDINATE",
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            validity_days=None,
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions or FunctionOptions(),
        )
        if signed_certificate is None or chain is None:
            authority.wait_for_certificate()
        else:
            authority.activate(
                _certificates("signed_certificate", signed_certificate, exactly=1), _certificates("chain", chain)
            )
        return authority

    @staticmethod
    def from_arn(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        authority_arn: str,
        *,
        key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
        usage_mode: UsageMode = UsageMode.GENERAL_PURPOSE,
        certificate_chain: str | None = None,
        registration: IotRegistration = IotRegistration.DEFAULT,
        revision: str | None = None,
        functions: FunctionOptions | None = None,
    ) -> "DeviceAuthority":
        """An active Private CA that exists already, in the stack's Region (of this account, or shared with it).

        Args:
            scope: the parent.
            id: the construct's id.
            authority_arn: its ARN.
            key_algorithm: of its key: the signing algorithm must fit it.
            usage_mode: as it was made.
            certificate_chain: PEM of its certificate and those above, where it is to sign a subordinate.
            registration: how AWS IoT Core is to know it; NONE where another stack registers it: the stack that did
                takes it back when it is deleted.
            revision: any text; change it when the CA got a new certificate, which is then registered.
            functions: how the custom resource's function runs.

        Raises:
            InvalidArgumentError: for what is no Private CA's ARN, or an ARN of another Region.
        """
        require_match("authority_arn", authority_arn, _CA_ARN, _CA_ARN_FORM)
        region = Stack.of(scope).region
        if not is_token(authority_arn) and not is_token(region) and authority_arn.split(":")[3] != region:
            refuse("authority_arn", authority_arn, f"a Private CA of the stack's Region, {region}")
        return _BroughtAuthority(
            scope,
            id,
            authority_arn=authority_arn,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            certificate_chain=None
            if certificate_chain is None
            else _certificates("certificate_chain", certificate_chain),
            registration=registration,
            revision=revision,
            functions=functions or FunctionOptions(),
        )

    @property
    def _revision(self) -> str | None:
        """What changes with the CA's certificate; None where nothing here does."""
        return self.certificate_chain

    def _register(self, *after: Construct) -> None:
        if self.registration is IotRegistration.NONE:
            return
        registered = IotAccount.of(self, self._functions).register_authority(
            self,
            "Registration",
            authority_arn=self.arn,
            mode=self.registration.value,
            needs_verification=self.registration is IotRegistration.DEFAULT,
            signing_algorithm=self.signing_algorithm,
            revision=self._revision,
        )
        registered.node.add_dependency(*after)


class _MadeAuthority(DeviceAuthority):
    """A Private CA of this stack."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        kind: str,
        subject: AuthoritySubject,
        key_algorithm: KeyAlgorithm,
        usage_mode: UsageMode,
        validity_days: int | None,
        revocation: Revocation,
        registration: IotRegistration,
        removal_policy: RemovalPolicy,
        functions: FunctionOptions,
    ) -> None:
        super().__init__(
            scope,
            id,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            registration=registration,
            functions=functions,
        )
        require_instance("subject", subject, AuthoritySubject, "an AuthoritySubject")
        if usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE and revocation != Revocation():
            refuse("revocation", "CRL or OCSP", "none in UsageMode.SHORT_LIVED_CERTIFICATE: its certificates just end")
        require_removal_policy(removal_policy)
        self._validity_days = validity_days
        self._activation: acmpca.CfnCertificateAuthorityActivation | None = None
        bucket = self._crl_bucket(revocation.crl, removal_policy) if revocation.crl else None
        self._resource = acmpca.CfnCertificateAuthority(
            self,
            "Resource",
            type=kind,
            key_algorithm=key_algorithm.value,
            signing_algorithm=key_algorithm.signing_algorithm,
            subject=subject.render(),
            usage_mode=usage_mode.value,
            revocation_configuration=self._revocation(revocation, bucket),
        )
        if bucket is not None:
            # Private CA tests the bucket when it is configured, so the bucket's policy must exist before.
            self._resource.node.add_dependency(bucket)
        self._resource.apply_removal_policy(removal_policy)
        self._removal_policy = removal_policy

    @property
    def arn(self) -> str:
        return self._resource.attr_arn

    @property
    def validity_days(self) -> int | None:
        return self._validity_days

    @property
    def certificate_chain(self) -> str | None:
        return self._activation.attr_complete_certificate_chain if self._activation else None

    @property
    def is_active(self) -> bool:
        return self._activation is not None

    @property
    def certificate_signing_request(self) -> str:
        """PEM of the CA's own certificate signing request."""
        return self._resource.attr_certificate_signing_request

    def sign_itself(self) -> None:
        certificate = self._certificate(self.arn, self.signing_algorithm, "RootCACertificate/V1")
        self.activate(certificate.attr_certificate, None)

    def be_signed_by(self, parent: DeviceAuthority, path_length: int) -> None:
        template = f"SubordinateCACertificate_PathLen{path_length}/V1"
        certificate = self._certificate(parent.arn, parent.signing_algorithm, template)
        # A CA signs once it is active, and CloudFormation sees a dependency on its ARN alone.
        certificate.node.add_dependency(parent)
        self.activate(certificate.attr_certificate, parent.certificate_chain)

    def activate(self, certificate: str, chain: str | None) -> None:
        self._activation = acmpca.CfnCertificateAuthorityActivation(
            self,
            "Activation",
            certificate_authority_arn=self.arn,
            certificate=certificate,
            certificate_chain=chain,
            status="ACTIVE",
        )
        # Removing the activation alone would leave a retained CA disabled.
        self._activation.apply_removal_policy(self._removal_policy)
        self._register(self._activation)

    def wait_for_certificate(self) -> None:
        CfnOutput(
            self,
            "CertificateSigningRequest",
            value=self.certificate_signing_request,
            description="To be signed by the offline parent, as a CA with path length 0",
        )
        Annotations.of(self).add_warning_v2(
            "cdk-iot-secretfree:authorityPending",
            "This authority waits for its certificate: have the output CertificateSigningRequest signed by the offline "
            "parent and deploy again with signed_certificate and chain. Until then nothing can be issued with it.",
        )

    def _certificate(self, issuer_arn: str, signing_algorithm: str, template: str) -> acmpca.CfnCertificate:
        certificate = acmpca.CfnCertificate(
            self,
            "Certificate",
            certificate_authority_arn=issuer_arn,
            certificate_signing_request=self.certificate_signing_request,
            signing_algorithm=signing_algorithm,
            template_arn=f"arn:{Stack.of(self).partition}:acm-pca:::template/{template}",
            validity=acmpca.CfnCertificate.ValidityProperty(type="DAYS", value=self._validity_days or _FIVE_YEARS),
        )
        # CloudFormation revokes a certificate that it deletes, which a retained CA's own must not be.
        certificate.apply_removal_policy(self._removal_policy)
        return certificate

    def _revocation(
        self, revocation: Revocation, bucket: s3.IBucket | None
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

    def _crl_bucket(self, crl: RevocationList, removal_policy: RemovalPolicy) -> s3.IBucket:
        bucket = crl.bucket or s3.Bucket(
            self,
            "RevocationLists",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            # Private CA tries the bucket by writing to it, so that it could not be deleted.
            removal_policy=RemovalPolicy.RETAIN if is_retained(removal_policy) else removal_policy,
        )
        service = iam.ServicePrincipal("acm-pca.amazonaws.com")
        # The statement that Private CA asks for; the account pins it against other accounts' CAs.
        added = [
            bucket.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[service],
                    actions=actions,
                    resources=[resource],
                    conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
                )
            ).statement_added
            for actions, resource in (
                (["s3:GetBucketAcl", "s3:GetBucketLocation"], bucket.bucket_arn),
                (["s3:PutObject", "s3:PutObjectAcl"], bucket.arn_for_objects("*")),
            )
        ]
        if not all(added):
            Annotations.of(self).add_warning_v2(
                "cdk-iot-secretfree:crlBucketPolicy",
                "The CRL's bucket is imported, so its policy is not changed here. Let acm-pca.amazonaws.com have "
                "s3:GetBucketAcl, s3:GetBucketLocation, s3:PutObject and s3:PutObjectAcl, or the CA cannot be made.",
            )
        return bucket


class _BroughtAuthority(DeviceAuthority):
    """A Private CA of elsewhere."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        authority_arn: str,
        key_algorithm: KeyAlgorithm,
        usage_mode: UsageMode,
        certificate_chain: str | None,
        registration: IotRegistration,
        revision: str | None,
        functions: FunctionOptions,
    ) -> None:
        super().__init__(
            scope,
            id,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            registration=registration,
            functions=functions,
        )
        self._arn = authority_arn
        self._certificate_chain = certificate_chain
        self._given_revision = revision
        self._register()

    @property
    def arn(self) -> str:
        return self._arn

    @property
    def certificate_chain(self) -> str | None:
        return self._certificate_chain

    @property
    def _revision(self) -> str | None:
        return self._given_revision


_TEN_YEARS: Final = 3_650
_HOST_NAME: Final = r"(?=.{1,253}$)([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}"
_FIVE_YEARS: Final = 1_825
_CA_ARN: Final = r"arn:aws[a-z-]*:acm-pca:[a-z0-9-]+:\d{12}:certificate-authority/[0-9a-f-]{36}"
_CA_ARN_FORM: Final = "a Private CA's ARN: arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/UUID"
_SUBJECT_LENGTHS: Final = {
    "common_name": 64,
    "organization": 64,
    "organizational_unit": 64,
    "state": 128,
    "locality": 128,
}


def _own_validity(validity: Duration | None, default_days: int) -> int:
    return default_days if validity is None else require_whole_days("validity", validity, 1, 36_500)


def _certificates(argument: str, pem: str, *, exactly: int | None = None) -> str:
    """The PEM, if it is certificates and nothing else. Above all, no private key enters a template."""
    if is_token(pem):
        return pem
    accepted = "one PEM certificate" if exactly == 1 else "PEM certificates"
    if "PRIVATE KEY" in pem:
        refuse(argument, "a private key (not shown)", accepted)
    count = pem.count("-----BEGIN CERTIFICATE-----")
    if count == 0 or count != pem.count("-----END CERTIFICATE-----") or (exactly is not None and count != exactly):
        refuse(argument, f"{count} PEM certificates", accepted)
    return pem.strip() + "\n"
