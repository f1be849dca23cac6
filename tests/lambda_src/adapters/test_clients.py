"""The AWS clients of a function."""

from collections.abc import Iterator

import pytest
from botocore import serialize
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError
from botocore.stub import Stubber
from secretfree.adapters import clients, single_try_clients


@pytest.fixture(autouse=True)
def _fresh_clients() -> Iterator[None]:
    clients.client.cache_clear()
    yield
    clients.client.cache_clear()


def test_a_process_has_one_client_of_a_service() -> None:
    assert clients.dynamodb() is clients.client("dynamodb")


@pytest.mark.parametrize("service", ["dynamodb", "iot", "acm-pca", "sts"])
def test_all_the_tries_of_a_call_end_before_api_gateway_stops_waiting(service: str) -> None:
    settings = clients.client(service).meta.config
    assert settings.retries["total_max_attempts"] * (settings.connect_timeout + settings.read_timeout) < 29
    assert settings.tcp_keepalive


@pytest.mark.parametrize(
    "client", [clients.dynamodb, clients.iot, single_try_clients.iot, single_try_clients.functions]
)
def test_no_client_repeats_work_for_each_call(client, monkeypatch) -> None:
    validated = []
    make = serialize.create_serializer
    monkeypatch.setattr(
        serialize,
        "create_serializer",
        lambda protocol, validates=True, **options: (validated.append(validates), make(protocol, **options))[1],
    )
    for cached in (clients.client, single_try_clients._client):
        cached.cache_clear()
    assert client().meta.config.user_agent == clients.USER_AGENT
    assert validated == [False]


def test_the_tests_check_the_parameters_of_each_call() -> None:
    with pytest.raises(ParamValidationError, match="TableName"):
        clients.dynamodb().get_item(Key={"device-id": "no attribute value"})


def test_the_user_agent_is_what_is_sent() -> None:
    sent = []

    def take(request, **_):
        sent.append(request.headers["User-Agent"])
        raise NoCredentialsError  # no answer

    clients.dynamodb().meta.events.register("before-send.dynamodb", take)
    with pytest.raises(NoCredentialsError):
        clients.dynamodb().describe_table(TableName="registry")
    assert sent == [clients.USER_AGENT.encode()]


def test_each_client_is_of_its_service() -> None:
    made = (clients.dynamodb(), clients.iot(), clients.acm_pca())
    assert [client.meta.service_model.service_name for client in made] == ["dynamodb", "iot", "acm-pca"]


def test_calls_of_the_issuing_services_are_observed_with_their_throttling(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for cached in (clients._session, clients.client, single_try_clients._client):
        cached.cache_clear()
    seen = []
    clients.observe_calls(lambda operation, *, throttled: seen.append((operation, throttled)))
    iot, dynamodb = single_try_clients.iot(), clients.dynamodb()
    with Stubber(iot) as stub, Stubber(dynamodb) as table:
        stub.add_response("attach_policy", {})
        stub.add_client_error("register_certificate", "ThrottlingException", http_status_code=400)
        stub.add_client_error("register_certificate", "ResourceAlreadyExistsException", http_status_code=409)
        table.add_response("get_item", {})
        iot.attach_policy(policyName="p", target="t")
        for _ in range(2):
            with pytest.raises(ClientError):
                iot.register_certificate(certificatePem="x")
        dynamodb.get_item(TableName="t" * 3, Key={})
    for cached in (clients._session, clients.client, single_try_clients._client):
        cached.cache_clear()
    assert seen == [("AttachPolicy", False), ("RegisterCertificate", True), ("RegisterCertificate", False)]
