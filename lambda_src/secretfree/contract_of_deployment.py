"""The part of the contract that is used at deploy time: the custom resources of the account function.

The construct writes the names into a template, and the function reads them there. Standard library only.
"""

from enum import StrEnum


class AccountResource(StrEnum):
    """A custom resource of the function that looks up and registers, at deploy time, what CloudFormation cannot."""

    IOT_DATA_ENDPOINT = "Custom::IotDataEndpoint"
    IOT_CA_REGISTRATION = "Custom::IotCaRegistration"
    TABLE_STREAM = "Custom::TableStream"


class EndpointAttribute(StrEnum):
    """An attribute of `AccountResource.IOT_DATA_ENDPOINT`."""

    ADDRESS = "EndpointAddress"


class StreamProperty(StrEnum):
    """A property of `AccountResource.TABLE_STREAM`, and its attribute."""

    TABLE_NAME = "TableName"
    STREAM_ARN = "StreamArn"


class RegistrationProperty(StrEnum):
    """A property of `AccountResource.IOT_CA_REGISTRATION`."""

    AUTHORITY_ARN = "CertificateAuthorityArn"
    MODE = "Mode"
    SIGNING_ALGORITHM = "SigningAlgorithm"
    TEMPLATE_ARN = "TemplateArn"
    REVISION = "Revision"
