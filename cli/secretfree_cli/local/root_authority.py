"""The local cloud's root CA, created through Private CA's API as on AWS."""

from __future__ import annotations

import time
from typing import Any

from secretfree_cli.output import CliError

ROOT_TEMPLATE = "arn:aws:acm-pca:::template/RootCACertificate/V1"
ROOT_NAME = "Local device root"
ROOT_VALIDITY_YEARS = 10
_SIGNING_ALGORITHM = "SHA256WITHECDSA"
_ISSUANCE_SECONDS = 60.0
_TAG = {"Key": "secretfree:made-by", "Value": "secretfree local up"}


def ensure_root_authority(private_ca: Any) -> tuple[str, str]:
    """Return the ARN and the certificate (PEM) of the active root CA; create it if it is missing.

    `private_ca` is a boto3 client of acm-pca. The CA is EC P-256, general purpose.
    """
    arn = _existing(private_ca) or _create(private_ca)
    return arn, private_ca.get_certificate_authority_certificate(CertificateAuthorityArn=arn)["Certificate"]


def _existing(private_ca: Any) -> str | None:
    for page in private_ca.get_paginator("list_certificate_authorities").paginate():
        for authority in page["CertificateAuthorities"]:
            subject = authority["CertificateAuthorityConfiguration"]["Subject"]
            if authority["Status"] == "ACTIVE" and subject.get("CommonName") == ROOT_NAME:
                return str(authority["Arn"])
    return None


def _create(private_ca: Any) -> str:
    arn = private_ca.create_certificate_authority(
        CertificateAuthorityType="ROOT",
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": _SIGNING_ALGORITHM,
            "Subject": {"CommonName": ROOT_NAME},
        },
        UsageMode="GENERAL_PURPOSE",
        Tags=[_TAG],
    )["CertificateAuthorityArn"]
    csr = private_ca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    certificate_arn = private_ca.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=csr.encode(),
        SigningAlgorithm=_SIGNING_ALGORITHM,
        TemplateArn=ROOT_TEMPLATE,
        Validity={"Type": "YEARS", "Value": ROOT_VALIDITY_YEARS},
    )["CertificateArn"]
    private_ca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=_await_certificate(private_ca, arn, certificate_arn).encode()
    )
    return str(arn)


def _await_certificate(private_ca: Any, arn: str, certificate_arn: str) -> str:
    deadline = time.monotonic() + _ISSUANCE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = private_ca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=certificate_arn)
        except private_ca.exceptions.RequestInProgressException:
            time.sleep(0.05)
        else:
            return str(answer["Certificate"])
    raise CliError(
        f"the root CA's certificate was not issued within {_ISSUANCE_SECONDS:.0f} s",
        hint="is SECRETFREE_PRIVATE_CA_ISSUANCE_SECONDS set that high?",
    )
