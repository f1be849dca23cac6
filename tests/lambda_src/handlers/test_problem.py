"""Errors as answers."""

import json

import pytest
from secretfree.errors import ErrorCode, Reason, SecretFreeError, malformed, not_authorized
from secretfree.handlers.http.problem import json_response, problem, problem_body, problem_response


def test_a_refusal_has_the_bytes_of_the_gateway_responses() -> None:
    status, headers, body = problem(not_authorized("blocked", reason=Reason.BLOCKED_DEVICE), "id-1")
    assert status == 403
    assert headers["Content-Type"] == "application/problem+json"
    assert body == '{"type":"about:blank","title":"Forbidden","status":403,"code":"not-authorized","requestId":"id-1"}'


def test_refusals_differ_by_nothing_but_the_request_whatever_their_reason() -> None:
    answers = {problem(not_authorized(reason.name, reason=reason), "id")[2] for reason in Reason}
    assert len(answers) == 1


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_status_and_a_title(code: ErrorCode) -> None:
    document = json.loads(problem_body(code, "id"))
    assert list(document) == ["type", "title", "status", "code", "requestId"]
    assert (document["status"], document["code"]) == (code.status, code.value)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("missing-csr", 401), ("malformed-request", 403), ("not-authorized", 403), ("invalid-request", 400),
        ("conflict", 409), ("too-many-requests", 429), ("not-ready", 202), ("unavailable", 503), ("internal", 500),
    ],
)  # fmt: skip
def test_the_statuses_are_those_of_the_wire_contract(code: str, status: int) -> None:
    assert ErrorCode(code).status == status


def test_the_unknown_becomes_a_bare_500() -> None:
    status, _headers, body = problem(KeyError("AKIA-secret"), "id")
    assert status == 500
    assert json.loads(body)["code"] == "internal"
    assert "AKIA" not in body


def test_the_detail_stays_inside() -> None:
    error = malformed("the detail", reason=Reason.SUBJECT)
    assert error.detail == str(error) == "the detail"
    assert "detail" not in json.dumps(problem(error, "id"))
    assert "subject" not in json.dumps(problem(error, "id"))


def test_a_later_try_is_asked_for_in_whole_seconds() -> None:
    error = SecretFreeError(ErrorCode.NOT_READY, "wait", reason=Reason.CERTIFICATE_PENDING, retry_after=3)
    response = problem_response(error, "id")
    assert (response["statusCode"], response["headers"]["Retry-After"]) == (202, "3")
    assert response["isBase64Encoded"] is False


def test_an_answer_is_compact_json() -> None:
    response = json_response(200, {"a": 1, "b": "c"}, {"Cache-Control": "no-store"})
    assert (response["statusCode"], response["body"]) == (200, '{"a":1,"b":"c"}')
    assert response["headers"] == {"Content-Type": "application/json", "Cache-Control": "no-store"}
    assert "Cache-Control" not in json_response(200, {})["headers"]
