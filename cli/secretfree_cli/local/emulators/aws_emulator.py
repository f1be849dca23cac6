"""The AWS emulator's process: ministack, confined to loopback, with corrections and optimisations.

Run as `python -m secretfree_cli.local.emulators.aws_emulator`; ministack reads its settings from the environment.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from secretfree_cli.local.emulators import (
    aws_function_code,
    aws_function_starts,
    cloudformation_inert,
    cloudformation_private_ca,
)
from secretfree_cli.local.emulators.aws_change_streams import stream_changes
from secretfree_cli.local.emulators.aws_corrections import correct
from secretfree_cli.local.emulators.aws_device_sessions import correct_sessions
from secretfree_cli.local.emulators.aws_domains import DeployedDomains
from secretfree_cli.local.emulators.aws_gate import install
from secretfree_cli.local.emulators.aws_limits import Limits, impose
from secretfree_cli.local.emulators.aws_metrics import measure
from secretfree_cli.local.emulators.aws_replicas import replicate
from secretfree_cli.local.emulators.aws_rule_roles import correct_rules
from secretfree_cli.local.emulators.aws_streams import correct_streams
from secretfree_cli.local.emulators.aws_unneeded_work import skip_unneeded_work
from secretfree_cli.local.emulators.cloudformation_private_ca import Provider, client_of_stacks_region
from secretfree_cli.local.emulators.operator import Operator
from secretfree_cli.local.emulators.tls_front import TlsSettings, listen

LOOPBACK = "127.0.0.1"
_EVERY_INTERFACE = frozenset({None, "", "0.0.0.0", "::"})  # noqa: S104 -- named here to be refused


def confine_to_loopback() -> None:
    """Bind every listener that this process opens from now on to loopback.

    BIND_HOST applies only to the HTTP port: ministack 1.5.33 always binds its MQTT port to every interface.
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


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    limits = Limits.from_environment(os.environ)  # an invalid setting ends the server here
    confine_to_loopback()
    correct()
    correct_sessions()
    domains = DeployedDomains()
    domains.install()
    aws_function_code.install()
    aws_function_starts.install()
    correct_streams()
    stream_changes()
    correct_rules()
    skip_unneeded_work()
    impose(limits)
    cloudformation_inert.install()
    cloudformation_private_ca.install(Provider(client_of_stacks_region))
    measure(os.environ)
    operator = Operator.from_environment()
    install(operator, routes=replicate(os.environ, operator))
    tls = TlsSettings.from_environment(os.environ)
    if tls is not None:
        listen(tls, domains)
    from ministack.app import main as serve

    serve()


if __name__ == "__main__":
    main()
