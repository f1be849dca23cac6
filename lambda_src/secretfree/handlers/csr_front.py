"""Accepts a CSR as the body: applies the authorizer's rules, then invokes the issuer. It issues nothing itself."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree.config.csr_front import CsrFrontConfig
from secretfree.contract import CSR_BODY_SEGMENT
from secretfree.handlers.csr_bodies import CsrBodies
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.request import header_values
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = CsrFrontConfig.from_environment(environment)
    bodies = CsrBodies(config, Telemetry(config.authorizer.product, level=config.authorizer.log_level))

    def answer(event: dict[str, Any], _context: object) -> dict[str, Any]:
        return bodies.answer(event, path=_issuer_path(event), accepted=header_values(event, "accept"))

    return answer


def _issuer_path(event: Mapping[str, Any]) -> str:
    """The issuer's path, such as `new` for the resource `/new/csr`."""
    return str(event["resource"]).removesuffix(f"/{CSR_BODY_SEGMENT}").strip("/")


handler: Final = lambda_handler(build)
