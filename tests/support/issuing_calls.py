"""The AWS calls of one issuance, in their order, by issuer."""

from secretfree.contract import IssuerKind

CALLS = {
    IssuerKind.PRIVATE_CA: (
        "PutItem",
        "IssueCertificate",
        "CreateThing",
        "PutItem",
        "GetCertificate",
        "PutItem",
        "RegisterCertificate",
        "AttachPolicy",
        "AttachThingPrincipal",
        "TransactWriteItems",
    ),
    IssuerKind.IOT_CORE: (
        "PutItem",
        "CreateCertificateFromCsr",
        "CreateThing",
        "PutItem",
        "AttachPolicy",
        "AttachThingPrincipal",
        "UpdateCertificate",
        "TransactWriteItems",
    ),
}
