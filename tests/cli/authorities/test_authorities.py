"""The commands of `secretfree ca`, against CAs, certificates and a ledger on moto."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from moto.iot.models import iot_backends
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.issuance.ports import CertificateRecordState
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId
from secretfree_cli.authorities.commands import ca
from secretfree_cli.output import ExitCode
from secretfree_cli.pacing import Pace
from secretfree_cli.target import Target
from support.documents import ROOT, blocks
from support.moto_cloud import root_authority
from support.stack_on_moto import target_on_moto
from support.tables import LEDGER_TABLE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("authorities")]  # one process for all of them

NOW = datetime.now(UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
END = NOW + timedelta(days=300)


class Line:
    """A product line whose second CA follows its first."""

    def __init__(self) -> None:
        self.iot, self.pca, self.dynamodb = (boto3.client(name) for name in ("iot", "acm-pca", "dynamodb"))
        self.dynamodb.create_table(**LEDGER_TABLE)
        self.ledger = DynamoDbLedger(self.dynamodb, table=LEDGER_TABLE["TableName"])
        self.first, self.following = root_authority(self.pca), root_authority(self.pca)
        self.name(self.following, self.first)

    def name(self, current: str, *previous: str) -> None:
        """What the stack says of its CAs."""
        fields = {"current": current, "previous": previous, "validityDays": 90}
        self.authorities = json.dumps({"private-ca": fields})

    def target(self) -> Target:
        return target_on_moto(authorities=self.authorities)

    def register(self, arn: str) -> str:
        pem = self.pca.get_certificate_authority_certificate(CertificateAuthorityArn=arn)["Certificate"]
        answer = self.iot.register_ca_certificate(caCertificate=pem, verificationCertificate="x", setAsActive=True)
        # moto takes the hash of the PEM for the id; IoT Core takes that of the DER, as for every certificate.
        registered = iot_backends["123456789012"]["eu-central-1"].ca_certificates
        found = registered.pop(answer["certificateId"])
        found.certificate_id = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
        registered[found.certificate_id] = found
        return str(found.certificate_id)

    def issue(self, device_id: str, arn: str) -> tuple[Issuance, str]:
        """An active certificate of a CA: the record, and the certificate's id."""
        pem = certificate(device_id)
        registered = self.iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
        first = Issuance.first(DeviceId.parse(device_id), "private-ca", "ab" * 32, owner="worker", now=NOW)
        requested = self.ledger.write(first).requested(f"{arn}/certificate/{int(NOW.timestamp())}")
        issued = requested.issued(
            certificate_id=registered["certificateId"], certificate_pem=pem, chain=None, not_after=END
        )
        active = issued.registered(registered["certificateArn"]).active(clear_at=None)
        return self.ledger.write(active, certificate=CertificateRecordState.ACTIVE), str(registered["certificateId"])

    def status_of(self, certificate_id: str) -> str:
        return str(self.iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["status"])


def certificate(device_id: str) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    made = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=1))
    return made.not_valid_after(END).sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture
def line(moto_account: None, monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line()
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: made.target())
    monkeypatch.setattr("secretfree_cli.authorities.commands.Pace", lambda _rate: Pace(1e9))
    return made


@pytest.fixture
def run() -> Callable[..., Any]:
    def invoke(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(ca, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    return invoke


def test_the_status_counts_the_devices_that_remain_on_each_ca(line: Line, run: Any) -> None:
    for device, arn in (("dev-1", line.first), ("dev-2", line.first), ("dev-3", line.following)):
        line.issue(device, arn)
    shown = run("status")
    assert {(one["arn"], one["role"], one["devices"]) for one in shown["authorities"]} == {
        (line.following, "current", 1),
        (line.first, "previous", 2),
    }
    assert shown["readUnits"] >= 0


def test_a_device_in_its_renewal_counts_for_the_ca_of_the_certificate_that_it_has(line: Line, run: Any) -> None:
    record, _ = line.issue("dev-1", line.first)
    line.ledger.write(record.next_generation(record.fingerprint, "worker", NOW))
    assert {one["arn"]: one["devices"] for one in run("status")["authorities"]} == {line.following: 0, line.first: 1}


def test_a_revoked_certificate_is_no_device_s(line: Line, run: Any) -> None:
    record, _ = line.issue("dev-1", line.first)
    line.ledger.write(record.withdrawn_at(NOW), certificate=CertificateRecordState.REVOKED)
    assert {one["devices"] for one in run("status")["authorities"]} == {0}


def test_a_ca_that_the_stack_names_no_more_is_shown_while_devices_remain_on_it(line: Line, run: Any) -> None:
    line.issue("dev-1", line.first)
    line.name(line.following)
    assert [(one["arn"], one["role"]) for one in run("status")["authorities"]] == [
        (line.following, "current"),
        (line.first, "distrusted"),
    ]


def test_the_status_has_the_cas_end_and_its_registration(line: Line, run: Any) -> None:
    line.register(line.following)
    current, previous = run("status")["authorities"]
    assert (current["registered"], previous["registered"]) == ("ACTIVE", "no")
    ends, signs = (datetime.fromisoformat(current[name]) for name in ("notAfter", "signsUntil"))
    assert ends - signs == timedelta(days=90)
    assert previous["signsUntil"] is None


def another_of_its_form(arn: str) -> str:
    """An ARN that differs from this random one in its last hexadecimal digit, whatever that is."""
    return arn[:-1] + ("0" if arn[-1] != "0" else "1")


def test_what_cannot_be_read_is_left_out_of_the_status_and_named(line: Line, run: Any) -> None:
    line.name(line.following, another_of_its_form(line.first))
    result = CliRunner().invoke(ca, ["status"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "not read: the CA" in result.stderr


def test_a_stack_without_a_private_ca_has_no_status(line: Line, run: Any) -> None:
    line.authorities = None  # type: ignore[assignment]
    assert "error" in json.dumps(run("status", code=ExitCode.NOT_FOUND))


@pytest.mark.parametrize("role", ["current", "previous"])
def test_a_ca_that_the_stack_still_names_is_not_distrusted(line: Line, run: Any, role: str) -> None:
    arn = {"current": line.following, "previous": line.first}[role]
    _, certificate_id = line.issue("dev-1", arn)
    run("distrust", arn, "--yes", code=ExitCode.REFUSED)
    assert line.status_of(certificate_id) == "ACTIVE"


def test_a_dry_run_counts_and_changes_nothing(line: Line, run: Any) -> None:
    _, certificate_id = line.issue("dev-1", line.first)
    registration = line.register(line.first)
    line.name(line.following)
    assert run("distrust", line.first, "--dry-run")["certificates"]["deactivated"] == 1
    assert line.status_of(certificate_id) == "ACTIVE"
    described = line.iot.describe_ca_certificate(certificateId=registration)["certificateDescription"]
    assert described["status"] == "ACTIVE"


def test_distrust_deactivates_what_the_ca_signed_and_nothing_else(line: Line, run: Any) -> None:
    (_, mine), (_, other) = line.issue("dev-1", line.first), line.issue("dev-2", line.following)
    registration = line.register(line.first)
    line.name(line.following)
    assert run("distrust", line.first, "--yes")["certificates"]["deactivated"] == 1
    assert (line.status_of(mine), line.status_of(other)) == ("INACTIVE", "ACTIVE")
    described = line.iot.describe_ca_certificate(certificateId=registration)["certificateDescription"]
    assert described["status"] == "INACTIVE"


def test_distrust_covers_the_certificate_of_a_device_in_its_renewal_and_one_not_yet_recorded(
    line: Line, run: Any
) -> None:
    record, renewing = line.issue("dev-1", line.first)
    line.ledger.write(record.next_generation(record.fingerprint, "worker", NOW))
    pem = certificate("dev-2")
    unrecorded = line.iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")["certificateId"]
    first = Issuance.first(DeviceId.parse("dev-2"), "private-ca", "cd" * 32, owner="worker", now=NOW)
    requested = line.ledger.write(first).requested(f"{line.first}/certificate/1")
    line.ledger.write(requested.issued(certificate_id=unrecorded, certificate_pem=pem, chain=None, not_after=END))
    line.name(line.following)
    assert run("distrust", line.first, "--yes")["certificates"]["deactivated"] == 2
    assert {line.status_of(one) for one in (renewing, unrecorded)} == {"INACTIVE"}


def test_a_second_run_of_distrust_finds_nothing_left_to_do(line: Line, run: Any) -> None:
    line.issue("dev-1", line.first)
    line.name(line.following)
    run("distrust", line.first, "--yes")
    counts = run("distrust", line.first, "--yes")["certificates"]
    assert {name: number for name, number in counts.items() if number} == {"already-inactive": 1}


def test_a_certificate_that_was_revoked_before_stays_revoked_and_its_device_is_named(line: Line, run: Any) -> None:
    _, certificate_id = line.issue("dev-1", line.first)
    line.iot.update_certificate(certificateId=certificate_id, newStatus="REVOKED")
    line.name(line.following)
    assert run("distrust", line.first, "--yes")["revokedDevices"] == ["dev-1"]
    assert line.status_of(certificate_id) == "REVOKED"


@pytest.mark.parametrize("page", ["rotating-a-ca.md", "compromised-ca.md"])
def test_the_commands_of_the_runbooks_run_in_their_order(line: Line, run: Any, page: str) -> None:
    line.issue("dev-1", line.first)
    line.name(line.following)
    blocks_of_page = blocks(ROOT / "docs" / "runbooks" / page, "sh")
    commands = [command for block in blocks_of_page for command in block.splitlines() if command.strip()]
    assert commands
    for command in commands:
        words = shlex.split(command.replace("ARN", line.first))
        assert words[:2] == ["secretfree", "ca"]
        run(*words[2:])


def test_calls_begin_at_even_intervals() -> None:
    slept: list[float] = []
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(4, monotonic=lambda: now, sleep=sleep)
    for _ in range(3):
        pace.wait()
    now += 10
    pace.wait()
    assert slept == [0.25, 0.25]
