"""The certificate authority that signs devices: an AWS Private CA, created here or imported."""

from abc import abstractmethod
from datetime import datetime
from typing import Final

import jsii
from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from constructs import Construct
from secretfree.contract import IotRegistration

from cdk_iot_secretfree.account_resources import AccountResources
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.authority.certificate_end import end_of_first
from cdk_iot_secretfree.authority.options import AuthorityKind, OwnedAuthorityOptions, pem_certificates
from cdk_iot_secretfree.authority.revocation import Revocation
from cdk_iot_secretfree.authority.subject import AuthoritySubject
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.grants import grant_to_principal
from cdk_iot_secretfree.options import KeyAlgorithm, UsageMode
from cdk_iot_secretfree.validation import (
    refuse,
    require_match,
    require_range,
    require_whole_days,
)


@checks_arguments
class DeviceAuthority(Construct, metaclass=jsii.JSIIAbstractClass):
    """A Private CA that signs devices, and its registration with AWS IoT Core in the stack's Region.

    Made by `root`, `subordinate_of`, `pending_offline_parent` or `from_arn`.
    """

    def __init__(self, scope: Construct, id: str, kind: AuthorityKind) -> None:  # noqa: A002
        super().__init__(scope, id)
        self.key_algorithm = kind.key_algorithm
        self.usage_mode = kind.usage_mode
        self.registration = kind.registration
        self._functions = kind.functions

    @property
    @abstractmethod
    def arn(self) -> str:
        """ARN of the Private CA."""

    @property
    def signing_algorithm(self) -> str:
        """The signing algorithm. It fits the CA's own key."""
        return self.key_algorithm.signing_algorithm

    @property
    def validity_days(self) -> int | None:
        """Validity of the CA's own certificate in days, if synth knows it. No issued certificate may outlive it."""
        return None

    @property
    def ends_at(self) -> datetime | None:
        """When the CA's own certificate ends; None unless `signed_certificate` or `certificate_chain` gave its PEM."""
        return end_of_first(self.certificate_chain)

    @property
    def certificate_chain(self) -> str | None:
        """PEM of the CA's certificate and those above it, for a subordinate CA. None if unknown."""
        return None

    @property
    def is_short_lived(self) -> bool:
        """Whether its certificates are valid for seven days at most."""
        return self.usage_mode is UsageMode.SHORT_LIVED_CERTIFICATE

    @property
    def is_active(self) -> bool:
        """Whether the CA has a certificate after this deployment. False while it waits for an offline parent."""
        return True

    @property
    def is_registered(self) -> bool:
        """Whether the CA is registered with AWS IoT Core after this deployment."""
        return self.is_active and self.registration is not IotRegistration.NONE

    def grant_issue(self, grantee: iam.IGrantable, *, template_arn: str) -> iam.Grant:
        """Let a principal issue certificates from this one template, and read them."""
        grant_to_principal(self, grantee, actions=["acm-pca:GetCertificate"], resources=[self.arn])
        return grant_to_principal(
            self,
            grantee,
            actions=["acm-pca:IssueCertificate"],
            resources=[self.arn],
            conditions={"StringEquals": {"acm-pca:TemplateArn": template_arn}},
        )

    def grant_revoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal revoke certificates of this CA."""
        return grant_to_principal(self, grantee, actions=["acm-pca:RevokeCertificate"], resources=[self.arn])

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
        """A self-signed root CA that signs devices directly.

        Args:
            scope: the parent.
            id: the construct's id.
            subject: its distinguished name.
            key_algorithm: of its key; the signing algorithm follows.
            usage_mode: general purpose, or short-lived (certificates of at most seven days, cheaper).
            validity: of its own certificate, whole days; ten years when absent.
            revocation: CRL and OCSP; neither by default, and neither is possible in short-lived mode.
            registration: how it is registered with AWS IoT Core.
            removal_policy: what happens to the CA when it leaves the stack. By default it is kept, unless the
                deployment that creates it fails.
            functions: how the function of the stack's custom resources runs (`AccountResources`).

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        from cdk_iot_secretfree.authority.owned import OwnedAuthority

        options = OwnedAuthorityOptions(
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions,
        )
        authority = OwnedAuthority(scope, id, options, kind="ROOT", validity_days=_own_validity(validity, _TEN_YEARS))
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
            parent: the CA that signs it: general purpose and active. One from `from_arn` needs its `certificate_chain`.
            subject: its distinguished name.
            key_algorithm: of its key; the signing algorithm follows.
            usage_mode: general purpose, or short-lived (certificates of at most seven days, cheaper).
            path_length: the number of CA levels allowed below it, 0 to 3.
            validity: of its own certificate, whole days; five years when absent.
            revocation: CRL and OCSP; neither by default, and neither is possible in short-lived mode.
            registration: how it is registered with AWS IoT Core.
            removal_policy: what happens to the CA when it leaves the stack. By default it is kept, unless the
                deployment that creates it fails.
            functions: how the function of the stack's custom resources runs (`AccountResources`).

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
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
        from cdk_iot_secretfree.authority.owned import OwnedAuthority

        options = OwnedAuthorityOptions(
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions,
        )
        authority = OwnedAuthority(scope, id, options, kind="SUBORDINATE", validity_days=days)
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
        """A CA whose certificate an offline root signs, outside AWS.

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
            registration: how it is registered with AWS IoT Core.
            removal_policy: what happens to the CA when it leaves the stack. By default it is kept, unless the
                deployment that creates it fails.
            functions: how the function of the stack's custom resources runs (`AccountResources`).

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        if (signed_certificate is None) != (chain is None):
            missing = "chain" if chain is None else "signed_certificate"
            refuse(missing, None, "PEM: signed_certificate and chain come together, once the parent has signed")
        from cdk_iot_secretfree.authority.owned import OwnedAuthority

        options = OwnedAuthorityOptions(
            subject=subject,
            key_algorithm=key_algorithm,
            usage_mode=usage_mode,
            revocation=revocation or Revocation(),
            registration=registration,
            removal_policy=removal_policy,
            functions=functions,
        )
        authority = OwnedAuthority(scope, id, options, kind="SUBORDINATE")
        if signed_certificate is None or chain is None:
            authority.wait_for_certificate()
        else:
            authority.activate(
                pem_certificates("signed_certificate", signed_certificate, exactly=1), pem_certificates("chain", chain)
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
        """An existing, active Private CA of this account or shared with it, in any Region.

        Args:
            scope: the parent.
            id: the construct's id.
            authority_arn: its ARN.
            key_algorithm: of its key: the signing algorithm must fit it.
            usage_mode: the usage mode that it was created with.
            certificate_chain: PEM of its certificate and those above it. Needed if it signs a subordinate CA.
            registration: how it is registered with AWS IoT Core. NONE where another stack registers it: that stack
                removes the registration when it is deleted.
            revision: any text. Change it to register a new certificate of the CA.
            functions: how the function of the stack's custom resources runs (`AccountResources`).

        Raises:
            InvalidArgumentError: for anything but a Private CA's ARN.
        """
        require_match("authority_arn", authority_arn, _CA_ARN, _CA_ARN_FORM)
        from cdk_iot_secretfree.authority.imported import ImportedAuthority

        return ImportedAuthority(
            scope,
            id,
            AuthorityKind(
                key_algorithm=key_algorithm,
                usage_mode=usage_mode,
                registration=registration,
                functions=functions,
            ),
            authority_arn=authority_arn,
            certificate_chain=None
            if certificate_chain is None
            else pem_certificates("certificate_chain", certificate_chain),
            revision=revision,
        )

    @property
    def _revision(self) -> str | None:
        """A value that changes with the CA's certificate, or None if it is unknown."""
        return self.certificate_chain

    def _register(self, *after: Construct) -> None:
        if self.registration is IotRegistration.NONE:
            return
        account = AccountResources.of(self)
        account.accept(self._functions, given_by=self)
        registered = account.register_authority(
            self,
            "Registration",
            authority_arn=self.arn,
            mode=self.registration.value,
            needs_verification=self.registration is IotRegistration.DEFAULT,
            signing_algorithm=self.signing_algorithm,
            revision=self._revision,
        )
        registered.node.add_dependency(*after)


_TEN_YEARS: Final = 3_650
_FIVE_YEARS: Final = 1_825
_CA_ARN: Final = r"arn:aws[a-z-]*:acm-pca:[a-z0-9-]+:\d{12}:certificate-authority/[0-9a-f-]{36}"
_CA_ARN_FORM: Final = "a Private CA's ARN: arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/UUID"


def _own_validity(validity: Duration | None, default_days: int) -> int:
    return default_days if validity is None else require_whole_days("validity", validity, 1, 36_500)
