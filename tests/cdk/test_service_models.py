"""What is left of botocore's data: the same requests to the same places, in less to read."""

import gzip
import json
import shutil
from pathlib import Path

import botocore
import botocore.session
import pytest
from botocore.loaders import Loader
from cdk_iot_secretfree.service_models import AWS_SERVICES, reduce_to_called_services

REGIONS = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "eu-north-9")
WHOLE = Path(botocore.__file__).parent / "data"


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    data = directory / "botocore" / "data"
    data.mkdir(parents=True)
    for file in WHOLE.glob("*.json*"):
        shutil.copyfile(file, data / file.name)
    for service in (*AWS_SERVICES, "kms"):
        shutil.copytree(WHOLE / service, data / service)
    reduce_to_called_services(directory)
    return data


def client(data: Path, service: str, region: str):
    session = botocore.session.get_session()
    session.register_component("data_loader", Loader([str(data)], include_default_search_paths=False))
    return session.create_client(service, region, aws_access_key_id="id", aws_secret_access_key="secret")


def without_documentation(value):
    if isinstance(value, dict):
        return {k: without_documentation(v) for k, v in value.items() if k != "documentation" or isinstance(v, dict)}
    return [without_documentation(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("service", sorted(AWS_SERVICES))
def test_the_model_is_the_whole_one_less_its_prose(reduced: Path, service: str) -> None:
    (file,) = sorted(reduced.glob(f"{service}/*/service-2.json.gz"))[-1:]
    left = json.loads(gzip.decompress(file.read_bytes()))
    whole = json.loads(gzip.decompress((WHOLE / file.relative_to(reduced)).read_bytes()))
    assert left == without_documentation(whole)
    assert left != whole


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
        assert set(partition["services"]) <= AWS_SERVICES


def test_the_bytes_do_not_depend_on_when_they_were_made(reduced: Path, tmp_path: Path) -> None:
    shutil.copytree(reduced, tmp_path / "botocore" / "data")
    (file,) = reduced.glob("iot/*/service-2.json.gz")
    reduce_to_called_services(tmp_path)
    assert (tmp_path / "botocore" / "data" / file.relative_to(reduced)).read_bytes() == file.read_bytes()


def test_a_member_called_documentation_stays(tmp_path: Path) -> None:
    model = tmp_path / "botocore" / "data" / "iot" / "2015-05-28" / "service-2.json"
    model.parent.mkdir(parents=True)
    member = {"members": {"documentation": {"shape": "Text", "documentation": "<p>prose</p>"}}}
    model.write_text(json.dumps({"shapes": {"Package": member}, "documentation": "<p>prose</p>"}))
    reduce_to_called_services(tmp_path)
    assert json.loads(model.read_text()) == {"shapes": {"Package": {"members": {"documentation": {"shape": "Text"}}}}}
