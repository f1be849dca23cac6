"""The issuers' Lambda, behind the authorizer. SECRETFREE_ISSUERS configures its issuer."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from secretfree import clock as time
from secretfree.config.issuer import IssuerConfig
from secretfree.handlers import reports, wiring
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.endpoint import IssuingEndpoint
from secretfree.issuance.model import IssuanceAnswer
from secretfree.issuance.pipeline import issue
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import VerifiedCsr
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = IssuerConfig.from_environment(environment)
    telemetry = Telemetry(config.product, config.issuer.name, level=config.log_level)
    ports = wiring.ports(
        config,
        config.issuer,
        stage=telemetry.stage,
        calls=telemetry.call,
        tickets_failed=partial(reports.tickets_failure, telemetry),
    )
    policy = wiring.policy(config, config.issuer)
    clock = time.SystemClock()

    def answer(device: AuthorizedDevice, csr: VerifiedCsr, remaining: float) -> IssuanceAnswer:
        deadline = wiring.deadline(clock, remaining)
        return issue(device, csr, ports=ports, policy=policy, clock=clock, deadline=deadline)

    return IssuingEndpoint(
        answer,
        stage="issue",
        profile=config.device_profile,
        iot_endpoint=config.iot_endpoint,
        telemetry=telemetry,
        clock=clock,
    )


handler: Final = lambda_handler(build)
