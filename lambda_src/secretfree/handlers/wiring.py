"""Builds an issuer's ports from a configuration: one set for each issuer, once in a process."""

import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from secretfree import clock as time
from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.adapters.issuers import IssuerSurroundings, make_issuer
from secretfree.clock import Clock, SystemClock
from secretfree.config.announcements import AnnouncementsConfig
from secretfree.config.issuer import IssuerConfig
from secretfree.config.issuers import IssuerSettings
from secretfree.issuance.model import IssuancePolicy, IssuancePorts, StageTimer
from secretfree.issuance.rates import Congestion
from secretfree.issuance.tickets import TicketPolicy
from secretfree.issuance.turns import Turns

if TYPE_CHECKING:
    from secretfree.adapters.dynamodb.announcing import Announcing

# At most three calls run at once in a step, plus the confirmation of an earlier request.
_THREADS: Final = 6
# Seconds. API Gateway ends the request at 29.
_BUDGET: Final = 20.0
_MARGIN: Final = 6.0


def ports(
    config: IssuerConfig,
    issuer: IssuerSettings,
    *,
    stage: StageTimer = nullcontext,
    calls: clients.CallObserver | None = None,
    announces: bool = True,
    tickets_failed: Callable[[Exception], None] | None = None,
) -> IssuancePorts:
    """The ports of one issuer, on AWS clients that the process shares.

    `stage`: see `IssuancePorts`. `calls`: observes each call of IoT Core and Private CA. `announces`: the ledger
    announces its changes to the other Regions, if there are any. `tickets_failed`: see `report` of `Turns`. Raises
    ConfigurationError.
    """
    if calls is not None:
        clients.observe_calls(calls)
    things = IotCoreThings(
        single_try_clients.iot(),
        thing_type=config.thing_type,
        policy_name=config.policy_name,
        groups=config.thing_groups,
        attributes=config.thing_attributes,
    )
    counter = DynamoDbTicketCounter(clients.dynamodb(), table=config.ledger_table, issuer=issuer.name)
    surroundings = IssuerSurroundings(things=things, subject=config.subject)
    return IssuancePorts(
        issuer=make_issuer(issuer, surroundings),
        things=things,
        ledger=DynamoDbLedger(
            clients.dynamodb(),
            table=config.ledger_table,
            announcing=announcing(config.announcements) if announces else None,
        ),
        registry=DynamoDbRegistry(clients.dynamodb(), table=config.registry_table),
        executor=ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="issuing"),
        congestion=Congestion(),
        turns=Turns(
            counter,
            TicketPolicy(rate=config.issuance_rate),
            SystemClock(),
            report=tickets_failed or (lambda _: None),
        ),
        chance=random.SystemRandom().random,
        owner=lambda: uuid.uuid4().hex,
        stage=stage,
    )


def announcing(config: AnnouncementsConfig | None) -> "Announcing | None":
    """The configuration of a ledger's announcements; None with one Region."""
    if config is None:
        return None
    from secretfree.adapters.dynamodb.announcing import Announcing

    return Announcing(table=config.table, region=config.region, clock=time.SystemClock())


def policy(config: IssuerConfig, issuer: IssuerSettings) -> IssuancePolicy:
    """The issuing policy of `issuer`, from the configuration."""
    return IssuancePolicy(
        issuer=issuer.name,
        deployment=config.deployment,
        renewal_window=config.renewal_window,
        match=config.match,
        authorities=issuer.authorities
        if config.announcements is None
        else config.announcements.trusted(issuer.authorities),
    )


def deadline(clock: Clock, remaining: float) -> float:
    """The time of `clock.monotonic()` after which an invocation with `remaining` seconds begins no further call.

    The last call may take its whole read timeout, so the deadline is well before the function's end. Budget and margin
    together are shorter than a lease, so that no second worker starts while this one still works.
    """
    return clock.monotonic() + min(_BUDGET, remaining - _MARGIN)
