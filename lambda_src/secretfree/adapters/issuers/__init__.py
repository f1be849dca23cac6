"""The kinds of issuers. A kind is a module of this package, named as the kind, whose `build` makes an issuer.

The module is loaded when an issuer of its kind is made, so that a function pays for the kinds that it has alone. A new
kind is a module here, a member of `secretfree.contract.IssuerKind`, and its counterpart in the construct.
"""

from dataclasses import dataclass
from importlib import import_module

from secretfree.config import IssuerSettings, SubjectConfig
from secretfree.issuance.ports import CertificateIssuer, ThingRegistry


@dataclass(frozen=True, kw_only=True)
class IssuerSurroundings:
    """What a product line gives to each of its issuers."""

    things: ThingRegistry
    subject: SubjectConfig


def make_issuer(settings: IssuerSettings, surroundings: IssuerSurroundings) -> CertificateIssuer:
    """The issuer that `settings` describe; raises ConfigurationError."""
    module = import_module(f"{__name__}.{settings.kind.value.replace('-', '_')}")
    issuer: CertificateIssuer = module.build(settings, surroundings)
    return issuer
