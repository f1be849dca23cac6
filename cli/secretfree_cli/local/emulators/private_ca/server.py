"""The emulator's process: moto's threaded server for acm-pca alone, with the strict classes, on loopback.

Run as `python -m secretfree_cli.local.emulators.private_ca.server --port PORT --store FILE [--aws-url URL]...`, with
the operator's key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

from moto.acmpca import models, urls
from moto.acmpca.models import ACMPCABackend
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from secretfree_cli.local.emulators.operator import Operator
from secretfree_cli.local.emulators.private_ca.backend import Emulation, StrictAcmPcaBackend
from secretfree_cli.local.emulators.private_ca.gate import AccessKeys, guarded
from secretfree_cli.local.emulators.private_ca.responses import StrictAcmPcaResponse
from secretfree_cli.local.emulators.private_ca.settings import Settings
from secretfree_cli.local.emulators.private_ca.store import Store

LOOPBACK = "127.0.0.1"


def make_application(store: Store) -> Any:
    """Return the WSGI application. It treats every request as one to acm-pca."""
    StrictAcmPcaBackend.emulation = Emulation(store)
    backends = BackendDict(StrictAcmPcaBackend, "acm-pca")
    StrictAcmPcaResponse.backends = backends
    # moto looks up a service's backend and handler in its own modules.
    models.acmpca_backends = cast("BackendDict[ACMPCABackend]", backends)
    urls.url_paths = {"{0}/$": StrictAcmPcaResponse.dispatch}
    return create_backend_app("acm-pca")


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--aws-url",
        action="append",
        default=[],
        help="base URL of an AWS emulator, which has the keys of roles and users; repeatable",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="REGION=URL",
        help="another Region's Private CA emulator, which gets the calls for that Region; repeatable",
    )
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    Settings.from_environment()  # a setting that does not parse ends the server here, with its name
    keys = AccessKeys(Operator.from_environment(), arguments.aws_url)
    application = guarded(make_application(Store(arguments.store)), keys.find, peers=dict(arguments.peer))
    server = make_server(LOOPBACK, arguments.port, application, threaded=True, request_handler=MotoRequestHandler)
    server.serve_forever()


def _peer(text: str) -> tuple[str, str]:
    region, separator, url = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r}; expected REGION=URL")
    return region, url


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
