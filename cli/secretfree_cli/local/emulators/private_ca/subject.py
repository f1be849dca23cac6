"""ASN1Subject, the API's form of a distinguished name, as an X.509 name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError, ValidationError

# Member, attribute type, greatest length: acm-pca API reference, ASN1Subject.
_ATTRIBUTES = (
    ("Country", NameOID.COUNTRY_NAME, 2),
    ("State", NameOID.STATE_OR_PROVINCE_NAME, 128),
    ("Locality", NameOID.LOCALITY_NAME, 128),
    ("Organization", NameOID.ORGANIZATION_NAME, 64),
    ("OrganizationalUnit", NameOID.ORGANIZATIONAL_UNIT_NAME, 64),
    ("DistinguishedNameQualifier", NameOID.DN_QUALIFIER, 64),
    ("CommonName", NameOID.COMMON_NAME, 64),
    ("SerialNumber", NameOID.SERIAL_NUMBER, 64),
    ("Title", NameOID.TITLE, 64),
    ("Surname", NameOID.SURNAME, 40),
    ("GivenName", NameOID.GIVEN_NAME, 16),
    ("Initials", NameOID.INITIALS, 5),
    ("Pseudonym", NameOID.PSEUDONYM, 128),
    ("GenerationQualifier", NameOID.GENERATION_QUALIFIER, 3),
)
_MEMBERS = frozenset(member for member, _, _ in _ATTRIBUTES)


def x509_name(subject: Mapping[str, Any]) -> x509.Name:
    """Return the name; `CustomAttributes` exclude every standard member, as on AWS.

    Raises: ValidationError for a value that is too long or of a wrong form, InvalidArgsError for an unknown member.
    """
    custom = subject.get("CustomAttributes")
    unknown = sorted(set(subject) - _MEMBERS - {"CustomAttributes"})
    if unknown:
        raise InvalidArgsError(f"Unknown member of ASN1Subject: {', '.join(unknown)}")
    if custom:
        if len(subject) > 1:
            raise InvalidArgsError("CustomAttributes cannot be used along with standard attributes")
        return x509.Name(
            [x509.NameAttribute(x509.ObjectIdentifier(item["ObjectIdentifier"]), item["Value"]) for item in custom]
        )
    attributes = []
    for member, oid, longest in _ATTRIBUTES:
        value = subject.get(member)
        if value is None:
            continue
        if len(value) > longest:
            raise ValidationError(f"Subject.{member} must have length less than or equal to {longest}")
        if member == "Country" and not re.fullmatch("[A-Za-z]{2}", value):
            raise ValidationError("Subject.Country must be two letters")
        if value:
            attributes.append(x509.NameAttribute(oid, value))
    return x509.Name(attributes)
