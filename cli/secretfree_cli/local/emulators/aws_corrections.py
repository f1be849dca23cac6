"""Corrections of ministack 1.5.33, where it differs from AWS in behaviour that this product relies on.

Each correction wraps one function of ministack. It is needed as long as its test fails without it.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

_AUTHORIZER_VARIABLE = re.compile(r"\$context\.authorizer\.([A-Za-z0-9_]+)")
_ATTACHED_POLICIES = "/attached-policies/"
EXCLUSIVE_THING, NON_EXCLUSIVE_THING = "EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"
_authorizer_context: ContextVar[Mapping[str, str]] = ContextVar("authorizer_context")
_request_id: ContextVar[str] = ContextVar("request_id")


def correct() -> None:
    """Apply every correction to this process."""
    require_client_certificates()
    authorize_iot_calls_on_their_resources()
    render_authorizer_context_in_gateway_responses()
    set_request_id_for_authorizers()
    attach_principals_exclusively()
    keep_to_the_expected_version_of_a_thing()
    name_the_broker_as_endpoint()
    take_loopback_for_tls()
    name_the_role_as_principal()


def require_client_certificates() -> None:
    """Make the MQTT port refuse clients without a certificate, as IoT Core's port 8883 does.

    ministack accepts such a client without a policy, with the account's rights.
    """
    from ministack.services import iot

    build_context = iot._mtls_build_ssl_context  # noqa: SLF001 -- there is no setting for it

    def build_strict_context() -> ssl.SSLContext:
        context: ssl.SSLContext = build_context()
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    iot._mtls_build_ssl_context = build_strict_context  # noqa: SLF001


def authorize_iot_calls_on_their_resources() -> None:
    """Make IAM decide on the resource of a call of IoT Core. ministack uses `*`.

    With `*`, a role with rights only on `cacert/...` or `cert/...` is refused (AWS service authorization reference).
    """
    from ministack.core import iam_actions

    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(  # noqa: PLR0917 -- ministack calls it by position
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account_id: str
    ) -> str:
        named = iot_resource(path, body, region=region, account_id=account_id) if service == "iot" else None
        return named or str(extract(service, method, path, headers, body, query, region, account_id))

    iam_actions.extract_resource_arn = extract_resource_arn


def iot_resource(path: str, body: bytes, *, region: str, account_id: str) -> str | None:
    """Return the ARN on which a call of IoT Core is authorized, for calls that ministack does not cover.

    CA certificates are named by the path. AttachPolicy and DetachPolicy are authorized on their target, in the body,
    ListAttachedPolicies on its target, in the path.
    """
    if path.startswith(_ATTACHED_POLICIES):
        target = unquote(path.removeprefix(_ATTACHED_POLICIES))
        return target if target.startswith("arn:") else None
    match path.strip("/").split("/"):
        case ["cacertificate", certificate_id]:
            return f"arn:aws:iot:{region}:{account_id}:cacert/{certificate_id}"
        case ["target-policies", _]:
            try:
                target = json.loads(body).get("target")
            except (ValueError, AttributeError):
                return None
            return target if isinstance(target, str) and target.startswith("arn:") else None
    return None


def render_authorizer_context_in_gateway_responses() -> None:
    """Replace `$context.authorizer.KEY` in a gateway response's template by the authorizer's value.

    API Gateway does so for a Deny too: an authorizer can influence the 403's body only by this context. ministack drops
    the context and sends the variable's name.
    """
    from ministack.services import apigateway_v1

    invoke = apigateway_v1._invoke_authorizer_lambda  # noqa: SLF001
    respond = apigateway_v1._gateway_error_response  # noqa: SLF001

    async def invoke_authorizer(*args: Any, **kwargs: Any) -> Any:
        answer = await invoke(*args, **kwargs)
        _authorizer_context.set(authorizer_context(answer))
        return answer

    def respond_with_context(error: Any, request: Any) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = respond(error, request)
        return status, headers, render_authorizer_context(body, _authorizer_context.get({}))

    apigateway_v1._invoke_authorizer_lambda = invoke_authorizer  # noqa: SLF001
    apigateway_v1._gateway_error_response = respond_with_context  # noqa: SLF001


def set_request_id_for_authorizers() -> None:
    """Set `requestContext.requestId` in a REQUEST authorizer's event to the id of the answer, as API Gateway does.

    ministack's event has no id. Without it, the id in the device's answer would not identify the refusal in the log.
    """
    from ministack.services import apigateway_v1

    execute = apigateway_v1._execute_in_scope  # noqa: SLF001
    invoke = apigateway_v1._invoke_authorizer_lambda  # noqa: SLF001

    async def execute_in_scope(request: Any, *args: Any, **kwargs: Any) -> Any:
        _request_id.set(request["request_id"])
        return await execute(request, *args, **kwargs)

    async def invoke_authorizer(authorizer: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        if "requestContext" in event:
            event["requestContext"].setdefault("requestId", _request_id.get(""))
        return await invoke(authorizer, event, *args, **kwargs)

    apigateway_v1._execute_in_scope = execute_in_scope  # noqa: SLF001
    apigateway_v1._invoke_authorizer_lambda = invoke_authorizer  # noqa: SLF001


def attach_principals_exclusively() -> None:
    """Make AttachThingPrincipal obey `thingPrincipalType`, which ministack accepts and ignores."""
    from ministack.services import iot

    handle = iot._handle_thing_principals  # noqa: SLF001

    def handle_thing_principals(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        principal = headers.get("x-amzn-principal") or query.get("principal") or ""
        name = path.removeprefix("/things/").removesuffix("/principals")
        certificate = iot._certificates.get(principal.rsplit("/", 1)[-1]) or {}  # noqa: SLF001
        thing = iot._things.get(name) or {}  # noqa: SLF001
        types = certificate.get("attachedThingTypes", {})
        wanted = query.get("thingPrincipalType") or NON_EXCLUSIVE_THING
        attached = {arn: types.get(arn, NON_EXCLUSIVE_THING) for arn in certificate.get("attachedThings", [])}
        if method == "PUT" and certificate and thing:
            refusal = attachment_refusal(thing["thingArn"], wanted, attached)
            if refusal is not None:
                return iot.error_response_json("InvalidRequestException", refusal, 400)
        answer = handle(method, path, headers, body, query)
        if answer[0] == 200 and method == "PUT":
            certificate["attachedThingTypes"] = {**types, thing["thingArn"]: wanted}
        return answer

    iot._handle_thing_principals = handle_thing_principals  # noqa: SLF001


def attachment_refusal(thing: str, wanted: str, attached: Mapping[str, str]) -> str | None:
    """Return why a principal must not be attached to a thing, or None.

    `attached` maps the ARNs of the principal's things to the type of the attachment (IoT Core API reference,
    AttachThingPrincipal: an exclusive thing is the principal's only one).
    """
    if wanted not in (EXCLUSIVE_THING, NON_EXCLUSIVE_THING):
        return f"thingPrincipalType must be {EXCLUSIVE_THING} or {NON_EXCLUSIVE_THING}"
    others = {arn: how for arn, how in attached.items() if arn != thing}
    if wanted == EXCLUSIVE_THING and others:
        return "The principal is attached to another thing and cannot be attached exclusively"
    if EXCLUSIVE_THING in others.values():
        return "The principal is attached exclusively to another thing"
    return None


def keep_to_the_expected_version_of_a_thing() -> None:
    """Make UpdateThing refuse a stale `expectedVersion` (VersionConflictException, 409), which ministack ignores."""
    from ministack.services import iot

    update = iot._update_thing  # noqa: SLF001

    def update_thing(name: str, payload: Mapping[str, Any]) -> Any:
        expected = payload.get("expectedVersion")
        thing = iot._things.get(name)  # noqa: SLF001
        if thing is not None and expected not in (None, thing.get("version", 1)):
            message = f"The version for thing {name} does not match the expected version."
            return iot.error_response_json("VersionConflictException", message, 409)
        return update(name, payload)

    iot._update_thing = update_thing  # noqa: SLF001


def name_the_broker_as_endpoint() -> None:
    """Make DescribeEndpoint return the MQTT broker's address, with a host name that every resolver resolves.

    ministack returns the HTTP port, with a host name of AWS's form below `localhost` that many resolvers do not
    resolve.
    """
    from ministack.services import iot

    describe = iot._describe_endpoint  # noqa: SLF001

    def describe_endpoint(query: Any) -> Any:
        if query.get("endpointType", "iot:Data-ATS") != "iot:Data-ATS":
            return describe(query)
        return iot.json_response({"endpointAddress": f"localhost:{os.environ['IOT_MTLS_PORT']}"})

    iot._describe_endpoint = describe_endpoint  # noqa: SLF001


def take_loopback_for_tls() -> None:
    """Make `aws:SecureTransport` true: the HTTP port on loopback replaces AWS's TLS endpoints.

    Otherwise every policy that allows only TLS, such as those of buckets, queues and `cdk bootstrap`, refuses all
    calls.
    """
    from ministack import app
    from ministack.core import iam_evaluator

    pin = iam_evaluator.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure_transport: pin(source_ip, True)  # noqa: FBT003 -- ministack's own


def name_the_role_as_principal() -> None:
    """Make `aws:PrincipalArn` of a role's session the role's ARN (AWS global condition keys).

    ministack uses the session's ARN. A policy that allows only a certain role then refuses that role.
    """
    from ministack.core import iam_evaluator
    from ministack.services import iam

    resolve = iam_evaluator._resolve_condition_key  # noqa: SLF001

    def resolve_condition_key(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn" and ":assumed-role/" in context.principal_arn:
            name = context.principal_arn.split("/")[1]
            role = iam._roles.get_scoped(context.principal_account, None, name)  # noqa: SLF001
            if role is not None:
                return role["Arn"]
        return resolve(key, context)

    iam_evaluator._resolve_condition_key = resolve_condition_key  # noqa: SLF001


def authorizer_context(answer: Any) -> dict[str, str]:
    """Return the context of an authorizer's answer from ministack's Lambda; empty if it has none."""
    body = answer.get("body") if isinstance(answer, dict) else None
    if isinstance(body, (str, bytes)):
        try:
            body = json.loads(body)
        except ValueError:
            return {}
    context = body.get("context") if isinstance(body, dict) else None
    return {key: str(value) for key, value in context.items()} if isinstance(context, dict) else {}


def render_authorizer_context(body: bytes, context: Mapping[str, str]) -> bytes:
    """Replace the variables in a rendered template; an unknown one becomes empty, as on AWS."""
    return _AUTHORIZER_VARIABLE.sub(lambda found: context.get(found[1], ""), body.decode()).encode()
