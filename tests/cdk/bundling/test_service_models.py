"""What is left of botocore's data: the same requests to the same places, in less to read."""

import ast
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
from botocore import xform_name
from botocore.loaders import Loader
from cdk_iot_secretfree.bundling.bundle import runtime_source
from cdk_iot_secretfree.bundling.service_models import AWS_SERVICES, CALLED_OPERATIONS, reduce_to_called_operations

REGIONS = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "eu-north-9")
WHOLE = Path(botocore.__file__).parent / "data"
CALLED_BY_BOTOCORE = {"s3": {"HeadBucket"}, "sts": {"AssumeRole", "AssumeRoleWithWebIdentity"}}


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    data = directory / "botocore" / "data"
    data.mkdir(parents=True)
    for file in WHOLE.glob("*.json*"):
        shutil.copyfile(file, data / file.name)
    for service in (*AWS_SERVICES, "kms"):
        shutil.copytree(WHOLE / service, data / service)
    reduce_to_called_operations(directory)
    return data


def client(data: Path, service: str, region: str):
    session = botocore.session.get_session()
    session.register_component("data_loader", Loader([str(data)], include_default_search_paths=False))
    return session.create_client(service, region, aws_access_key_id="id", aws_secret_access_key="secret")


class SentError(Exception):
    """The request is as far as it would go."""


def prose(model) -> int:
    """How many texts called documentation there are in a part of a model."""
    if isinstance(model, dict):
        own = isinstance(model.get("documentation"), str)
        return own + sum(map(prose, model.values()))
    return sum(map(prose, model)) if isinstance(model, list) else 0


def models(reduced: Path, service: str) -> tuple[Any, Any]:
    """The newest model of a service, reduced and whole."""
    (file,) = sorted(reduced.glob(f"{service}/*/service-2.json.gz"))[-1:]
    left, whole = (gzip.decompress((data / file.relative_to(reduced)).read_bytes()) for data in (reduced, WHOLE))
    return json.loads(left), json.loads(whole)


@pytest.mark.parametrize("service", sorted(AWS_SERVICES))
def test_the_called_operations_are_left_without_prose_and_all_else_as_it_was(reduced: Path, service: str) -> None:
    left, whole = models(reduced, service)
    pruned = {"operations", "shapes"}
    assert {name: left[name] for name in left.keys() - pruned} == {name: whole[name] for name in whole.keys() - pruned}
    assert left["operations"].keys() == CALLED_OPERATIONS[service]
    for name in pruned:
        assert prose(left[name]) == 0 < prose(whole[name])


@pytest.mark.parametrize("service", sorted(AWS_SERVICES))
def test_a_called_operation_has_all_its_shapes_and_every_error_that_the_service_may_answer(
    reduced: Path, service: str
) -> None:
    left, whole = models(reduced, service)
    errors = {name for name, shape in whole["shapes"].items() if shape.get("exception")}
    assert errors <= left["shapes"].keys()
    for part in (left["operations"], left["shapes"]):
        assert set(re.findall(r'"shape": ?"(\w+)"', json.dumps(part))) <= left["shapes"].keys()
    for name, shape in left["shapes"].items():
        assert shape.get("members", {}).keys() == whole["shapes"][name].get("members", {}).keys()


def test_the_operations_that_the_runtime_s_code_names_are_left() -> None:
    """An attribute with the name of a client's method counts as a call."""
    named: set[str] = set()
    for file in runtime_source().rglob("*.py"):
        named |= {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    loader = Loader()
    for service, called in CALLED_OPERATIONS.items():
        offered = loader.load_service_model(service, "service-2")["operations"]
        by_method = {xform_name(name): name for name in offered}
        own = {by_method[method] for method in named & by_method.keys()}
        assert own == called - CALLED_BY_BOTOCORE.get(service, set()), service


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("acm-pca", "get_certificate", {"CertificateAuthorityArn": "arn:aws:a", "CertificateArn": "arn:aws:b"}),
        ("dynamodb", "get_item", {"TableName": "table", "Key": {"device-id": {"S": "a"}}}),
        ("iot", "describe_thing", {"thingName": "a"}),
        ("iot-data", "delete_connection", {"clientId": "a", "cleanSession": True}),
        ("s3", "get_object", {"Bucket": "bucket", "Key": "key"}),
        ("sts", "assume_role", {"RoleArn": "arn:aws:iam::111122223333:role/a", "RoleSessionName": "name"}),
    ],
)
def test_a_call_is_put_together_as_from_the_whole_model(reduced: Path, service: str, call: str, arguments) -> None:
    sent = []

    def stop(request: Any, **_: Any) -> None:
        sent.append(request)
        raise SentError

    for data in (reduced, WHOLE):
        caller = client(data, service, "eu-central-1")
        caller.meta.events.register("before-send.*.*", stop)
        with pytest.raises(SentError):
            getattr(caller, call)(**arguments)
    left, whole = sent
    assert (left.method, left.url, left.body) == (whole.method, whole.url, whole.body)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("service", sorted(AWS_SERVICES))
def test_a_client_talks_to_the_same_endpoint(reduced: Path, service: str, region: str) -> None:
    left, whole = client(reduced, service, region), client(WHOLE, service, region)
    assert left.meta.endpoint_url == whole.meta.endpoint_url
    assert left.meta.partition == whole.meta.partition
    assert left.meta.config.signature_version == whole.meta.config.signature_version


def test_other_services_leave_neither_model_nor_endpoint(reduced: Path) -> None:
    assert {folder.name for folder in reduced.glob("*/")} == AWS_SERVICES
    for partition in json.loads((reduced / "endpoints.json").read_text())["partitions"]:
        assert set(partition["services"]) <= AWS_SERVICES | {"data-ats.iot"}


def test_the_bytes_do_not_depend_on_when_they_were_made(reduced: Path, tmp_path: Path) -> None:
    shutil.copytree(reduced, tmp_path / "botocore" / "data")
    (file,) = reduced.glob("iot/*/service-2.json.gz")
    reduce_to_called_operations(tmp_path)
    assert (tmp_path / "botocore" / "data" / file.relative_to(reduced)).read_bytes() == file.read_bytes()


def test_a_member_called_documentation_stays(tmp_path: Path) -> None:
    model = tmp_path / "botocore" / "data" / "iot" / "2015-05-28" / "service-2.json"
    model.parent.mkdir(parents=True)
    member = {"members": {"documentation": {"shape": "Text", "documentation": "<p>prose</p>"}}}
    model.write_text(
        json.dumps(
            {
                "operations": {"DescribeThing": {"output": {"shape": "Package"}}},
                "shapes": {"Package": member, "Text": {"type": "string"}},
                "clientContextParams": {"documentation": "kept"},
            }
        )
    )
    reduce_to_called_operations(tmp_path)
    assert json.loads(model.read_text()) == {
        "operations": {"DescribeThing": {"output": {"shape": "Package"}}},
        "shapes": {"Package": {"members": {"documentation": {"shape": "Text"}}}, "Text": {"type": "string"}},
        "clientContextParams": {"documentation": "kept"},
    }
