"""Corrections of ministack 1.5.33, which keeps devices connected that AWS IoT Core disconnects."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

_NOT_AUTHORIZED = 0x87
_ADMINISTRATIVE_ACTION = 0x98
_CERTIFICATES = "/certificates/"
_CONNECTIONS = "/connections/"


def correct_sessions() -> None:
    """Apply every correction to this process."""
    disconnect_with_the_certificate()
    serve_connections()
    authorize_connections_on_their_client()


def disconnect_with_the_certificate() -> None:
    """End the sessions of a certificate that leaves ACTIVE or is deleted.

    AWS does so within minutes, this emulator at once. ministack checks a certificate only when the device connects.
    """
    from ministack.services import iot

    handle = iot._handle_certificate  # noqa: SLF001 -- there is no setting for it

    def handle_certificate(method: str, path: str, body: bytes, query: Any) -> Any:
        answer = handle(method, path, body, query)
        certificate_id = path.removeprefix(_CERTIFICATES)
        record = iot._certificates.get(certificate_id)  # noqa: SLF001
        if method in {"PUT", "DELETE"} and answer[0] == 200 and (record is None or record["status"] != "ACTIVE"):
            place = (iot.get_account_id(), iot.get_region())
            for key, session in list(iot._connected_clients.items()):  # noqa: SLF001
                if key[:2] == place and session.certificate_id == certificate_id:
                    _end_soon(session, "AUTH_ERROR", _NOT_AUTHORIZED)
        return answer

    iot._handle_certificate = handle_certificate  # noqa: SLF001


def serve_connections() -> None:
    """Serve DeleteConnection of the data plane, which ministack lacks.

    AWS does not document the MQTT 5 reason code that it sends; this sends "administrative action".
    """
    from ministack import app
    from ministack.services import iot, iot_data

    handle = iot_data.handle_request

    async def handle_request(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if method != "DELETE" or not path.startswith(_CONNECTIONS):
            return await handle(method, path, headers, body, query)
        client_id = unquote(path.removeprefix(_CONNECTIONS))
        place = (iot.get_account_id(), iot.get_region())
        session = iot._connected_clients.get((*place, client_id))  # noqa: SLF001
        if session is None:
            return iot.error_response_json("ResourceNotFoundException", f"Client {client_id} is not connected", 404)
        if _is_true(query, "preventWillMessage"):
            session._will_topic = None  # noqa: SLF001
        if _is_true(query, "cleanSession"):
            session._persist_session = False  # noqa: SLF001
        await _end(session, "API_INITIATED_DISCONNECT", _ADMINISTRATIVE_ACTION)
        return iot.json_response({})

    iot_data.handle_request = handle_request
    if "iot-data" in app.SERVICE_HANDLERS:
        app.SERVICE_HANDLERS["iot-data"] = handle_request


def authorize_connections_on_their_client() -> None:
    """Make IAM decide on the client of DeleteConnection. ministack uses `*`."""
    from ministack.core import iam_actions

    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(  # noqa: PLR0917 -- ministack calls it by position
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account_id: str
    ) -> str:
        if service == "iot-data" and path.startswith(_CONNECTIONS):
            return f"arn:aws:iot:{region}:{account_id}:client/{unquote(path.removeprefix(_CONNECTIONS))}"
        return str(extract(service, method, path, headers, body, query, region, account_id))

    iam_actions.extract_resource_arn = extract_resource_arn


def _is_true(query: Any, name: str) -> bool:
    value = query.get(name)
    return value in ("true", ["true"])


def _end_soon(session: Any, reason: str, code: int) -> None:
    """End the session on its socket's event loop, because an API call may run on another thread."""
    from ministack.services import iot

    asyncio.run_coroutine_threadsafe(_end(session, reason, code), iot._mtls_loop)  # noqa: SLF001


async def _end(session: Any, reason: str, code: int) -> None:
    from ministack.services import iot

    session._forced_disconnect_reason = reason  # noqa: SLF001
    with suppress(Exception):  # The client may have disconnected.
        if session.protocol_version == iot.MQTT_5:
            await session.send_bytes(iot._make_disconnect(code))  # noqa: SLF001
        await session._send({"type": "websocket.close", "code": 1000})  # noqa: SLF001
    await session.cleanup()
