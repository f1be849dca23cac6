"""The function of ManifestImport: opening, importing and closing a manifest, as the state machine calls it."""

import io
import json
from collections.abc import Iterator
from importlib import import_module, reload
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws
from secretfree.adapters import clients, manifest_bucket
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.manifest_bucket import ManifestBucket
from secretfree.config.environment import ConfigurationError
from secretfree.config.manifest_import import ImportConfig
from secretfree.contract import Variable
from secretfree.registry.batch import BatchState
from secretfree.registry.manifest_steps import ManifestObject, ManifestRefused
from secretfree.registry.store import find_batch, save_batch
from secretfree.request.keys import DevicePublicKey
from support.environments import import_environment
from support.tables import REGISTRY_TABLE

BUCKET, TABLE = "manifests-of-widget", REGISTRY_TABLE["TableName"]
ENVIRONMENT = import_environment({Variable.IMPORT_BUCKET: BUCKET})
KEYS = [
    DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()).registry_text() for _ in range(3)
]
CSV = f"device-id,public-key\r\npump-1,{KEYS[0]}\r\npump-2,{KEYS[1]}\r\n".encode()


class Import:
    """The bucket, the table and the handler; `drop` returns the execution's state as the S3 event starts it."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.s3 = boto3.client("s3")
        self.store = DynamoDbRegistryStore.of(boto3.client("dynamodb"), TABLE)

    def drop(self, body: bytes, key: str = "manifests/lot.csv") -> dict[str, Any]:
        put = self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        described = {"key": key, "etag": put["ETag"].strip('"'), "version-id": put["VersionId"], "size": len(body)}
        detail = {"bucket": {"name": BUCKET}, "object": described}
        return {"event": {"detail": detail, "time": "2026-03-01T12:00:00Z"}, "execution": "arn:execution:1"}

    def open(self, execution: dict[str, Any]) -> dict[str, Any]:
        return self.call({"open": execution})

    def close(self, execution: dict[str, Any], **state: Any) -> dict[str, Any]:
        return self.call({"close": {**execution, **state}})

    def rows(self, opened: dict[str, Any], fields: list[Any]) -> dict[str, Any]:
        items = [
            {"batch": opened["batch"], "source": opened["format"], "row": row, "fields": field}
            for row, field in enumerate(fields)
        ]
        return self.call({"Items": items})

    def call(self, event: dict[str, Any]) -> dict[str, Any]:
        # What Lambda hands on is JSON.
        answer: dict[str, Any] = json.loads(json.dumps(self.handler(json.loads(json.dumps(event)), None)))
        return answer

    def written(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        boto3.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        boto3.client("dynamodb").create_table(**REGISTRY_TABLE)
        clients.client.cache_clear()
        yield Import(reload(import_module("secretfree.handlers.manifest_import")).handler)
        clients.client.cache_clear()


def test_a_manifest_is_opened_imported_and_closed_with_its_account(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    assert opened["key"] == "manifests/lot.csv"
    assert opened["format"] == "csv"
    child = cloud.rows(
        opened,
        [
            {"device-id": "pump-1", "public-key": KEYS[0]},
            {"device-id": "pump-2", "public-key": KEYS[1]},
            {"device-id": "pump 3", "public-key": KEYS[2]},
        ],
    )
    account = cloud.close(execution, manifest=opened, result=[child])
    assert account["status"] == "COMPLETE"
    assert {name: account[name] for name in ("rows", "enrolled", "unchanged", "indexed", "refused")} == {
        "rows": 3,
        "enrolled": 2,
        "unchanged": 0,
        "indexed": 0,
        "refused": 1,
    }
    prefix = f"results/{opened['batch']}/"
    assert json.loads(cloud.written(f"{prefix}summary.json")) == account
    (refused,) = cloud.written(f"{prefix}refused.jsonl").splitlines()
    assert json.loads(refused)["row"] == 3
    assert json.loads(refused)["reason"] == "device-id"


def test_the_batch_is_recorded_with_the_file_that_it_came_from(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    begun = find_batch(cloud.store, opened["batch"])
    assert begun is not None
    assert begun.state is BatchState.IMPORTING
    assert begun.enrolled_by == "arn:execution:1"
    assert begun.files[0].name == "lot.csv"
    assert begun.files[0].sha256 == opened["sha256"]
    cloud.close(execution, manifest=opened, result=[{"counts": {"enrolled": 2}, "refused": []}])
    closed = find_batch(cloud.store, opened["batch"])
    assert closed is not None
    assert closed.state is BatchState.COMPLETE
    assert closed.counts == {"enrolled": 2}
    assert closed.started_at == begun.started_at


def test_the_same_upload_is_the_same_batch_again_and_another_upload_another(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    first = cloud.open(execution)
    assert cloud.open(execution) == first
    assert cloud.open(cloud.drop(CSV))["batch"] != first["batch"]


def test_one_item_without_a_batch_around_it_is_imported_too(cloud: Import) -> None:
    fields = {"device-id": "pump-1", "public-key": KEYS[0]}
    child = cloud.call({"batch": "b", "source": "csv", "row": 0, "fields": fields})
    assert {name: child[name] for name in ("counts", "refused")} == {"counts": {"enrolled": 1}, "refused": []}


def test_doubtful_ids_are_warned_about_in_the_summary(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    ids = ["pump-1", "Mar-01", "pump-22"]
    child = cloud.rows(opened, [{"device-id": name, "public-key": key} for name, key in zip(ids, KEYS, strict=True)])
    account = cloud.close(execution, manifest=opened, result=[child])
    assert account["enrolled"] == 3
    assert [(one["warning"], one["count"], one["examples"]) for one in account["warnings"]] == [
        ("spreadsheet-damage", 1, [{"row": 2, "deviceId": "Mar-01"}]),
        ("uneven-length", 1, [{"row": 3, "deviceId": "pump-22"}]),
    ]


def test_a_line_that_is_no_object_is_a_refused_row(cloud: Import) -> None:
    opened = cloud.open(cloud.drop(b'["x"]\n', "manifests/lot.jsonl"))
    child = cloud.rows(opened, [["x"], None, 7])
    assert [row["reason"] for row in child["refused"]] == ["missing-device-id"] * 3


def test_children_s_results_are_read_from_where_the_result_writer_put_them(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    refused = {"row": 9, "deviceId": None, "reason": "device-id", "detail": ""}
    lines = [{"counts": {"enrolled": 7}, "refused": []}, {"counts": {"unchanged": 1}, "refused": [refused]}]
    prefix = f"results/{opened['batch']}/children/run"
    body = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{prefix}/SUCCEEDED_0.jsonl", Body=body.encode())
    listing = {"ResultFiles": {"SUCCEEDED": [{"Key": f"{prefix}/SUCCEEDED_0.jsonl"}], "FAILED": []}}
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{prefix}/manifest.json", Body=json.dumps(listing).encode())
    details = {"MapRunArn": "arn", "ResultWriterDetails": {"Bucket": BUCKET, "Key": f"{prefix}/manifest.json"}}
    account = cloud.close(execution, manifest=opened, result=details)
    assert (account["rows"], account["enrolled"], account["unchanged"], account["refused"]) == (9, 7, 1, 1)
    assert json.loads(cloud.written(account["refusedRows"])) == refused


def test_a_list_of_refused_rows_ends_where_the_children_s_results_go_on(
    cloud: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("secretfree.registry.manifest_steps"), "MAX_LISTED", 2)
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    rows = [{"row": row, "deviceId": None, "reason": "r", "detail": ""} for row in range(1, 6)]
    account = cloud.close(execution, manifest=opened, result=[{"counts": {}, "refused": rows}])
    assert account["refused"] == 5
    assert len(cloud.written(account["refusedRows"]).splitlines()) == 2


def test_a_failed_import_has_the_failure_in_its_summary(cloud: Import) -> None:
    execution = cloud.drop(CSV)
    opened = cloud.open(execution)
    account = cloud.close(execution, failure={"Error": "States.Timeout", "Cause": "x" * 5_000})
    assert account["status"] == "FAILED"
    assert account["error"] == {"error": "States.Timeout", "cause": "x" * 1_000}
    assert json.loads(cloud.written(f"results/{opened['batch']}/summary.json")) == account
    batch = find_batch(cloud.store, opened["batch"])
    assert batch is not None
    assert batch.state is BatchState.IMPORTING


class TestManifestsThatAreToBlameThemselves:
    @pytest.mark.parametrize(
        ("key", "body", "says"),
        [
            ("manifests/lot.pdf", b"", ".csv, .jsonl, .ndjson"),
            ("results/lot.csv", CSV, "manifests/NAME"),
            ("manifests/lot.csv", b"serial,key\n1,2\n", "device-id and public-key"),
            ("manifests/lot.csv", b"device-id\n1\n", "lacks public-key"),
            ("manifests/lot.csv", b"", "device-id and public-key"),
            ("manifests/lot.csv", b"\xff\xfd\n", "not CSV in UTF-8"),
            ("manifests/lot.csv", b"a" * 20_000, "header of more than"),
            ("manifests/lot.csv", b"sep=;\r\n" + CSV.replace(b",", b";"), "a line 'sep='"),
            ("manifests/lot.csv", b'\xef\xbb\xbf"sep=,"\n' + CSV, "a line 'sep='"),
            ("manifests/lot.csv", CSV.replace(b",", b";"), "delimited by ';'"),
            ("manifests/lot.csv", CSV.replace(b",", b"\t"), "delimited by '\\t'"),
            ("manifests/lot.csv", CSV.decode().encode("utf-16"), "UTF-16"),
        ],
    )
    def test_are_refused_when_they_are_opened(self, cloud: Import, key: str, body: bytes, says: str) -> None:
        answer = cloud.open(cloud.drop(body, key))
        assert answer["format"] == "refused"
        assert answer["failure"]["Error"] == "ManifestRefused"
        assert says in answer["failure"]["Cause"]
        assert list(cloud.store.table.scan()) == [[]]

    def test_an_upload_that_was_overwritten_before_it_was_opened(self, cloud: Import) -> None:
        execution = cloud.drop(CSV)
        cloud.drop(CSV + b"pump-9,x\r\n")
        assert "overwritten" in cloud.open(execution)["failure"]["Cause"]

    def test_an_upload_that_was_overwritten_while_it_was_imported(self, cloud: Import) -> None:
        execution = cloud.drop(CSV)
        opened = cloud.open(execution)
        cloud.drop(CSV + b"pump-9,x\r\n")
        account = cloud.close(execution, manifest=opened, result=[])
        assert account["status"] == "FAILED"
        assert "overwritten" in account["error"]["cause"]

    def test_an_upload_that_is_too_large(self, cloud: Import, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(manifest_bucket, "MAX_BYTES", 10)
        assert "cut it into several" in cloud.open(cloud.drop(CSV))["failure"]["Cause"]

    def test_an_event_of_another_bucket(self, cloud: Import) -> None:
        execution = cloud.drop(CSV)
        execution["event"]["detail"]["bucket"]["name"] = "elsewhere"
        assert "another bucket" in cloud.open(execution)["failure"]["Cause"]

    @pytest.mark.parametrize("state", [BatchState.REVERTING, BatchState.REVERTED])
    def test_a_batch_that_was_reverted_is_not_imported_by_a_repetition(self, cloud: Import, state: BatchState) -> None:
        execution = cloud.drop(CSV)
        opened = cloud.open(execution)
        batch = find_batch(cloud.store, opened["batch"])
        assert batch is not None
        save_batch(cloud.store, batch.finished(state, import_module("secretfree.clock").SystemClock().now()))
        assert "was reverted" in cloud.open(execution)["failure"]["Cause"]


def test_under_match_policy_udid_the_header_needs_no_key(cloud: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETFREE_MATCH_POLICY", "UDID")
    cloud.handler = reload(import_module("secretfree.handlers.manifest_import")).handler
    assert cloud.open(cloud.drop(b"device-id\npump-1\n"))["format"] == "csv"


def test_more_rows_than_one_call_may_have_is_an_error_of_ours(cloud: Import) -> None:
    with pytest.raises(ValueError, match="at most 500"):
        cloud.call({"Items": [{"batch": "b", "source": "csv", "row": 0, "fields": {}}] * 501})


def test_an_object_without_versions_is_known_by_its_etag() -> None:
    class Unversioned:
        def get_object(self, **_: Any) -> dict[str, Any]:
            body = b"device-id,pubkey\n"
            return {"ETag": '"e1"', "ContentLength": len(body), "Body": StreamingBody(io.BytesIO(body), len(body))}

    bucket = ManifestBucket(Unversioned(), BUCKET)
    digest, header = bucket.inspect(ManifestObject("manifests/a.csv", "e1"))
    assert header == ["device-id", "pubkey"]
    assert len(digest) == 64
    with pytest.raises(ManifestRefused, match="overwritten"):
        bucket.inspect(ManifestObject("manifests/a.csv", "e2"))


@pytest.mark.parametrize(
    "missing", ["SECRETFREE_IMPORT_BUCKET", "SECRETFREE_REGISTRY_TABLE", "SECRETFREE_REGISTRY_KEY_INDEX"]
)
def test_a_missing_setting_is_named(missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        ImportConfig.from_environment({name: value for name, value in ENVIRONMENT.items() if name != missing})
