"""A local cloud of two Regions: two emulators of their own, global tables between them, and the loss of one."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.cloud import bring_down, bring_up, set_replication_lag, start_region, stop_region
from secretfree_cli.local.commands import local
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.output import CliError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("regions")]  # one process has the cloud for all of them

FIRST, SECOND = "us-east-1", "eu-west-1"
TABLE = "devices"
PATIENCE_SECONDS = 15.0
TEMPLATE = {
    "Resources": {
        "Table": {
            "Type": "AWS::DynamoDB::GlobalTable",
            "Properties": {
                "TableName": TABLE,
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "AttributeDefinitions": [
                    {"AttributeName": "id", "AttributeType": "S"},
                    {"AttributeName": "batch", "AttributeType": "S"},
                ],
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": "by-batch",
                        "KeySchema": [{"AttributeName": "batch", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                ],
                "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
                "Replicas": [{"Region": FIRST}, {"Region": SECOND}],
            },
        }
    }
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> StateFolder:
    return StateFolder(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def cloud(folder) -> Iterator[dict[str, CloudRecord]]:
    bring_up(folder, wanted=(FIRST, SECOND))
    records = {region: folder.of_region(region).require_up() for region in (FIRST, SECOND)}
    formation = local_client(records[FIRST], "cloudformation")
    formation.create_stack(StackName="tables", TemplateBody=json.dumps(TEMPLATE))
    formation.get_waiter("stack_create_complete").wait(StackName="tables", WaiterConfig={"Delay": 1})
    yield records
    bring_down(folder)


@pytest.fixture
def put(cloud) -> Callable[..., None]:
    def put_item(region: str, name: str, **attributes: str) -> None:
        item = {"id": {"S": name}, **{key: {"S": value} for key, value in attributes.items()}}
        local_client(cloud[region], "dynamodb").put_item(TableName=TABLE, Item=item)

    return put_item


@pytest.fixture
def get(cloud) -> Callable[..., Any]:
    def get_item(region: str, name: str) -> Any:
        answer = local_client(cloud[region], "dynamodb").get_item(
            TableName=TABLE, Key={"id": {"S": name}}, ConsistentRead=True
        )
        return {key: value["S"] for key, value in answer["Item"].items()} if "Item" in answer else None

    return get_item


@pytest.fixture
def run(folder, monkeypatch) -> Callable[..., Any]:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(folder.project))
    return lambda *arguments: CliRunner().invoke(local, arguments)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def stream_of(record: CloudRecord) -> list[str]:
    """The names of the events in the table's stream."""
    streams = local_client(record, "dynamodbstreams")
    arn = local_client(record, "dynamodb").describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    records = streams.get_records(ShardIterator=iterator)["Records"]
    return [f"{record['eventName']} {record['dynamodb']['Keys']['id']['S']}" for record in records]


def test_cloudformation_makes_the_replica_with_its_index_and_a_stream_of_its_own(cloud):
    described = {
        region: local_client(record, "dynamodb").describe_table(TableName=TABLE)["Table"]
        for region, record in cloud.items()
    }
    assert [replica["RegionName"] for replica in described[FIRST]["Replicas"]] == [SECOND]
    assert [replica["RegionName"] for replica in described[SECOND]["Replicas"]] == [FIRST]
    assert f":{SECOND}:" in described[SECOND]["LatestStreamArn"]
    assert [index["IndexName"] for index in described[SECOND]["GlobalSecondaryIndexes"]] == ["by-batch"]


@pytest.mark.parametrize(("here", "there"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_a_write_arrives_in_the_other_region_and_in_its_stream_once(cloud, put, get, here, there):
    name = f"from-{here}"
    put(here, name, batch="one")
    until(lambda: get(there, name) == {"id": name, "batch": "one"})
    local_client(cloud[here], "dynamodb").delete_item(TableName=TABLE, Key={"id": {"S": name}})
    until(lambda: get(there, name) is None)
    for record in cloud.values():
        events = [event for event in stream_of(record) if event.endswith(name)]
        assert events == [f"INSERT {name}", f"REMOVE {name}"]


def test_the_last_writer_of_an_item_wins_in_both_regions_after_the_lag_that_is_set(folder, put, get, run):
    assert run("replication-lag", "1.5").exit_code == 0
    try:
        put(FIRST, "contested", batch="first")
        put(SECOND, "contested", batch="second")
        assert get(FIRST, "contested")["batch"] == "first"
        until(lambda: get(FIRST, "contested")["batch"] == "second")
    finally:
        set_replication_lag(folder, 0)
    assert get(SECOND, "contested")["batch"] == "second"


def test_a_call_for_a_ca_of_the_other_region_reaches_it(cloud):
    authority = cloud[FIRST].authority_arn
    here = local_client(cloud[SECOND], "acm-pca")
    with pytest.raises(ClientError):
        here.describe_certificate_authority(CertificateAuthorityArn=authority)
    there = local_client(
        CloudRecord(**{**vars(cloud[SECOND]), "region": FIRST}), "acm-pca"
    )  # as a Lambda of the second Region with a client of the ARN's Region
    assert there.describe_certificate_authority(CertificateAuthorityArn=authority)["CertificateAuthority"]["Arn"]


def test_a_table_with_a_replica_in_an_unknown_region_fails_its_stack(cloud):
    formation = local_client(cloud[FIRST], "cloudformation")
    template = json.loads(json.dumps(TEMPLATE).replace(SECOND, "ap-south-1").replace(TABLE, "elsewhere"))
    formation.create_stack(StackName="elsewhere", TemplateBody=json.dumps(template))
    until(lambda: "ROLLBACK" in formation.describe_stacks(StackName="elsewhere")["Stacks"][0]["StackStatus"])


def test_a_second_up_of_other_regions_is_refused(cloud, folder):
    with pytest.raises(CliError, match="a local cloud of us-east-1, eu-west-1 is up"):
        bring_up(folder, wanted=(FIRST,))


def test_a_region_that_was_stopped_gets_what_it_missed_and_delivers_what_it_owes(cloud, folder, put, get, run):
    put(FIRST, "before")
    until(lambda: get(SECOND, "before") is not None)
    set_replication_lag(folder, 1)
    put(FIRST, "owed")
    assert stop_region(folder, FIRST)
    set_replication_lag(folder, 0)
    address = urlsplit(cloud[FIRST].endpoint_url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port))
    put(SECOND, "meanwhile")
    document = json.loads(run("status", "--json").stdout)
    assert [(one["region"], one["up"]) for one in document["regions"]] == [(FIRST, False), (SECOND, True)]

    start_region(folder, FIRST)
    until(lambda: get(FIRST, "meanwhile") is not None)
    until(lambda: get(SECOND, "owed") is not None)
    assert get(FIRST, "before") is not None
    document = json.loads(run("status", "--json").stdout)
    assert [one["up"] for one in document["regions"]] == [True, True]
    assert document["endpointUrl"] == cloud[FIRST].endpoint_url
