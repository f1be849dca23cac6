"""Certificate templates: what a template sets, and what it leaves to the API or the CSR.

Source: AWS Private CA user guide, "Understanding certificate templates". Precedence is template, API, CSR.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError
from secretfree_cli.local.emulators.private_ca.subject import x509_name

DEFAULT_TEMPLATE_ARN = "arn:aws:acm-pca:::template/EndEntityCertificate/V1"

_TEMPLATE_ARN = re.compile(
    r"arn:aws[a-z-]*:acm-pca:::template/(?P<name>[A-Za-z0-9]+(?:_PathLen[0-3])?)(?P<variant>_APIPassthrough)?/V1"
)


@dataclass(frozen=True)
class Template:
    """One template. Without `api_passthrough`, ApiPassthrough is ignored without an error, as on AWS."""

    is_ca: bool
    path_length: int | None
    extended_key_usage: tuple[ObjectIdentifier, ...]
    api_passthrough: bool
    is_root: bool = False

    def subject(self, csr: x509.CertificateSigningRequest, api: Mapping[str, Any] | None) -> x509.Name:
        """Return the certificate's subject: the API's if present and allowed by the template, otherwise the CSR's."""
        if self.api_passthrough and api and api.get("Subject"):
            return x509_name(api["Subject"])
        return csr.subject

    def extensions(
        self,
        csr: x509.CertificateSigningRequest,
        api: Mapping[str, Any] | None,
        *,
        issuer_key: CertificateIssuerPublicKeyTypes,
    ) -> list[tuple[x509.ExtensionType, bool]]:
        """Return the certificate's extensions, each with whether it is critical."""
        public_key = csr.public_key()
        found: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=self.is_ca, path_length=self.path_length), True),
            (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
            (_CA_KEY_USAGE if self.is_ca else _END_ENTITY_KEY_USAGE, True),
        ]
        if not self.is_root:
            found.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), False))
        if self.extended_key_usage:
            found.append((x509.ExtendedKeyUsage(self.extended_key_usage), False))
        passed = api.get("Extensions", {}) if self.api_passthrough and api else {}
        found += _passed_through(passed, fixed={extension.oid for extension, _ in found})
        if not self.is_ca and all(extension.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME for extension, _ in found):
            found += _requested_names(csr)
        return found


def find_template(arn: str | None) -> Template:
    """Return the template of an ARN; InvalidArgsError if it does not exist or is not emulated."""
    parsed = _TEMPLATE_ARN.fullmatch(arn or DEFAULT_TEMPLATE_ARN)
    builder = _TEMPLATES.get(parsed["name"]) if parsed else None
    if parsed is None or builder is None:
        known = ", ".join(f"{name}/V1" for name in _TEMPLATES)
        raise InvalidArgsError(
            f"The template {arn} does not exist (emulated: {known}, and of each the _APIPassthrough variant)"
        )
    is_ca, path_length, usages, is_root = builder
    return Template(is_ca, path_length, usages, parsed["variant"] is not None, is_root)


_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
# Name -> whether it is a CA, path length, extended key usage, whether it is self-signed.
_TEMPLATES: Mapping[str, tuple[bool, int | None, tuple[ObjectIdentifier, ...], bool]] = {
    "EndEntityCertificate": (False, None, (_SERVER, _CLIENT), False),
    "EndEntityClientAuthCertificate": (False, None, (_CLIENT,), False),
    "EndEntityServerAuthCertificate": (False, None, (_SERVER,), False),
    "RootCACertificate": (True, None, (), True),
    "SubordinateCACertificate_PathLen0": (True, 0, (), False),
    "SubordinateCACertificate_PathLen1": (True, 1, (), False),
    "SubordinateCACertificate_PathLen2": (True, 2, (), False),
    "SubordinateCACertificate_PathLen3": (True, 3, (), False),
}


def _key_usage(*, key_encipherment: bool, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


_END_ENTITY_KEY_USAGE = _key_usage(key_encipherment=True, is_ca=False)
_CA_KEY_USAGE = _key_usage(key_encipherment=False, is_ca=True)


def _passed_through(
    extensions: Mapping[str, Any], *, fixed: set[ObjectIdentifier]
) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the API's extensions that the template does not set. The template has precedence, without an error."""
    asked: list[tuple[x509.ExtensionType, bool]] = []
    names = extensions.get("SubjectAlternativeNames")
    if names:
        asked.append((x509.SubjectAlternativeName([_general_name(name) for name in names]), False))
    policies = extensions.get("CertificatePolicies")
    if policies:
        asked.append((x509.CertificatePolicies([_policy(policy) for policy in policies]), False))
    for custom in extensions.get("CustomExtensions", []):
        oid = ObjectIdentifier(custom["ObjectIdentifier"])
        value = base64.b64decode(custom["Value"], validate=True)
        asked.append((x509.UnrecognizedExtension(oid, value), bool(custom.get("Critical", False))))
    return [(extension, critical) for extension, critical in asked if extension.oid not in fixed]


def _requested_names(csr: x509.CertificateSigningRequest) -> list[tuple[x509.ExtensionType, bool]]:
    try:
        requested = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [(requested.value, requested.critical)]


def _policy(policy: Mapping[str, Any]) -> x509.PolicyInformation:
    qualifiers: Sequence[str | x509.UserNotice] = [
        item["Qualifier"]["CpsUri"] for item in policy.get("PolicyQualifiers", [])
    ]
    return x509.PolicyInformation(ObjectIdentifier(policy["CertPolicyId"]), list(qualifiers) or None)


def _general_name(name: Mapping[str, Any]) -> x509.GeneralName:
    if len(name) != 1:
        raise InvalidArgsError("A general name has exactly one member")
    kind, value = next(iter(name.items()))
    try:
        match kind:
            case "DnsName":
                return x509.DNSName(value)
            case "Rfc822Name":
                return x509.RFC822Name(value)
            case "UniformResourceIdentifier":
                return x509.UniformResourceIdentifier(value)
            case "IpAddress":
                return x509.IPAddress(ipaddress.ip_address(value))
            case "DirectoryName":
                return x509.DirectoryName(x509_name(value))
            case "RegisteredId":
                return x509.RegisteredID(ObjectIdentifier(value))
    except ValueError as error:
        raise InvalidArgsError(f"Invalid {kind}: {error}") from error
    raise InvalidArgsError(f"General names of kind {kind} are not emulated")
