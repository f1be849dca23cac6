"""The template's roles as the emulated IAM enforces them: what each Lambda needs is allowed, and little else."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
from support.borrowed_roles import BorrowedRoles, is_denied


@pytest.fixture(scope="module")
def as_role(cloud: Any) -> Iterator[Callable[..., str]]:
    """Make one AWS call under the role of one of the stack's Lambdas, from a Lambda of ours that borrows it."""
    borrowed = BorrowedRoles(cloud.target.client("lambda"))
    yield borrowed
    borrowed.remove()


def _key(device_id: str) -> dict[str, Any]:
    return {"device-id": {"S": device_id}}


def test_the_authorizer_reads_the_registry(cloud: Any, as_role: Callable[..., str]) -> None:
    read = as_role(
        cloud.authorizer_function(), "dynamodb", "get_item", TableName=cloud.target.registry_table, Key=_key("x")
    )

    assert read == "allowed"


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("put_item", {"Item": _key("intruder")}),
        ("delete_item", {"Key": _key("intruder")}),
        ("scan", {}),
    ],
)
def test_the_authorizer_can_do_nothing_else_to_the_registry(
    cloud: Any, as_role: Callable[..., str], operation: str, parameters: dict[str, Any]
) -> None:
    outcome = as_role(
        cloud.authorizer_function(), "dynamodb", operation, TableName=cloud.target.registry_table, **parameters
    )

    assert outcome == "AccessDeniedException"


@pytest.mark.parametrize("issuer", ["private-ca", "iot-core"])
def test_an_issuer_reads_the_registry_and_can_not_change_it(
    cloud: Any, as_role: Callable[..., str], issuer: str
) -> None:
    function = cloud.function_of_issuer(issuer)
    table = {"TableName": cloud.target.registry_table}

    assert as_role(function, "dynamodb", "get_item", Key=_key("x"), **table) == "allowed"
    assert as_role(function, "dynamodb", "put_item", Item=_key("intruder"), **table) == "AccessDeniedException"
    assert as_role(function, "dynamodb", "delete_item", Key=_key("intruder"), **table) == "AccessDeniedException"
    assert as_role(function, "dynamodb", "scan", **table) == "AccessDeniedException"


@pytest.mark.parametrize("issuer", ["private-ca", "iot-core"])
def test_an_issuer_records_its_steps_in_the_ledger(cloud: Any, as_role: Callable[..., str], issuer: str) -> None:
    outcome = as_role(
        cloud.function_of_issuer(issuer),
        "dynamodb",
        "put_item",
        TableName=cloud.target.ledger_table,
        Item={**_key("probe"), "record": {"S": "probe"}},
        # Never so: the role is let through to the table, and the table then writes nothing.
        ConditionExpression="attribute_exists(#never)",
        ExpressionAttributeNames={"#never": "never"},
    )

    assert outcome == "ConditionalCheckFailedException"


@pytest.mark.parametrize("issuer", ["private-ca", "iot-core"])
@pytest.mark.parametrize("operation", ["delete_item"])
def test_an_issuer_can_do_nothing_else_to_the_ledger(
    cloud: Any, as_role: Callable[..., str], issuer: str, operation: str
) -> None:
    outcome = as_role(
        cloud.function_of_issuer(issuer),
        "dynamodb",
        operation,
        TableName=cloud.target.ledger_table,
        Key={**_key("probe"), "record": {"S": "probe"}},
    )

    assert outcome == "AccessDeniedException"


@pytest.mark.parametrize("issuer", ["private-ca", "iot-core"])
@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("create_policy", {"policyName": "all", "policyDocument": '{"Version":"2012-10-17","Statement":[]}'}),
        ("delete_thing", {"thingName": "another"}),
        ("list_things", {}),
        ("create_keys_and_certificate", {"setAsActive": True}),
    ],
)
def test_an_issuer_can_do_nothing_to_iot_core_that_issuing_does_not_need(
    cloud: Any, as_role: Callable[..., str], issuer: str, operation: str, parameters: dict[str, Any]
) -> None:
    outcome = as_role(cloud.function_of_issuer(issuer), "iot", operation, **parameters)

    assert is_denied(outcome), outcome


def _function(cloud: Any, name: str) -> Mapping[str, Any]:
    return next(function for function in cloud.functions() if function["Handler"].endswith(f"{name}.handler"))


def _retirer(cloud: Any) -> Mapping[str, Any]:
    return _function(cloud, "retirer")


def test_the_retirer_reads_and_closes_what_the_ledger_names(cloud: Any, as_role: Callable[..., str]) -> None:
    role, table = _retirer(cloud), cloud.target.ledger_table
    read = as_role(
        role,
        "dynamodb",
        "query",
        TableName=table,
        KeyConditionExpression="#device = :device",
        ExpressionAttributeNames={"#device": "device-id"},
        ExpressionAttributeValues={":device": {"S": "probe"}},
    )
    assert read == "allowed"
    for operation in ("describe_certificate", "delete_certificate"):
        assert as_role(role, "iot", operation, certificateId="a" * 64) == "ResourceNotFoundException"
    closed = as_role(role, "iot", "update_certificate", certificateId="a" * 64, newStatus="INACTIVE")
    assert closed == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("dynamodb", "delete_item", {"Key": {**_key("probe"), "record": {"S": "probe"}}}),
        ("dynamodb", "scan", {}),
        ("iot", "create_thing", {"thingName": "intruder"}),
        ("iot", "delete_thing", {"thingName": "another"}),
        ("iot", "create_keys_and_certificate", {"setAsActive": True}),
        ("iot", "create_policy", {"policyName": "all", "policyDocument": '{"Version":"2012-10-17","Statement":[]}'}),
    ],
)
def test_the_retirer_can_do_nothing_else(
    cloud: Any, as_role: Callable[..., str], service: str, operation: str, parameters: dict[str, Any]
) -> None:
    table = {"TableName": cloud.target.ledger_table} if service == "dynamodb" else {}
    outcome = as_role(_retirer(cloud), service, operation, **table, **parameters)
    assert is_denied(outcome), outcome


def test_the_retirer_has_no_right_on_the_registry(cloud: Any, as_role: Callable[..., str]) -> None:
    read = as_role(_retirer(cloud), "dynamodb", "get_item", TableName=cloud.target.registry_table, Key=_key("x"))
    assert read == "AccessDeniedException"


def test_the_revoker_reads_both_tables_revokes_and_disconnects(cloud: Any, as_role: Callable[..., str]) -> None:
    role = _function(cloud, "revoker")
    assert as_role(role, "dynamodb", "get_item", TableName=cloud.target.registry_table, Key=_key("x")) == "allowed"
    read = as_role(
        role,
        "dynamodb",
        "query",
        TableName=cloud.target.ledger_table,
        KeyConditionExpression="#device = :device",
        ExpressionAttributeNames={"#device": "device-id"},
        ExpressionAttributeValues={":device": {"S": "probe"}},
    )
    assert read == "allowed"
    revoked = as_role(role, "iot", "update_certificate", certificateId="a" * 64, newStatus="REVOKED")
    assert revoked == "ResourceNotFoundException"
    assert as_role(role, "iot-data", "delete_connection", clientId="probe") == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("registry", "put_item", {"Item": _key("intruder")}),
        ("registry", "delete_item", {"Key": _key("intruder")}),
        ("registry", "scan", {}),
        ("ledger", "delete_item", {"Key": {**_key("probe"), "record": {"S": "probe"}}}),
        ("ledger", "scan", {}),
        ("iot", "delete_certificate", {"certificateId": "a" * 64}),
        ("iot", "delete_thing", {"thingName": "another"}),
        ("iot", "create_keys_and_certificate", {"setAsActive": True}),
        (
            "iot",
            "attach_policy",
            {"policyName": "all", "target": "arn:aws:iot:us-east-1:000000000000:cert/" + "a" * 64},
        ),
        ("iot-data", "publish", {"topic": "widget/another/command"}),
    ],
)
def test_the_revoker_can_do_nothing_else(
    cloud: Any, as_role: Callable[..., str], service: str, operation: str, parameters: dict[str, Any]
) -> None:
    tables = {"registry": cloud.target.registry_table, "ledger": cloud.target.ledger_table}
    table = {"TableName": tables[service]} if service in tables else {}
    called = "dynamodb" if service in tables else service
    outcome = as_role(_function(cloud, "revoker"), called, operation, **table, **parameters)
    assert is_denied(outcome), outcome


@pytest.mark.parametrize("path", ["new", "proto"])
def test_a_request_that_passed_no_authorizer_reaches_no_issuer(cloud: Any, path: str) -> None:
    """A function's own resource policy admits API Gateway's method and no other principal."""
    issuer = {"new": "private-ca", "proto": "iot-core"}[path]
    policy = cloud.target.client("lambda").get_policy(FunctionName=cloud.function_of_issuer(issuer)["FunctionName"])

    statements = json.loads(policy["Policy"])["Statement"]
    assert {statement["Principal"]["Service"] for statement in statements} == {"apigateway.amazonaws.com"}
    assert all(f"/POST/{path}" in json.dumps(statement["Condition"]) for statement in statements)


@dataclass
class Recorder:
    """Stands between the issuer and Private CA, and writes down what is asked."""

    url: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def _recorder(upstream: str) -> Iterator[Recorder]:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append((self.headers["x-amz-target"].partition(".")[2], json.loads(body)))
            # The Host header passes too, because the call is signed over it.
            request = urllib.request.Request(upstream, data=body, headers=dict(self.headers.items()))  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    status, content, kind = answer.status, answer.read(), answer.headers["content-type"]
            except urllib.error.HTTPError as error:
                with error:
                    status, content, kind = error.code, error.read(), error.headers["content-type"]
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Recorder(f"http://127.0.0.1:{server.server_address[1]}", calls)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_the_issuer_asks_of_private_ca_is_within_its_role(
    cloud: Any, workshop: Any, post: Callable[..., Any]
) -> None:
    """The Private CA emulator enforces no IAM: each call made is held against the role's statements here."""
    function = cloud.function_of_issuer("private-ca")
    lambda_ = cloud.target.client("lambda")
    variables = function["Environment"]["Variables"]
    device = workshop.enrolled(cloud)

    with _recorder(cloud.target.service_endpoints["acm-pca"]) as recorder:
        redirected = {**variables, "AWS_ENDPOINT_URL_ACM_PCA": recorder.url}
        lambda_.update_function_configuration(
            FunctionName=function["FunctionName"], Environment={"Variables": redirected}
        )
        try:
            assert post(f"{cloud.url}/new", device.csr()).status == 200
        finally:
            lambda_.update_function_configuration(
                FunctionName=function["FunctionName"], Environment={"Variables": variables}
            )

    statements = [statement for document in _policies(cloud, function["Role"]) for statement in document]
    assert {operation for operation, _ in recorder.calls} == {"IssueCertificate", "GetCertificate"}
    for operation, parameters in recorder.calls:
        assert _allows(statements, function["Role"], operation, parameters), (operation, parameters)
    for operation, parameters in recorder.calls:
        elsewhere = {**parameters, "CertificateAuthorityArn": parameters["CertificateAuthorityArn"][:-1] + "x"}
        assert not _allows(statements, function["Role"], operation, elsewhere), operation
    issue = next(parameters for operation, parameters in recorder.calls if operation == "IssueCertificate")
    as_a_ca = {**issue, "TemplateArn": "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1"}
    assert not _allows(statements, function["Role"], "IssueCertificate", as_a_ca)
    assert not _allows(statements, function["Role"], "RevokeCertificate", issue)


def _policies(cloud: Any, role_arn: str) -> Iterator[list[Any]]:
    iam = cloud.target.client("iam")
    role = role_arn.rpartition("/")[2]
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield parse_policy_document(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])


def _allows(statements: list[Any], role: str, operation: str, parameters: Mapping[str, Any]) -> bool:
    context = EvalContext(
        principal_arn=role,
        principal_type="AssumedRole",
        principal_account=role.split(":")[4],
        action=f"acm-pca:{operation}",
        resource_arn=parameters["CertificateAuthorityArn"],
        region=parameters["CertificateAuthorityArn"].split(":")[3],
        service_context={"acm-pca:templatearn": parameters["TemplateArn"]} if "TemplateArn" in parameters else {},
    )
    return bool(evaluate(context, [statements]).decision == "Allow")
