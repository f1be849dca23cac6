"""The state folder: what it keeps, who may read it, and who may work in it."""

from __future__ import annotations

import json

import pytest
from secretfree_cli.local.processes import ServerProcess
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project, write_private_file
from secretfree_cli.output import CliError, ExitCode

ENDED = ServerProcess("aws", 2**22 + 1, "a mark", "log")


def record(**changes: object) -> CloudRecord:
    fields = {
        "endpoint_url": "http://127.0.0.1:1",
        "private_ca_endpoint_url": "http://127.0.0.1:2",
        "region": "us-east-1",
        "account": "000000000000",
        "access_key_id": "test",
        "secret_access_key": "test",
        "mqtt_host": "127.0.0.1",
        "mqtt_port": 3,
        "broker_ca": "broker.pem",
        "tls_url": "https://localhost:5",
        "tls_ca": "tls.pem",
        "ca_certificate": "ca.pem",
        "authority_arn": "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/x",
        "processes": (ENDED,),
    }
    return CloudRecord(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.create()
    return made


def test_a_record_is_read_back_as_it_was_written(folder):
    folder.write(record(stack_name="SecretFree"))
    assert folder.read() == record(stack_name="SecretFree")


def test_the_folder_and_its_files_are_for_the_owner_only(folder):
    folder.write(record())
    assert folder.root.stat().st_mode & 0o077 == 0
    assert (folder.root / "cloud.json").stat().st_mode & 0o077 == 0


def test_nothing_is_up_where_nothing_was_started(tmp_path):
    with pytest.raises(CliError) as missing:
        StateFolder(tmp_path).require_up()
    assert missing.value.exit_code == ExitCode.NOT_FOUND


def test_a_record_of_servers_that_ended_is_not_up(folder):
    folder.write(record())
    with pytest.raises(CliError) as stale:
        folder.require_up()
    assert stale.value.exit_code == ExitCode.NOT_FOUND


def test_a_broken_record_says_what_to_do(folder):
    (folder.root / "cloud.json").write_text("{")
    with pytest.raises(CliError, match=r"cloud\.json"):
        folder.read()


def test_a_record_of_another_version_says_what_to_do(folder):
    (folder.root / "cloud.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(CliError, match="another version"):
        folder.read()


def test_two_commands_never_work_in_one_folder_at_once(folder):
    with folder.exclusive(), pytest.raises(CliError, match="is running"), folder.exclusive():
        pass


def test_the_folder_is_free_again_after_a_command(folder):
    with folder.exclusive():
        pass
    with folder.exclusive():
        pass


def test_what_is_remembered_adds_up_and_outlives_the_record(folder):
    folder.remember(ports={"gateway": 1})
    folder.remember(stackName="SecretFree")
    folder.forget()
    assert folder.recall() == {"ports": {"gateway": 1}, "stackName": "SecretFree"}


def test_the_environment_points_every_sdk_at_the_local_cloud():
    environment = record().environment()
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_ENDPOINT_URL_ACM_PCA"] == "http://127.0.0.1:2"


def test_the_project_is_the_nearest_folder_with_a_cdk_app(tmp_path):
    (tmp_path / "cdk.json").write_text("{}")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below, environment={}) == tmp_path.resolve()


def test_a_folder_with_a_local_cloud_of_its_own_is_a_project(tmp_path):
    (tmp_path / "cdk.json").write_text("{}")
    own = StateFolder(tmp_path / "a")
    own.create()
    own.write(record())
    assert find_project(own.project, environment={}) == own.project.resolve()


def test_a_project_may_be_named_outright(tmp_path):
    assert find_project(environment={"SECRETFREE_PROJECT": str(tmp_path)}) == tmp_path.resolve()


def test_a_private_file_replaces_what_was_there_and_narrows_who_may_read_it(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("old")
    path.chmod(0o644)
    write_private_file(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
