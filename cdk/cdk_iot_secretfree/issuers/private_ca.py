"""AWS Private CA as an issuer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from aws_cdk import Annotations, Duration, Stack
from secretfree.contract import IssuerKind, IssuerSetting

from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.options import require_validity_days
from cdk_iot_secretfree.validation import refuse


class PrivateCaIssuer(Issuer):
    """AWS Private CA, with the template that takes subject and extensions only from the API."""

    def __init__(
        self,
        authority: DeviceAuthority,
        *,
        validity: Duration | None,
        previous: Sequence[DeviceAuthority],
        name: str,
        path: str,
    ) -> None:
        super().__init__(name=name, path=path)
        self._authority = authority
        self._previous = tuple(previous)
        _check_previous(authority, self._previous)
        default_days = _SHORT_LIVED_DAYS if authority.is_short_lived else _DEFAULT_DAYS
        chosen = Duration.days(default_days) if validity is None else validity
        self._validity_days = require_validity_days("validity", chosen, authority.usage_mode)
        longest = authority.validity_days
        # Private CA refuses a certificate that would outlive its CA. The CA's own certificate began earlier.
        if longest is not None and self._validity_days >= longest:
            refuse("validity", f"{self._validity_days} days", f"less than the authority's own {longest} days")
        if longest is not None and self._validity_days * 2 > longest:
            Annotations.of(authority).add_warning_v2(
                "cdk-iot-secretfree:authorityHeadroom",
                f"Certificates of {self._validity_days} days of an authority of {longest} days: less than "
                f"{longest - self._validity_days} days after it was made, nothing can be issued with it any more. "
                "Renew it in time, or choose a shorter validity.",
            )

        _warn_of_end(authority, self._validity_days)

    @property
    def kind(self) -> IssuerKind:
        """The kind, by which the runtime chooses the issuing code."""
        return IssuerKind.PRIVATE_CA

    @property
    def authority(self) -> DeviceAuthority:
        """The Private CA."""
        return self._authority

    @property
    def authorities(self) -> Sequence[DeviceAuthority]:
        """The Private CA that signs, then the previous ones."""
        return (self._authority, *self._previous)

    @property
    def validity_days(self) -> int:
        """Validity of a certificate."""
        return self._validity_days

    def settings(self, stack: Stack) -> Mapping[IssuerSetting, str]:
        """The CA, its signing algorithm, the validity of its certificates, and the previous CAs."""
        previous = {IssuerSetting.PREVIOUS_AUTHORITY_ARNS: ",".join(one.arn for one in self._previous)}
        return {
            IssuerSetting.AUTHORITY_ARN: self._authority.arn,
            IssuerSetting.SIGNING_ALGORITHM: self._authority.signing_algorithm,
            IssuerSetting.TEMPLATE_ARN: _template_arn(stack),
            IssuerSetting.VALIDITY_DAYS: str(self._validity_days),
            IssuerSetting.REGISTERED: "true" if self._authority.is_registered else "false",
            **(previous if self._previous else {}),
        }

    def grant_issue(self, function: RuntimeFunction) -> None:
        """Let the function issue certificates from the one template, and register them."""
        self.grant_sign(function)
        register = "RegisterCertificate" if self._authority.is_registered else "RegisterCertificateWithoutCA"
        # The IAM reference gives either no resource type.
        function.allow([f"iot:{register}"], ["*"])

    def grant_sign(self, function: RuntimeFunction) -> None:
        """Let the function issue certificates from the one template."""
        self._authority.grant_issue(function.rights, template_arn=_template_arn(Stack.of(function)))
        if self._previous:
            # The issuer still collects certificates that it requested from a previous CA before the deployment.
            function.allow(["acm-pca:GetCertificate"], [one.arn for one in self._previous])

    @property
    def quota_calls(self) -> Sequence[str]:
        """Signing a certificate, and registering it."""
        register = "RegisterCertificate" if self._authority.is_registered else "RegisterCertificateWithoutCA"
        return ("IssueCertificate", "GetCertificate", register)

    def grant_sweep(self, function: RuntimeFunction) -> None:
        """Let the sweeper read issued certificates. One may be registered with IoT Core although its record failed.

        It also measures how long the CA lasts.
        """
        function.allow(["acm-pca:DescribeCertificateAuthority"], [self._authority.arn])
        function.allow(["acm-pca:GetCertificate"], [one.arn for one in self.authorities])


_NOTICE: Final = timedelta(days=60)
_DEFAULT_DAYS: Final = 365
_SHORT_LIVED_DAYS: Final = 7


def _warn_of_end(authority: DeviceAuthority, validity_days: int) -> None:
    """Warn at synth of what the alarm `authority-ends` reports for a deployed CA."""
    if authority.ends_at is None:
        return
    signs_until = authority.ends_at - timedelta(days=validity_days)
    if signs_until - datetime.now(UTC) < _NOTICE:
        Annotations.of(authority).add_warning_v2(
            "cdk-iot-secretfree:authorityEnds",
            f"This authority ends on {authority.ends_at:%Y-%m-%d}: it signs certificates of {validity_days} days until "
            f"{signs_until:%Y-%m-%d}. Let another follow it: Issuer.private_ca(following, previous=[this]).",
        )


def _check_previous(authority: DeviceAuthority, previous: Sequence[DeviceAuthority]) -> None:
    paths = [one.node.path for one in (authority, *previous)]
    if len(set(paths)) < len(paths):
        refuse("previous", ", ".join(paths[1:]), f"each authority once, and not the one that signs, {paths[0]}")
    for one in previous:
        if one.is_registered != authority.is_registered:
            accepted = "authorities that are all registered with AWS IoT Core, or none: IotRegistration"
            refuse("previous", f"{one.node.path}, registered: {one.is_registered}", accepted)


def _template_arn(stack: Stack) -> str:
    return f"arn:{stack.partition}:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
