"""The kinds of issuers. Each kind is a module of this package with the kind's name. Its `build` makes an issuer.

A module is imported when an issuer of its kind is made, so that a function loads only the kinds that it uses.
CONTRIBUTING.md says how to add a kind.
"""

from dataclasses import dataclass
from importlib import import_module

from secretfree.config.issuers import IssuerSettings, SubjectConfig
from secretfree.issuance.ports import CertificateIssuer, ThingRegistry


@dataclass(frozen=True, kw_only=True)
class IssuerSurroundings:
    """The product line's part of an issuer's options."""

    things: ThingRegistry
    subject: SubjectConfig


def make_issuer(settings: IssuerSettings, surroundings: IssuerSurroundings) -> CertificateIssuer:
    """The issuer that `settings` describe; raises ConfigurationError."""
    module = import_module(f"{__name__}.{settings.kind.value.replace('-', '_')}")
    issuer: CertificateIssuer = module.build(settings, surroundings)
    return issuer
