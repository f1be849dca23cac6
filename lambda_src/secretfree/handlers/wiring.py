"""The issuers' world put together from a configuration: one set of ports per issuer, made once per process."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Final

from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.iot_core import IotCoreIssuer, IotCoreThings, SearchBounds
from secretfree.clock import Clock
from secretfree.config import IssuerConfig
from secretfree.contract import IssuerKind, MatchPolicy, Variable
from secretfree.issuance.model import IssuancePolicy, IssuancePorts, StageTimer
from secretfree.issuance.ports import CertificateIssuer
from secretfree.issuance.rates import Congestion

# Two or three calls at once in the widest step, and a confirmation of an earlier request beside them.
_THREADS: Final = 6
# Seconds. API Gateway ends the request at 29.
_BUDGET: Final = 20.0
_MARGIN: Final = 6.0


def ports(
    config: IssuerConfig,
    kind: IssuerKind,
    *,
    bounds: SearchBounds | None = None,
    stage: StageTimer = nullcontext,
) -> IssuancePorts:
    """The ports of one issuer, on AWS clients that the process shares.

    `bounds`: how far it searches for a lost certificate; None: as far as a request may. `stage`: as of `IssuancePorts`.
    """
    iot = single_try_clients.iot()
    things = IotCoreThings(
        iot,
        thing_type=config.thing_type,
        policy_name=config.policy_name,
        groups=config.thing_groups,
        attributes=config.thing_attributes,
    )
    return IssuancePorts(
        issuer=_issuer(config, kind, things, bounds),
        things=things,
        ledger=DynamoDbLedger(clients.dynamodb(), table=config.ledger_table),
        executor=ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="issuing"),
        congestion=Congestion(),
        chance=random.SystemRandom().random,
        owner=lambda: uuid.uuid4().hex,
        stage=stage,
    )


def policy(config: IssuerConfig, kind: IssuerKind) -> IssuancePolicy:
    """What the configuration decides about issuing through `kind`."""
    return IssuancePolicy(
        issuer=kind.value,
        renewal_window=config.renewal_window,
        binds_first_key=config.match is MatchPolicy.UDID,
    )


def deadline(clock: Clock, remaining: float) -> float:
    """The time of `clock.monotonic()` after which an invocation with `remaining` seconds begins no further call.

    The last call begun may take its whole read time-out, so the work ends well before the function does. Budget and
    margin together are less than a lease, so that no second worker takes over while this one still works.
    """
    return clock.monotonic() + min(_BUDGET, remaining - _MARGIN)


def _issuer(
    config: IssuerConfig, kind: IssuerKind, things: IotCoreThings, bounds: SearchBounds | None
) -> CertificateIssuer:
    if kind is IssuerKind.IOT_CORE:
        return IotCoreIssuer(single_try_clients.iot(), things, bounds=bounds)
    # Where the private CA is not used, neither its client nor its module is loaded.
    from secretfree.adapters.private_ca import PrivateCaIssuer
    from secretfree.config import ConfigurationError

    if config.private_ca is None:
        raise ConfigurationError(f"{Variable.CA_ARN} is not set: accepted is the ARN of a private CA")
    return PrivateCaIssuer(
        single_try_clients.acm_pca(),
        single_try_clients.iot(),
        things,
        config=config.private_ca,
        subject=config.subject,
    )
