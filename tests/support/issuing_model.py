"""Tests the invariants of issuing with random devices, keys, faults, revocations, blocks and clock jumps."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from secretfree.contract import IssuerKind
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.model import IssuedCertificate, NotReady
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, Fault, Killed
from support.world import World, verified_csr

DEVICES = st.sampled_from(["widget-1", "widget-2"])
KEYS = st.sampled_from([0, 0, 0, 1])
TABLE_CALLS = ("GetItem:", "PutItem:", "TransactWriteItems:")
"""How the errors of a table begin, a missing right's among them."""
ROTATIONS = st.sampled_from([(NEXT_CA_ARN, CA_ARN), (CA_ARN, NEXT_CA_ARN), (NEXT_CA_ARN,), (CA_ARN,)])
"""The CAs that a deployment may name: the one that signs, then the previous ones."""


class IssuingModel(RuleBasedStateMachine):
    """Two devices. `dropped`: CAs that a deployment no longer named, at least for a while."""

    kind = IssuerKind.PRIVATE_CA

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()
        self.blocked: set[str] = set()
        self.revoked: set[str] = set()
        self.keys = {"widget-1": 0, "widget-2": 0}
        self.dropped: set[str] = set()

    def make_world(self) -> World:
        """The account that the model runs on."""
        return World(self.kind)

    @rule(device=DEVICES)
    def the_device_asks(self, device: str) -> None:
        issued = len(self.world.cloud.issued)
        has_a_good_one = self.has_a_good_certificate(device)
        turn = self.turn_of(device)
        try:
            outcome = self.ask(device)
        except Killed:
            return
        except SecretFreeError as error:
            self.require_cause(error, has_a_good_one=has_a_good_one)
            if error.code is ErrorCode.NOT_AUTHORIZED and (self.revoked or device in self.blocked):
                return
            if error.code not in {ErrorCode.TOO_MANY_REQUESTS, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL}:
                raise
            return
        assert not has_a_good_one or isinstance(outcome, IssuedCertificate)
        assert device not in self.blocked or len(self.world.cloud.issued) == issued
        if isinstance(outcome, IssuedCertificate):
            assert device not in self.blocked
            certificate = self.world.cloud.certificates.get(outcome.certificate_id)
            assert certificate is None or certificate.things == {device: "EXCLUSIVE_THING"}
            assert outcome.thing_name == device
            assert outcome.reused or turn is None or self.world.clock.now() >= turn
            assert self.world.policy.trusts(self.reference_of(outcome.certificate_pem))

    def require_cause(self, error: SecretFreeError, *, has_a_good_one: bool) -> None:
        """A device with a valid certificate is refused only because of itself, or because a table does not answer."""
        of_a_table = str(error).startswith(TABLE_CALLS)
        assert not has_a_good_one or of_a_table or error.code in {ErrorCode.NOT_AUTHORIZED, ErrorCode.UNAVAILABLE}

    def turn_of(self, device: str) -> datetime | None:
        """The time before which a request of the device has no effect."""
        item = self.world.items.get((device, f"issuance#{self.kind.value}"), {})
        if "ticket" not in item:
            return None
        return datetime.fromtimestamp(int(item["ticket"]["M"]["at"]["N"]) / 1000, UTC)

    def has_a_good_certificate(self, device: str) -> bool:
        """Whether the ledger has one for the device's present key that IoT Core has active for another day."""
        item = self.world.items.get((device, f"issuance#{self.kind.value}"), {})
        kept = item if item.get("state") == {"S": "active"} else item.get("in-use", {"M": {}})["M"]
        key = verified_csr(device, self.keys[device]).public_key.fingerprint
        if not kept or item["key-fingerprint"] != {"S": key}:
            return False
        if not self.world.policy.trusts(kept.get("reference", {}).get("S")):
            return False
        known = self.world.cloud.certificates.get(kept["certificate-id"]["S"])
        tomorrow = self.world.clock.now() + timedelta(days=1)
        return (
            known is not None and known.status == "ACTIVE" and int(kept["not-after"]["N"]) > tomorrow.timestamp() * 1000
        )

    def reference_of(self, pem: str) -> str | None:
        """The CA's reference; None for a certificate of IoT Core's CA."""
        return next((arn for arn, order in self.world.cloud.orders.items() if order["pem"] == pem), None)

    @precondition(lambda self: self.kind is IssuerKind.PRIVATE_CA)
    @rule(authorities=ROTATIONS)
    def the_operator_deploys_with_other_authorities(self, authorities: tuple[str, ...]) -> None:
        self.world.rotate(*authorities)
        self.dropped |= {CA_ARN, NEXT_CA_ARN} - set(authorities)

    def ask(self, device: str) -> IssuedCertificate | NotReady:
        """Past the authorizer, with the registry as the operator left it."""
        key = self.keys[device]
        status = {"status": "blocked"} if device in self.blocked else {}
        self.world.cloud.enroll(device, verified_csr(device, key).public_key.fingerprint, **status)
        return self.world.ask_as_enrolled(device, key)

    @rule(device=DEVICES, key=KEYS)
    def the_operator_enrols_another_key(self, device: str, key: int) -> None:
        self.keys[device] = key

    @rule(device=DEVICES)
    def the_operator_blocks_or_unblocks(self, device: str) -> None:
        self.blocked ^= {device}

    @rule(number=st.integers(1, 12), fault=st.sampled_from(list(Fault)))
    def a_call_will_fail(self, number: int, fault: Fault) -> None:
        self.world.cloud.faults[len(self.world.cloud.calls) + number] = fault

    @rule(number=st.integers(1, 12))
    def the_ledger_will_be_throttled_from_there_on(self, number: int) -> None:
        """Calls in parallel with a failed write have their effect."""
        throttled = self.world.cloud.always
        self.world.cloud.before_call[len(self.world.cloud.calls) + number] = lambda: throttled.update(
            PutItem=Fault.THROTTLED
        )

    @rule(operation=st.sampled_from(["IssueCertificate", "CreateCertificateFromCsr", "AttachPolicy", "UpdateItem"]))
    def the_fleet_uses_a_quota_up(self, operation: str) -> None:
        """Devices get numbers, or none while the counter is throttled."""
        self.world.cloud.always[operation] = Fault.THROTTLED

    @rule(numbers=st.sampled_from([30, 6_000]))
    def many_other_devices_take_numbers(self, numbers: int) -> None:
        queue = self.world.items.get(("tickets#", f"tickets#{self.kind.value}"))
        if queue is not None:
            queue["given"] = {"N": str(int(queue.get("given", {"N": "0"})["N"]) + numbers)}

    @rule()
    def the_quotas_and_the_ledger_recover(self) -> None:
        self.world.cloud.always.clear()

    @rule(looks=st.sampled_from([0, 2, 40]))
    def the_authority_slows_down(self, looks: int) -> None:
        self.world.cloud.looks_until_ready = looks

    @precondition(lambda self: not self.world.cloud.before_call)
    @rule(number=st.integers(1, 40), seconds=st.sampled_from([20, 50, 90]))
    def a_worker_will_stall_while_the_device_asks_again(self, number: int, seconds: int) -> None:
        """For longer than a lease, although no invocation lasts as long."""

        def meanwhile() -> None:
            self.world.clock.sleep(seconds)
            self.the_device_asks("widget-1")

        self.world.cloud.before_call[len(self.world.cloud.calls) + number] = meanwhile

    @precondition(lambda self: self.world.cloud.certificates)
    @rule(number=st.integers(0, 9))
    def someone_revokes(self, number: int) -> None:
        certificates = list(self.world.cloud.certificates)
        certificate = certificates[number % len(certificates)]
        self.world.cloud.revoke(certificate)
        self.revoked.add(certificate)

    @rule(jump=st.sampled_from([1, 10, 60, 300, 3600, 86400 * 200, 86400 * 400]))
    def time_passes(self, jump: int) -> None:
        self.world.clock.sleep(jump)

    @rule()
    def the_sweeper_runs(self) -> None:
        with suppress(Killed):
            self.world.sweep()

    @invariant()
    def revoked_stays_revoked(self) -> None:
        for certificate_id in self.revoked:
            certificate = self.world.cloud.certificates.get(certificate_id)
            assert certificate is None or certificate.status != "ACTIVE"

    @invariant()
    def one_certificate_per_generation(self) -> None:
        orders = self.world.cloud.orders.values()
        tokens = [(order["CertificateAuthorityArn"], order["IdempotencyToken"]) for order in orders]
        assert len(tokens) == len(set(tokens))
        generations = sum(
            int(item["generation"]["N"])
            for (_, record), item in self.world.cloud.items.items()
            if record.startswith("issuance#")
        )
        # A generation from before a rotation may have requests at each CA.
        assert len({token for _, token in tokens} or self.world.cloud.issued) <= generations

    def teardown(self) -> None:
        self.world.cloud.before_call.clear()
        self.quiesce()
        self.world.require_invariants_at_quiescence()
        self.world.cloud.looks_until_ready = 0
        for device, key in self.keys.items():
            if device not in self.blocked and not self.revoked:
                assert self.world.ask_until_issued(device, key)
        self.quiesce()
        self.world.require_invariants_at_quiescence()

    def quiesce(self) -> None:
        """Leave nothing to do, and take away what the sweeper may not or cannot.

        That is what an operator revoked, and what a CA signed that is named no more, was registered, and never got a
        policy: the sweeper may not read it at that CA.
        """
        self.world.quiesce()
        for certificate_id in self.revoked:
            self.world.cloud.remove(certificate_id)
        for certificate in list(self.world.cloud.certificates.values()):
            signer = str(self.reference_of(certificate.pem)).partition("/certificate/")[0]
            if signer in self.dropped and not certificate.policies:
                self.world.cloud.remove(certificate.certificate_id)
