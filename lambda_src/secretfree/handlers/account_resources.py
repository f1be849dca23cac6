"""CloudFormation custom resources: the IoT data endpoint, registered CAs, and the streams of replicas."""

import os
from typing import Any, Final

from secretfree.adapters import clients
from secretfree.adapters.ca_registration import CaRegistration, CaRegistrationRequest, owner_of
from secretfree.adapters.cloudformation import Answer, respond
from secretfree.contract import LogLevel, Variable
from secretfree.contract_of_deployment import AccountResource, EndpointAttribute, RegistrationProperty, StreamProperty
from secretfree.handlers.entry import begin_collecting
from secretfree.telemetry import Telemetry

_telemetry: Final = Telemetry(os.environ.get(Variable.PRODUCT, "unknown"))
begin_collecting()


def handler(event: dict[str, Any], context: Any) -> None:
    """Handle CloudFormation's request and answer always: without an answer, the stack waits for an hour."""
    _telemetry.log("asked", request_type=event["RequestType"], resource_type=event["ResourceType"])
    try:
        answer = _RESOURCES[event["ResourceType"]](event)
    except Exception as error:  # noqa: BLE001 - every failure must reach CloudFormation
        _telemetry.log("failed", level=LogLevel.ERROR, error_type=type(error).__name__, detail=str(error))
        answer = Answer.failed(event, f"{type(error).__name__}: {error}")
    respond(event, answer, log_stream=getattr(context, "log_stream_name", "unknown"))


def _data_endpoint(event: dict[str, Any]) -> Answer:
    """`IOT_DATA_ENDPOINT`: DescribeEndpoint is limited to a few calls a second, so deploy time looks it up."""
    if event["RequestType"] == "Delete":
        return Answer(physical_id=event["PhysicalResourceId"])
    address = clients.iot().describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    return Answer(physical_id=address, attributes={EndpointAttribute.ADDRESS: address})


def _ca_registration(event: dict[str, Any]) -> Answer:
    """`IOT_CA_REGISTRATION`."""
    properties = event["ResourceProperties"]
    authority = clients.acm_pca(properties.get(RegistrationProperty.AUTHORITY_ARN))
    registration = CaRegistration(clients.iot(), authority)
    if event["RequestType"] == "Delete":
        registration.remove(event["PhysicalResourceId"])
        return Answer(physical_id=event["PhysicalResourceId"])
    registered = registration.ensure(
        CaRegistrationRequest.from_properties(properties, owner=owner_of(event["StackId"], event["LogicalResourceId"])),
        previous_physical_id=event.get("PhysicalResourceId"),
    )
    _telemetry.log("CA registered", ca_certificate_id=registered.certificate_id)
    return Answer(
        physical_id=registered.physical_id,
        # The PEM is left out: CloudFormation accepts answers of up to 4,096 bytes.
        attributes={"CaCertificateId": registered.certificate_id},
    )


def _table_stream(event: dict[str, Any]) -> Answer:
    """`TABLE_STREAM`: the stream of a global table's replica. CloudFormation returns only that of the first Region."""
    table = event["ResourceProperties"][StreamProperty.TABLE_NAME]
    physical_id = f"stream/{table}"
    if event["RequestType"] == "Delete":
        return Answer(physical_id=event["PhysicalResourceId"])
    described = clients.dynamodb().describe_table(TableName=table)["Table"]
    return Answer(physical_id=physical_id, attributes={StreamProperty.STREAM_ARN: described["LatestStreamArn"]})


_RESOURCES: Final = {
    AccountResource.IOT_DATA_ENDPOINT: _data_endpoint,
    AccountResource.IOT_CA_REGISTRATION: _ca_registration,
    AccountResource.TABLE_STREAM: _table_stream,
}
