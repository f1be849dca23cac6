"""The logical ids of what holds data, or is known outside the stack: another id is another resource, an empty one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cdk.conftest import Synthesised

HELD = Path(__file__).with_name("snapshots") / "stateful-resources.json"
STATEFUL = {
    "AWS::ACMPCA::Certificate",
    "AWS::ACMPCA::CertificateAuthority",
    "AWS::ACMPCA::CertificateAuthorityActivation",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::DynamoDB::GlobalTable",
    "AWS::IoT::Policy",
    "AWS::IoT::ThingType",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::StepFunctions::StateMachine",
    "Custom::IotCaRegistration",
    "Custom::IotDataEndpoint",
}
VARIANTS = {"plain": {}, "importing": {"manifest_import": "true"}}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_stateful_resource_of_the_sample_changes_its_logical_id(
    variant: str, sample_with: Callable[..., Synthesised]
) -> None:
    """The file is written by hand: a line may come with a new resource, and none may go or change."""
    made = sample_with(**VARIANTS[variant])
    found = {name: resource["Type"] for name, resource in made.resources.items() if resource["Type"] in STATEFUL}
    assert found == json.loads(HELD.read_text())[variant]
