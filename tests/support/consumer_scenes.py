"""Events for the consumers of streams and queues, and the account's state after each."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from secretfree.contract import IssuerKind
from secretfree.errors import SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from support.fake_cloud import FakeCloud, Killed
from support.retiring import Retirer, event_body
from support.revoking import Revoker
from support.two_regions import Region, TwoRegions
from support.world import World


@dataclass(frozen=True)
class Scene:
    """One event. `deliver` processes it in the account `world`. After any exception it is delivered again."""

    world: World
    deliver: Callable[[], object]

    @property
    def cloud(self) -> FakeCloud:
        return self.world.cloud

    def deliver_until_done(self, most: int = 10) -> int:
        """Deliver once a minute; the number of deliveries until one succeeds."""
        for number in range(1, most + 1):
            with suppress(Exception, Killed):
                self.deliver()
                return number
            self.world.clock.sleep(60)
        raise AssertionError("never dealt with")

    def deliver_once(self) -> None:
        with suppress(Exception, Killed):
            self.deliver()

    def end(self) -> object:
        """The account's state without ids and times, which differ between two runs."""
        cloud = self.cloud
        certificates = [
            (one.status, sorted(one.policies), sorted(one.things.items())) for one in cloud.certificates.values()
        ]
        states = sorted((record.partition("#")[0], item["state"]["S"]) for (_, record), item in self._states())
        superseded = [len(item.get("superseded", {"L": []})["L"]) for (_, name), item in self._states() if "#" in name]
        return certificates, states, superseded, sorted(cloud.connected), len(cloud.revoked_serials)

    def _states(self) -> list[tuple[tuple[str, str], dict[str, dict[str, str]]]]:
        return [(key, item) for key, item in self.world.items.items() if "state" in item]


def issued(region: Region) -> IssuedCertificate:
    answer = region.world.ask_as_enrolled()
    assert isinstance(answer, IssuedCertificate), answer
    return answer


def after_an_issuance(both: TwoRegions) -> set[str]:
    """The device got a certificate in the first Region.

    Returns the active certificates of the second one at the end.
    """
    return {issued(both.here).certificate_id}


def after_a_revocation(both: TwoRegions) -> set[str]:
    first = issued(both.here)
    both.replicate()
    both.there.follow()
    both.here.world.cloud.revoke(first.certificate_id)
    both.pass_time(timedelta(days=2))
    with suppress(SecretFreeError):
        both.here.world.ask_as_enrolled()  # the issuer sees that it is revoked, and announces it
    return set()


def after_a_connect(both: TwoRegions) -> set[str]:
    first = issued(both.here)
    both.replicate()
    both.there.follow()
    both.clock.sleep_until(first.renew_after)
    second = issued(both.here).certificate_id
    both.replicate()
    both.there.follow()
    retirer = Retirer(both.here.world)
    assert retirer.connect(second)
    assert retirer.deliver() == (first.certificate_id,)
    return {second}


def _revoker() -> Scene:
    world = World(IssuerKind.PRIVATE_CA)
    world.ask()
    world.clock.sleep(60)
    world.cloud.connected.add("widget-1")
    revoker = Revoker(world)
    revoker.block()
    (change,) = revoker.stream
    return Scene(world, lambda: revoker.deliver(change))


def _retirer() -> Scene:
    world = World(IssuerKind.PRIVATE_CA)
    old, _ = world.ask_until_issued()
    world.clock.sleep_until(old.renew_after)
    new, _ = world.ask_until_issued()
    retirer = Retirer(world)
    return Scene(world, lambda: retirer.deliver(event_body(new.certificate_id)))


def _follower(event: Callable[[TwoRegions], object]) -> Callable[[], Scene]:
    def scene() -> Scene:
        both = TwoRegions(one_ca=True)
        both.enrol()
        event(both)
        both.replicate()
        both.there.world.cloud.connected.add("widget-1")
        return Scene(both.there.world, both.there.follow)

    return scene


SCENES: dict[str, Callable[[], Scene]] = {
    "revoker, a block": _revoker,
    "retirer, a connect": _retirer,
    "follower, a certificate": _follower(after_an_issuance),
    "follower, a revocation": _follower(after_a_revocation),
    "follower, a connect": _follower(after_a_connect),
}
