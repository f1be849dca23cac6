"""The AWS calls of one issuance, in their order, by issuer."""

from secretfree.contract import IssuerKind

CALLS = {
    IssuerKind.PRIVATE_CA: (
        "GetItem",
        "PutItem",
        "IssueCertificate",
        "GetItem",
        "CreateThing",
        "PutItem",
        "GetCertificate",
        "PutItem",
        "RegisterCertificate",
        "AttachPolicy",
        "AttachThingPrincipal",
        "GetItem",  # the CA's chain: the first certificate of a new worker
        "PutItem",
        "TransactWriteItems",
    ),
    IssuerKind.IOT_CORE: (
        "GetItem",
        "PutItem",
        "CreateCertificateFromCsr",
        "GetItem",
        "CreateThing",
        "PutItem",
        "AttachPolicy",
        "AttachThingPrincipal",
        "UpdateCertificate",
        "TransactWriteItems",
    ),
}
