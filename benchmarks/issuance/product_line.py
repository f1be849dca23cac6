"""What the construct deploys, as far as the handlers need it: tables, a CA, devices and the functions' environments."""

from __future__ import annotations

import base64
import json
from typing import Any

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from secretfree.contract import IssuerKind, IssuerSetting, MatchPolicy, RegistryIndex, Variable
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.request.device_profile import DeviceProfile

REGION = "us-east-1"
REGISTRY, LEDGER = "registry", "ledger"
_TEMPLATE = "arn:aws:acm-pca:::template/{}/V1"
DEVICE_TEMPLATE = _TEMPLATE.format("EndEntityClientAuthCertificate_APIPassthrough")


class ProductLine:
    """A product line on the emulator of AWS, whose address boto3 takes from the environment."""

    def __init__(self) -> None:
        _make_tables()
        self.authority = _make_authority()
        iot = boto3.client("iot")
        iot.create_thing_type(thingTypeName="widget")
        iot.create_policy(policyName="widget", policyDocument='{"Version":"2012-10-17","Statement":[]}')

    @staticmethod
    def enrol(device: str) -> dict[str, Any]:
        """Enrol a device and return the event of its request, as both handlers get it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        der = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(subject)
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        csr = verify(UnverifiedCsr.from_der(der), DeviceProfile.STANDARD)
        boto3.client("dynamodb").put_item(
            TableName=REGISTRY,
            Item={
                "device-id": {"S": device},
                "pubkey": {"S": csr.public_key.registry_text()},
                "key-fingerprint": {"S": csr.public_key.fingerprint},
            },
        )
        return {
            "device": device,
            "type": "REQUEST",
            "methodArn": "arn:aws:execute-api:us-east-1:123456789012:api/prod/POST/new",
            "multiValueHeaders": {"device-csr": [base64.b64encode(csr.pem().encode()).decode()]},
            "requestContext": {
                "requestId": "benchmark",
                "authorizer": {
                    "deviceId": device,
                    "keyFingerprint": csr.public_key.fingerprint,
                    "csrDigest": csr.digest,
                },
            },
        }

    @staticmethod
    def authorizer_environment() -> dict[Variable, str]:
        """The environment of the authorizer's function."""
        return {
            Variable.PRODUCT: "widget",
            Variable.DEVICE_PROFILE: DeviceProfile.STANDARD.value,
            Variable.REGISTRY_TABLE: REGISTRY,
            Variable.REGISTRY_KEY_INDEX: RegistryIndex.KEY.value,
            Variable.MATCH_POLICY: MatchPolicy.UDID_AND_PUBLIC_KEY.value,
        }

    def issuer_environment(self, issuer: IssuerKind) -> dict[Variable, str]:
        """The environment of the function of the issuer that is named like its kind."""
        return {
            Variable.PRODUCT: "widget",
            Variable.DEVICE_PROFILE: DeviceProfile.STANDARD.value,
            Variable.MATCH_POLICY: MatchPolicy.UDID_AND_PUBLIC_KEY.value,
            Variable.REGISTRY_TABLE: REGISTRY,
            Variable.LEDGER_TABLE: LEDGER,
            Variable.DEPLOYMENT: f"arn:aws:dynamodb:{REGION}:111122223333:table/{LEDGER}",
            Variable.POLICY_NAME: "widget",
            Variable.THING_TYPE: "widget",
            Variable.THING_GROUPS: "[]",
            Variable.THING_ATTRIBUTES: "{}",
            Variable.IOT_ENDPOINT: "endpoint.example",
            Variable.SUBJECT: "{}",
            Variable.RENEWAL_WINDOW_HOURS: "720",
            Variable.ISSUANCE_RATE: "10",
            Variable.ISSUER: issuer.value,
            Variable.ISSUERS: json.dumps({issuer.value: self._settings(issuer)}),
        }

    def _settings(self, issuer: IssuerKind) -> dict[IssuerSetting, str]:
        if issuer is IssuerKind.IOT_CORE:
            return {IssuerSetting.KIND: issuer.value}
        return {
            IssuerSetting.KIND: issuer.value,
            IssuerSetting.AUTHORITY_ARN: self.authority,
            IssuerSetting.SIGNING_ALGORITHM: "SHA256WITHECDSA",
            IssuerSetting.TEMPLATE_ARN: DEVICE_TEMPLATE,
            IssuerSetting.VALIDITY_DAYS: "365",
            IssuerSetting.REGISTERED: "false",
        }


def _make_tables() -> None:
    dynamodb = boto3.client("dynamodb")
    for table, keys in ((REGISTRY, ("device-id",)), (LEDGER, ("device-id", "record"))):
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        )


def _make_authority() -> str:
    """Make an active root CA and return its ARN."""
    client = boto3.client("acm-pca")
    arn: str = client.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "Benchmark"},
        },
        CertificateAuthorityType="ROOT",
    )["CertificateAuthorityArn"]
    request = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    root = client.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=request.encode(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn=_TEMPLATE.format("RootCACertificate"),
        Validity={"Type": "DAYS", "Value": 3650},
    )["CertificateArn"]
    pem = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)["Certificate"]
    client.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=pem.encode())
    return arn
