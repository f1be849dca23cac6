"""The gate of the AWS emulator: it checks every HTTP request before ministack.

ministack treats an unsigned call, and any call with the key of its environment, as a call of the account's root. Such a
caller can create a Lambda function, and so run code as this user. Here a call to an AWS API needs a signature that
verifies. Without one, a request reaches only deployed endpoints (REST APIs, function URLs) and a few addresses without
secrets. Its path and headers cannot make ministack treat it as another call.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs

from ministack.core import iam_evaluator, router

from secretfree_cli.local.emulators.admission import refusal_of
from secretfree_cli.local.emulators.operator import CREDENTIALS_PATH, Operator
from secretfree_cli.local.emulators.signatures import Call, Credential, signer_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = frozenset({("GET", "/_ministack/ready"), ("GET", "/_ministack/iot/ca.pem")})
# A custom resource's function answers CloudFormation there. The random token in the path is the permission.
_OPEN_BY_TOKEN = re.compile(r"/_ministack/cfn-(response|signal)/[0-9a-f-]{36}")
_EXECUTE_API_AT_AWS = re.compile(r"([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com")

_UNSIGNED = "the call is not signed by a valid key: see `secretfree local env`"

_is_signed: ContextVar[bool] = ContextVar("is_signed", default=True)


def install(operator: Operator, *, routes: Mapping[str, Callable[[Any], None]] | None = None) -> None:
    """Put the gate before ministack's application.

    `routes` are handlers by path, only for the operator's key. Each gets the JSON document of a POST.
    """
    from ministack import app

    _confine_unsigned_requests()
    _make_function_credentials_unpredictable()
    app.app = AwsGate(app.app, operator, routes or {})


class AwsGate:
    """An ASGI application that forwards accepted requests to another."""

    def __init__(self, app: App, operator: Operator, routes: Mapping[str, Callable[[Any], None]]) -> None:
        self._app = app
        self._operator = operator
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = refusal_of(scope["headers"], is_deployed=_is_deployed)
        if refusal is not None:
            await _refuse(scope, receive, send, "AccessDenied", refusal)
            return
        body = await _read_body(receive) if scope["type"] == "http" else b""
        if body is None:
            return
        signer = signer_of(_call_of(scope, body), self._find)
        if scope["path"].startswith(CREDENTIALS_PATH):
            await self._send_credential(scope, receive, send, signer)
        elif scope["path"] in self._routes:
            await self._serve_operator(scope, receive, send, signer, body)
        elif self._may_pass(scope, signer):
            _is_signed.set(signer is not None)
            await self._app(scope, _replaying(body, receive) if scope["type"] == "http" else receive, send)
        else:
            await _refuse_unsigned(scope, receive, send)

    def _may_pass(self, scope: Scope, signer: str | None) -> bool:
        if signer is not None and signer == _claimed_key(scope):
            is_operator = signer == self._operator.access_key_id
            return is_operator or not scope["path"].startswith("/_ministack/") or _is_open(scope)
        if _claimed_key(scope) is not None:
            return False
        return _is_open(scope) or _is_for_anybody(scope)

    def _find(self, access_key_id: str) -> Credential | None:
        return self._operator.credential(access_key_id) or _find_in_account(access_key_id)

    async def _send_credential(self, scope: Scope, receive: Receive, send: Send, signer: str | None) -> None:
        if signer != self._operator.access_key_id or scope["type"] != "http" or scope["method"] != "GET":
            await _refuse(scope, receive, send, "AccessDenied", "only the operator's key may call this")
            return
        found = self._find(scope["path"].removeprefix(CREDENTIALS_PATH))
        document = {"secret": found.secret, "sessionToken": found.session_token} if found else None
        await _answer(send, 200, document)

    async def _serve_operator(
        self, scope: Scope, receive: Receive, send: Send, signer: str | None, body: bytes
    ) -> None:
        if signer != self._operator.access_key_id or scope["type"] != "http" or scope["method"] != "POST":
            await _refuse(scope, receive, send, "AccessDenied", "only the operator's key may call this")
            return
        self._routes[scope["path"]](json.loads(body))
        await _answer(send, 200, {})


def _find_in_account(access_key_id: str) -> Credential | None:
    """Return the credential of an IAM user's key or of a session, a Lambda's included, unless it has expired."""
    from ministack.core.responses import _account_from_sts_session

    if iam_evaluator.is_root_access_key(access_key_id):
        return None
    try:
        account = _account_from_sts_session(access_key_id) or iam_evaluator.find_iam_access_key_account(access_key_id)
    except iam_evaluator.AmbiguousAccessKeyError:
        return None
    if account is None:
        return None
    found = iam_evaluator.resolve_credential(access_key_id, account)
    if isinstance(found, iam_evaluator.CredentialResolutionError):
        return None
    return Credential(found.secret_access_key, found.session_token)


def _claimed_key(scope: Scope) -> str | None:
    """Return the access key id by which ministack would identify the caller; None without any part of a signature."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    is_signed = headers.get("authorization", "").startswith(("AWS4-", "AWS "))
    key: str = router.extract_access_key_id(headers, query)
    return key if key or is_signed else None


def _is_open(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    call = (scope["method"], scope["path"])
    return call in _OPEN or (call[0] == "PUT" and _OPEN_BY_TOKEN.fullmatch(call[1]) is not None)


def _is_for_anybody(scope: Scope) -> bool:
    """Whether the request is for a deployed endpoint that authorizes its callers itself."""
    from ministack import app

    host, path = _host_of(scope), scope["path"]
    api = app._parse_execute_api_url(host, path)  # noqa: SLF001 -- ministack's own routing decides
    if api is not None:
        api_id, stage, rest = api
        manages = rest.startswith("/@connections/")
        if scope["type"] != "http":
            return True
        needs_key = app._execute_api_authorization_type(api_id, stage, scope["method"], rest) == "AWS_IAM"  # noqa: SLF001
        return not (manages or needs_key)
    return scope["type"] == "http" and (
        app._resolve_custom_domain_request(host, path) is not None  # noqa: SLF001
        or app._parse_lambda_url(host, path) is not None  # noqa: SLF001
        or app._is_potential_alb_request(host, path)  # noqa: SLF001
        or _is_distribution(host)
    )


def _is_distribution(host: str) -> bool:
    from ministack import app
    from ministack.services import cloudfront

    label = app._parse_cloudfront_dataplane_host(host)  # noqa: SLF001
    return label is not None and cloudfront.find_distribution_for_label(label) is not None


def _is_deployed(name: str) -> bool:
    """Whether a host name belongs to an API or a custom domain that was created in this cloud."""
    from ministack import app
    from ministack.services import apigateway, apigateway_v1

    at_aws = _EXECUTE_API_AT_AWS.fullmatch(name)
    if at_aws is not None:
        return any(module.find_api_scope(at_aws[1]) is not None for module in (apigateway_v1, apigateway))
    return _is_distribution(name) or app._resolve_custom_domain_request(name, "/") is not None  # noqa: SLF001


def _confine_unsigned_requests() -> None:
    """Restrict ministack's routing of an unsigned request to the service that the gate allowed."""
    from ministack import app

    before_body, after_body = app._handle_pre_body_request, app._handle_post_body_shortcuts  # noqa: SLF001
    data_plane, dispatch = app._handle_special_data_plane_request, app._dispatch_service_request  # noqa: SLF001

    async def pre_body(method: str, path: str, *args: Any) -> Any:
        open_to_all = (method, path) in _OPEN
        return await before_body(method, path, *args) if _is_signed.get() or open_to_all else None

    async def post_body(method: str, path: str, *args: Any) -> Any:
        open_to_all = method == "PUT" and _OPEN_BY_TOKEN.fullmatch(path)
        return await after_body(method, path, *args) if _is_signed.get() or open_to_all else None

    async def special(  # noqa: PLR0917 -- ministack calls it by position
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str, **options: Any
    ) -> Any:
        if _is_signed.get():
            return await data_plane(method, path, headers, body, query, request_id, **options)
        host = headers.get("host", "")
        raw = {name: options.get(name) for name in ("raw_path", "raw_query_string")}
        answer = await app._handle_execute_api_request(host, path, method, headers, body, query, **raw)  # noqa: SLF001
        if answer is not None:
            return app._with_data_plane_headers(answer, request_id, wildcard_cors=False)  # noqa: SLF001
        raw_path, raw_query = options.get("raw_path") or path, options.get("raw_query_string") or ""
        return (
            await app._handle_cloudfront_dataplane_request(  # noqa: SLF001
                host, path, raw_path, raw_query, method, headers, body, query, options.get("client_ip")
            )
            or await app._handle_lambda_url_request(host, path, method, headers, body, query)  # noqa: SLF001
            or await app._handle_alb_request(host, path, method, headers, body, query, raw_query, raw_path)  # noqa: SLF001
        )

    async def service(*args: Any) -> Any:
        if _is_signed.get():
            return await dispatch(*args)
        return _unsigned_answer(*args[:5])

    app._handle_pre_body_request = pre_body  # noqa: SLF001
    app._handle_post_body_shortcuts = post_body  # noqa: SLF001
    app._handle_special_data_plane_request = special  # noqa: SLF001
    app._dispatch_service_request = service  # noqa: SLF001


def _make_function_credentials_unpredictable() -> None:
    """Derive the keys of a Lambda's session from a secret of this process.

    ministack derives them from the ARNs of function and role, which anyone can compute.
    """
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc, sts

    seed = secrets.token_bytes(32)

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        account, _region = lambda_runtime._account_region_from_function_config(config)  # noqa: SLF001
        function, role = config.get("FunctionArn", ""), config.get("Role", "")
        name = role.rsplit("/", 1)[-1]
        session_name = config.get("FunctionName", "function")[:64]

        def derived(purpose: str) -> str:
            return hmac.new(seed, f"{purpose}:{function}:{role}".encode(), "sha256").hexdigest()

        key = f"ASIA{derived('id')[:16].upper()}"
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
            "UserId": f"{name}:{session_name}",
            "SecretAccessKey": derived("secret"),
            "SessionToken": derived("token"),
        }
        sts.register_session(key, session)
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["SessionToken"],
        }

    lambda_runtime.execution_credentials = execution_credentials
    lambda_svc.execution_credentials = execution_credentials


def _host_of(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")


def _call_of(scope: Scope, body: bytes) -> Call:
    return Call(
        method=scope.get("method", "GET"),
        path=scope["raw_path"].decode("latin-1").partition("?")[0],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=tuple(scope["headers"]),
        body=body,
    )


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if the caller disconnected before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body that was already read, then the following messages."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return pending.pop() if pending else await receive()

    return replay


async def _refuse(scope: Scope, receive: Receive, send: Send, code: str, message: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, 403, {"__type": code, "message": message})


async def _refuse_unsigned(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await _refuse(scope, receive, send, "AccessDenied", _UNSIGNED)
        return
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    status, fields, body = _unsigned_answer(scope["method"], scope["path"], headers, b"", query)
    fields = {**{name.lower(): value for name, value in fields.items()}, "content-length": str(len(body))}
    encoded = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _unsigned_answer(
    method: str, path: str, headers: Mapping[str, str], _body: bytes, query: Mapping[str, list[str]]
) -> tuple[int, dict[str, str], bytes]:
    """Return the refusal in the form of the called service, for SDKs."""
    from ministack import app

    service = router.detect_service(method, path, headers, query)
    failure = iam_evaluator.AuthError("SignatureDoesNotMatch", _UNSIGNED)
    status, fields, body = app._credential_failure(service, "", str(uuid.uuid4()), failure, headers)  # noqa: SLF001
    return status, fields, body


async def _answer(send: Send, status: int, document: object) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
