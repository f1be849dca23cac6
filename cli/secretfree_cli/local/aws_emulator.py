"""The AWS emulator's process: ministack, kept on loopback, and corrected where IoT Core decides otherwise.

Run as `python -m secretfree_cli.local.aws_emulator`; ministack reads its settings from the environment.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

LOOPBACK = "127.0.0.1"
_EVERY_INTERFACE = frozenset({None, "", "0.0.0.0", "::"})  # noqa: S104 -- named here to be refused


def confine_to_loopback() -> None:
    """Make every listener that this process opens from now on a loopback one.

    BIND_HOST does so for the HTTP port only: ministack 1.5.33 binds its MQTT port to every interface, whatever is set.
    """
    loop_class = asyncio.BaseEventLoop
    open_listener = loop_class.create_server

    async def create_server(
        self: asyncio.BaseEventLoop, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        if options.get("sock") is None and (isinstance(host, str) or host is None) and host in _EVERY_INTERFACE:
            host = LOOPBACK
        return await open_listener(self, protocol_factory, host, port, **options)

    loop_class.create_server = create_server  # type: ignore[method-assign]


def require_client_certificates() -> None:
    """Make the MQTT port take no client without a certificate, as IoT Core's port 8883 does.

    ministack 1.5.33 lets such a client in, as the account's own, with no policy to hold it.
    """
    from ministack.services import iot

    build_context = iot._mtls_build_ssl_context  # noqa: SLF001 -- there is no setting for it

    def build_strict_context() -> ssl.SSLContext:
        context: ssl.SSLContext = build_context()
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    iot._mtls_build_ssl_context = build_strict_context  # noqa: SLF001


def authorize_iot_calls_on_their_resources() -> None:
    """Make IAM decide on the resource that a call names, where ministack 1.5.33 takes it for `*`.

    Without it a role that may touch `cacert/...` or attach a policy to `cert/...` alone, as AWS's service
    authorization reference has them, is refused.
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
    """Return the ARN that a call of IoT Core is authorized on, for the calls that ministack has none for.

    CA certificates are named by the path. AttachPolicy and DetachPolicy are authorized on their target, in the body.
    """
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


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    confine_to_loopback()
    require_client_certificates()
    authorize_iot_calls_on_their_resources()
    from ministack.app import main as serve

    serve()


if __name__ == "__main__":
    main()
