"""The sample stack: one product line, chosen by CDK context, to deploy as it is or to copy."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aws_cdk import CfnOutput, CliCredentialsStackSynthesizer, Environment, RemovalPolicy, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, Node
from secretfree.contract import DeviceProfile, IssuerKind, MatchPolicy, Output

from cdk_iot_secretfree.api_options import ApiOptions
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.audit_trail import AuditTrail
from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.authority.subject import AuthoritySubject
from cdk_iot_secretfree.bundling.bundle import Bundle, BundleTarget
from cdk_iot_secretfree.device_policy import DevicePolicy
from cdk_iot_secretfree.est_options import EstOptions, MutualTlsDomain
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.manifest_import import ManifestImport
from cdk_iot_secretfree.options import KeyAlgorithm
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.validation import refuse

_ISSUERS: Final = (IssuerKind.PRIVATE_CA.value, IssuerKind.IOT_CORE.value)
"""The issuer kinds that the sample supports. It refuses others."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """The options of the sample stack. Each field is a context key: `secretfree:` and its name with hyphens.

    Args:
        stack_name: of the stack.
        product: the product line.
        issuers: `private-ca` and `iot-core`, one or both.
        ca_arn: an existing Private CA; a root CA is made when absent.
        ca_generations: numbers of the root CAs that are made: first the one that signs, then the previous ones. For a
            rotation, set `1`, later `2,1`, and at the end `2`.
        ca_key_algorithm: of the CA's key, as in `EC_prime256v1`, `RSA_2048`.
        match_policy: as in `UDID_AND_PUBLIC_KEY`.
        device_profile: `STANDARD` or `TI_CC32XX`.
        bundle: `lambda`, or `host` for an emulator on this machine.
        removal: `retain` or `destroy` for tables, logs, policy and CA.
        synthesizer: `default`, or `cli-credentials` to deploy with the caller's own credentials alone.
        csr_in_body: `true` also takes a CSR as the body of a request.
        est: `true` also answers EST (RFC 7030).
        est_domain: a domain name with mutual TLS for EST's re-enrolment. It needs the next two options.
        est_domain_certificate: the ARN of its certificate.
        est_truststore: the CAs of client certificates, as in `s3://bucket/truststore.pem`.
        manifest_import: `true` adds a bucket for manifests and their import in the cloud.
        operator_roles: `true` adds two roles that principals of the account may assume: `OnCall`, which diagnoses, and
            `Operator`, which also blocks, renews and retires devices.
        audit: `true` adds an audit trail in a bucket with Object Lock.
    """

    stack_name: str = "SecretFree"
    product: str = "widget"
    issuers: tuple[str, ...] = _ISSUERS
    ca_arn: str | None = None
    ca_generations: tuple[str, ...] = ("1",)
    ca_key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256
    match_policy: MatchPolicy = MatchPolicy.UDID_AND_PUBLIC_KEY
    device_profile: DeviceProfile = DeviceProfile.STANDARD
    bundle: BundleTarget = BundleTarget.LAMBDA
    removal: RemovalPolicy = RemovalPolicy.RETAIN
    synthesizer: str = "default"
    csr_in_body: bool = False
    est: bool = False
    est_domain: str | None = None
    est_domain_certificate: str | None = None
    est_truststore: str | None = None
    manifest_import: bool = False
    audit: bool = False
    operator_roles: bool = False

    @staticmethod
    def from_context(node: Node) -> "SampleOptions":
        """The options that `cdk.json` or `cdk --context` set.

        Raises:
            InvalidArgumentError: naming the context key, what was given and what is accepted.
        """
        defaults = SampleOptions()
        context = _Context(node)
        return SampleOptions(
            stack_name=context.text("stack-name", defaults.stack_name),
            product=context.text("product", defaults.product),
            issuers=context.choices("issuers", _ISSUERS, defaults.issuers),
            ca_arn=context.text("ca-arn", "") or None,
            ca_generations=context.choices("ca-generations", _CA_GENERATIONS, defaults.ca_generations),
            ca_key_algorithm=context.choice(
                "ca-key-algorithm", {item.value: item for item in KeyAlgorithm}, defaults.ca_key_algorithm
            ),
            match_policy=context.choice(
                "match-policy", {item.value: item for item in MatchPolicy}, defaults.match_policy
            ),
            device_profile=context.choice(
                "device-profile", {item.value: item for item in DeviceProfile}, defaults.device_profile
            ),
            bundle=context.choice("bundle", {item.value: item for item in BundleTarget}, defaults.bundle),
            removal=context.choice("removal", _REMOVALS, defaults.removal),
            synthesizer=context.choice("synthesizer", {name: name for name in _SYNTHESIZERS}, defaults.synthesizer),
            csr_in_body=context.choice("csr-in-body", _SWITCH, defaults.csr_in_body),
            est=context.choice("est", _SWITCH, defaults.est),
            est_domain=context.text("est-domain", "") or None,
            est_domain_certificate=context.text("est-domain-certificate", "") or None,
            est_truststore=context.text("est-truststore", "") or None,
            manifest_import=context.choice("manifest-import", _SWITCH, defaults.manifest_import),
            audit=context.choice("audit", _SWITCH, defaults.audit),
            operator_roles=context.choice("operator-roles", _SWITCH, defaults.operator_roles),
        )


@checks_arguments
class SecretFreeStack(Stack):
    """One product line in a stack of its own, with the outputs that the `secretfree` command reads."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        options: SampleOptions | None = None,
        env: Environment | None = None,
    ) -> None:
        chosen = options or SampleOptions()
        super().__init__(
            scope,
            id,
            env=env,
            description="Secret-free provisioning of IoT devices",
            termination_protection=chosen.removal is RemovalPolicy.RETAIN,
            synthesizer=CliCredentialsStackSynthesizer() if chosen.synthesizer == "cli-credentials" else None,
        )
        functions = FunctionOptions(bundle=Bundle(target=chosen.bundle))
        self.provisioning = SecretFreeProvisioning(
            self,
            "Provisioning",
            product=chosen.product,
            issuers=[self._issuer(name, chosen, functions) for name in chosen.issuers],
            device_policy=DevicePolicy.least_privilege(chosen.product),
            match=chosen.match_policy,
            device_profile=chosen.device_profile,
            api=ApiOptions(csr_in_body=chosen.csr_in_body, est=self._est(chosen) if chosen.est else None),
            functions=functions,
            removal_policy=chosen.removal,
        )
        self.manifest_import = (
            ManifestImport(self, "ManifestImport", self.provisioning) if chosen.manifest_import else None
        )
        self.audit_trail = AuditTrail(self, "AuditTrail", self.provisioning) if chosen.audit else None
        if chosen.operator_roles:
            self._add_operator_roles()
        self.provisioning.add_dashboard()
        self.provisioning.add_alarms()
        self.provisioning.add_outputs()
        if self.manifest_import is not None:
            CfnOutput(self, Output.MANIFEST_BUCKET.value, value=self.manifest_import.bucket.bucket_name)
        if self.audit_trail is not None:
            CfnOutput(self, Output.AUDIT_BUCKET.value, value=self.audit_trail.bucket.bucket_name)

    def _est(self, options: SampleOptions) -> EstOptions:
        if options.est_domain is None:
            return EstOptions()
        truststore = re.fullmatch(r"s3://([^/]+)/(.+)", options.est_truststore or "")
        if truststore is None:
            refuse("est_truststore", options.est_truststore, "s3://BUCKET/KEY, with est_domain")
        if options.est_domain_certificate is None:
            refuse("est_domain_certificate", None, "a certificate's ARN, with est_domain")
        certificate, bucket = options.est_domain_certificate, truststore[1]
        return EstOptions(
            reenroll=MutualTlsDomain(
                name=options.est_domain,
                certificate=acm.Certificate.from_certificate_arn(self, "EstCertificate", certificate),
                truststore_bucket=s3.Bucket.from_bucket_name(self, "EstTruststore", bucket),
                truststore_key=truststore[2],
            )
        )

    def _add_operator_roles(self) -> None:
        on_call = iam.Role(self, "OnCall", assumed_by=iam.AccountRootPrincipal())
        operator = iam.Role(self, "Operator", assumed_by=iam.AccountRootPrincipal())
        for role in (on_call, operator):
            self.provisioning.grant_diagnose(role)
        self.provisioning.grant_operate(operator)

    def _issuer(self, name: str, options: SampleOptions, functions: FunctionOptions) -> Issuer:
        if name == IssuerKind.IOT_CORE:
            return Issuer.iot_core()
        if options.ca_arn is not None:
            return Issuer.private_ca(
                DeviceAuthority.from_arn(
                    self, "Authority", options.ca_arn, key_algorithm=options.ca_key_algorithm, functions=functions
                )
            )
        current, *previous = (self._root(number, options, functions) for number in options.ca_generations)
        return Issuer.private_ca(current, previous=previous)

    def _root(self, generation: str, options: SampleOptions, functions: FunctionOptions) -> DeviceAuthority:
        """Make a construct for each generation, so that a rotation changes no CA that is in use."""
        suffix = "" if generation == "1" else generation
        return DeviceAuthority.root(
            self,
            f"Authority{suffix}",
            subject=AuthoritySubject(common_name=f"{options.product} device CA {suffix}".rstrip()),
            key_algorithm=options.ca_key_algorithm,
            # A CA costs money once it exists, so a failed first deployment keeps none.
            removal_policy=options.removal
            if options.removal is RemovalPolicy.DESTROY
            else RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            functions=functions,
        )


_Choice = TypeVar("_Choice")

_PREFIX: Final = "secretfree:"
_SYNTHESIZERS: Final = ("default", "cli-credentials")
_SWITCH: Final = {"true": True, "false": False}
_CA_GENERATIONS: Final = tuple(str(number) for number in range(1, 10))
_REMOVALS: Final = {"retain": RemovalPolicy.RETAIN, "destroy": RemovalPolicy.DESTROY}


class _Context:
    """Reads context values. A refusal names the context key."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def text(self, name: str, default: str) -> str:
        value = self._node.try_get_context(_PREFIX + name)
        if value is not None and not isinstance(value, str):
            refuse(f"context {_PREFIX}{name}", value, "text")
        return value or default

    def choice(self, name: str, accepted: Mapping[str, _Choice], default: _Choice) -> _Choice:
        value: Any = self._node.try_get_context(_PREFIX + name)
        if value in (None, ""):
            return default
        if isinstance(value, bool):  # From `cdk.json`. The command line gives only text.
            value = str(value).lower()
        if not isinstance(value, str) or value not in accepted:
            refuse(f"context {_PREFIX}{name}", value, ", ".join(accepted))
        return accepted[value]

    def choices(self, name: str, accepted: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        given = self.text(name, ",".join(default))
        chosen = tuple(part.strip() for part in given.split(","))
        if not set(chosen) <= set(accepted) or len(set(chosen)) < len(chosen):
            refuse(
                f"context {_PREFIX}{name}", given, f"one or more of {', '.join(accepted)}, each once, comma-separated"
            )
        return chosen
