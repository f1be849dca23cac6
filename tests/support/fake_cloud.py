"""AWS in memory, as the issuers use it: strict where they depend on it, and able to fail at any call.

The adapters under test are the real ones; this replaces the clients below them.
"""

from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256
from threading import RLock
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CA_ARN = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
NEXT_CA_ARN = CA_ARN.replace("11111111-", "99999999-").replace("eu-central-1", "eu-west-1")
TEMPLATE = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
THING_TYPE = "widget"
POLICY = "widget-policy"
_CA_KEY = ec.generate_private_key(ec.SECP256R1())
_CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake CA")])


class Killed(BaseException):
    """The death of the process. Nothing catches this."""


class Fault(Enum):
    """How a call fails."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after its effect"
    THROTTLED = "throttled"
    TIMED_OUT_BEFORE = "timed out, no effect"
    TIMED_OUT_AFTER = "timed out after its effect"
    REFUSED = "refused"


class FakeClock:
    """A clock that only `sleep` and `sleep_until` move."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def sleep_until(self, moment: datetime) -> None:
        self.sleep((moment - self._now).total_seconds())


class InlineExecutor(Executor):
    """Runs at once, in this thread; the process's end ends everything."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as a pool does
            future.set_exception(error)
        return future


def client_error(operation: str, code: str, message: str = "", status: int = 400, **more: Any) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(response, operation)


@dataclass
class FakeCertificate:
    certificate_id: str
    arn: str
    pem: str
    status: str
    created: datetime
    ca_certificate_id: str | None = None
    registered_with: str = ""
    things: dict[str, str] = field(default_factory=dict)
    policies: set[str] = field(default_factory=set)


@dataclass
class FakeCloud:
    """One account: Private CA, IoT Core and the ledger's table."""

    authority_arn = CA_ARN

    clock: FakeClock = field(default_factory=FakeClock)
    calls: list[str] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    quotas: dict[str, float] = field(default_factory=dict)
    """Calls a second of an operation; a bucket holds as many."""
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    before_call: dict[int, Callable[[], object]] = field(default_factory=dict)
    looks_until_ready: int = 0
    signing: timedelta = timedelta()
    items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    other_ledgers: dict[str, dict[tuple[str, str], dict[str, Any]]] = field(default_factory=dict)
    registry: dict[str, dict[str, Any]] = field(default_factory=dict)
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    certificates: dict[str, FakeCertificate] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed_orders: set[str] = field(default_factory=set)
    ever_active: list[str] = field(default_factory=list)
    connected: set[str] = field(default_factory=set)
    revoked_serials: set[str] = field(default_factory=set)
    lock: RLock = field(default_factory=RLock)

    def client(self, service: str, _region: str | None = None) -> Any:
        return Client(self, _SERVICES[service](self))

    def authority_client(self, authority_arn: str) -> Any:
        """A client of Private CA in the Region of a CA. It has only the CAs of that Region."""
        return Client(self, _PrivateCa(self, authority_arn.split(":")[3]))

    def call(self, operation: str, act: Callable[[], Any]) -> Any:
        with self.lock:
            self.calls.append(operation)
            if (interruption := self.before_call.pop(len(self.calls), None)) is not None:
                interruption()
            fault = self.faults.pop(len(self.calls), None) or self.always.get(operation)
            if fault is None and not self._has_token(operation):
                fault = Fault.THROTTLED
            if fault is Fault.KILLED_BEFORE:
                raise Killed(operation)
            if fault is Fault.THROTTLED:
                raise client_error(operation, "ThrottlingException", "Rate exceeded", 400)
            if fault is Fault.REFUSED:
                raise client_error(operation, "AccessDeniedException", "", 403)
            if fault is Fault.TIMED_OUT_BEFORE:
                raise ReadTimeoutError(endpoint_url=operation)
            try:
                answer = act()
            finally:
                if fault is Fault.KILLED_AFTER:  # with any answer
                    raise Killed(operation)
            if fault is Fault.TIMED_OUT_AFTER:
                raise ReadTimeoutError(endpoint_url=operation)
            return answer

    def _has_token(self, operation: str) -> bool:
        rate = self.quotas.get(operation)
        if rate is None:
            return True
        now = self.clock.monotonic()
        tokens, at = self.buckets.get(operation, (rate, now))
        tokens = min(rate, tokens + rate * (now - at))
        self.buckets[operation] = (tokens - (tokens >= 1), now)
        return tokens >= 1

    def sign(self, csr_pem: str, common_name: str, days: int = 365) -> str:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        start = self.clock.now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(_CA_NAME)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - timedelta(hours=1))
            .not_valid_after(start + timedelta(days=days))
        )
        pem = builder.sign(_CA_KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        self.issued.append(pem)
        return pem

    def add_certificate(self, pem: str, status: str) -> FakeCertificate:
        der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        certificate_id = sha256(der).hexdigest()
        arn = f"arn:aws:iot:eu-central-1:111122223333:cert/{certificate_id}"
        certificate = FakeCertificate(certificate_id, arn, pem, status, self.clock.now())
        self.certificates[certificate_id] = certificate
        if status == "ACTIVE":
            self.ever_active.append(certificate_id)
        return certificate

    def enroll(self, device_id: str, fingerprint: str, **attributes: str) -> None:
        """Enrol as an importer does; the values replace those of an enrolled device."""
        values = {"device-id": device_id, "key-fingerprint": fingerprint}
        values |= {name.replace("_", "-"): value for name, value in attributes.items()}
        self.registry[device_id] = {name: {"S": value} for name, value in values.items()}

    def revoke(self, certificate_id: str) -> None:
        """As an operator does."""
        self.certificates[certificate_id].status = "REVOKED"

    def remove(self, certificate_id: str) -> None:
        """Remove as an operator does, by force."""
        self.certificates.pop(certificate_id, None)


def chain_of(authority_arn: str) -> str:
    """The chain of every certificate of this CA: a text for each CA."""
    body = b64encode(authority_arn.encode()).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----"


class Client:
    """Turns each method call into one counted AWS call that may fail."""

    def __init__(self, cloud: FakeCloud, service: Any) -> None:
        self._cloud = cloud
        self._service = service

    def __getattr__(self, method: str) -> Callable[..., Any]:
        act = getattr(self._service, method)
        operation = "".join(part.capitalize() for part in method.split("_"))
        return lambda **arguments: self._cloud.call(operation, lambda: act(**arguments))


class _PrivateCa:
    def __init__(self, cloud: FakeCloud, region: str | None = None) -> None:
        self._cloud = cloud
        self._region = region

    def _require_here(self, arn: str) -> None:
        if self._region not in {None, arn.split(":")[3]}:
            raise client_error("PrivateCa", "ResourceNotFoundException", "no such authority in this Region", 400)

    def describe_certificate_authority(self, **_: Any) -> Any:
        return {
            "CertificateAuthority": {"Status": "ACTIVE", "NotAfter": self._cloud.clock.now() + timedelta(days=1000)}
        }

    def issue_certificate(self, **order: Any) -> Any:
        cloud = self._cloud
        self._require_here(order["CertificateAuthorityArn"])
        token = order["IdempotencyToken"]
        for arn, earlier in cloud.orders.items():
            same = (earlier["CertificateAuthorityArn"], earlier["IdempotencyToken"]) == (
                order["CertificateAuthorityArn"],
                token,
            )
            if same and cloud.clock.now() < earlier["at"] + timedelta(minutes=5):
                return {"CertificateArn": arn}
        arn = f"{order['CertificateAuthorityArn']}/certificate/{len(cloud.orders):032d}"
        common_name = order["ApiPassthrough"]["Subject"]["CommonName"]
        pem = cloud.sign(order["Csr"].decode(), common_name, order["Validity"]["Value"])
        cloud.orders[arn] = {**order, "pem": pem, "at": cloud.clock.now(), "looks": 0, "ready": False}
        return {"CertificateArn": arn}

    def get_certificate(self, *, CertificateAuthorityArn: str, CertificateArn: str) -> Any:  # noqa: N803
        self._require_here(CertificateAuthorityArn)
        order = self._cloud.orders[CertificateArn]
        assert order["CertificateAuthorityArn"] == CertificateAuthorityArn
        if CertificateArn in self._cloud.failed_orders:
            raise client_error("GetCertificate", "RequestFailedException")
        order["looks"] += 1
        is_early = self._cloud.clock.now() - order["at"] < self._cloud.signing
        if not order["ready"] and (is_early or order["looks"] <= self._cloud.looks_until_ready):
            raise client_error("GetCertificate", "RequestInProgressException")
        order["ready"] = True
        return {"Certificate": order["pem"], "CertificateChain": chain_of(CertificateAuthorityArn)}

    def revoke_certificate(self, *, CertificateAuthorityArn: str, CertificateSerial: str, RevocationReason: str) -> Any:  # noqa: N803
        self._require_here(CertificateAuthorityArn)
        assert CertificateAuthorityArn in {CA_ARN, NEXT_CA_ARN, self._cloud.authority_arn}
        assert RevocationReason == "PRIVILEGE_WITHDRAWN"
        if CertificateSerial in self._cloud.revoked_serials:
            raise client_error("RevokeCertificate", "RequestAlreadyProcessedException")
        self._cloud.revoked_serials.add(CertificateSerial)
        return {}


class _IotData:
    def __init__(self, cloud: FakeCloud) -> None:
        self._cloud = cloud

    def delete_connection(self, *, clientId: str, cleanSession: bool, preventWillMessage: bool) -> Any:  # noqa: N803
        assert (cleanSession, preventWillMessage) == (True, True)
        if clientId not in self._cloud.connected:
            raise client_error("DeleteConnection", "ResourceNotFoundException", status=404)
        self._cloud.connected.remove(clientId)
        return {}


class _Iot:
    def __init__(self, cloud: FakeCloud) -> None:
        self._cloud = cloud

    def create_thing(self, *, thingName: str, thingTypeName: str, attributePayload: Any = None) -> Any:  # noqa: N803
        settings = {"type": thingTypeName, "attributes": (attributePayload or {}).get("attributes", {})}
        if self._cloud.things.setdefault(thingName, settings) != settings:
            raise client_error("CreateThing", "ResourceAlreadyExistsException", status=409)
        return {"thingName": thingName}

    def delete_thing(self, *, thingName: str) -> Any:  # noqa: N803
        if any(thingName in certificate.things for certificate in self._cloud.certificates.values()):
            raise client_error("DeleteThing", "InvalidRequestException")
        self._cloud.things.pop(thingName, None)
        return {}

    def describe_thing(self, *, thingName: str) -> Any:  # noqa: N803
        if thingName not in self._cloud.things:
            raise client_error("DescribeThing", "ResourceNotFoundException", status=404)
        return {"thingName": thingName, "thingTypeName": self._cloud.things[thingName]["type"]}

    def add_thing_to_thing_group(self, *, thingGroupName: str, thingName: str) -> Any:  # noqa: N803
        self._cloud.groups.setdefault(thingGroupName, set()).add(thingName)
        return {}

    def register_certificate(self, *, certificatePem: str, status: str, caCertificatePem: str = "") -> Any:  # noqa: N803
        der = x509.load_pem_x509_certificate(certificatePem.encode()).public_bytes(Encoding.DER)
        if sha256(der).hexdigest() in self._cloud.certificates:
            raise client_error("RegisterCertificate", "ResourceAlreadyExistsException", status=409)
        certificate = self._cloud.add_certificate(certificatePem, status)
        certificate.registered_with = caCertificatePem
        return {"certificateArn": certificate.arn, "certificateId": certificate.certificate_id}

    def register_certificate_without_ca(self, *, certificatePem: str, status: str) -> Any:  # noqa: N803
        return self.register_certificate(certificatePem=certificatePem, status=status)

    def create_certificate_from_csr(self, *, certificateSigningRequest: str, setAsActive: bool) -> Any:  # noqa: N803
        pem = self._cloud.sign(certificateSigningRequest, "AWS IoT Certificate")
        certificate = self._cloud.add_certificate(pem, "ACTIVE" if setAsActive else "INACTIVE")
        return {
            "certificateArn": certificate.arn,
            "certificateId": certificate.certificate_id,
            "certificatePem": certificate.pem,
        }

    def list_certificates(self, *, pageSize: int, ascendingOrder: bool, marker: str = "0") -> Any:  # noqa: N803
        ordered = sorted(self._cloud.certificates.values(), key=lambda c: c.created, reverse=not ascendingOrder)
        start = int(marker)
        page = ordered[start : start + pageSize]
        more = {"nextMarker": str(start + pageSize)} if start + pageSize < len(ordered) else {}
        entries = [{"certificateId": c.certificate_id, "status": c.status, "creationDate": c.created} for c in page]
        return {"certificates": entries, **more}

    def describe_certificate(self, *, certificateId: str) -> Any:  # noqa: N803
        certificate = self._get(certificateId)
        return {
            "certificateDescription": {
                "certificateArn": certificate.arn,
                "status": certificate.status,
                "certificatePem": certificate.pem,
                **({"caCertificateId": certificate.ca_certificate_id} if certificate.ca_certificate_id else {}),
            }
        }

    def update_certificate(self, *, certificateId: str, newStatus: str) -> Any:  # noqa: N803
        self._get(certificateId).status = newStatus
        if newStatus == "ACTIVE":
            self._cloud.ever_active.append(certificateId)
        return {}

    def delete_certificate(self, *, certificateId: str, forceDelete: bool) -> Any:  # noqa: N803
        certificate = self._get(certificateId)
        if certificate.status == "ACTIVE":
            raise client_error("DeleteCertificate", "CertificateStateException", status=406)
        if certificate.things or (certificate.policies and not forceDelete):
            raise client_error("DeleteCertificate", "DeleteConflictException", status=409)
        del self._cloud.certificates[certificateId]
        return {}

    def attach_policy(self, *, policyName: str, target: str) -> Any:  # noqa: N803
        self._by_arn(target).policies.add(policyName)
        return {}

    def detach_policy(self, *, policyName: str, target: str) -> Any:  # noqa: N803
        self._by_arn(target).policies.discard(policyName)
        return {}

    def list_attached_policies(self, *, target: str) -> Any:
        return {"policies": [{"policyName": name} for name in sorted(self._by_arn(target).policies)]}

    def attach_thing_principal(self, *, thingName: str, principal: str, thingPrincipalType: str) -> Any:  # noqa: N803
        if thingName not in self._cloud.things:
            raise client_error("AttachThingPrincipal", "ResourceNotFoundException", status=404)
        self._by_arn(principal).things[thingName] = thingPrincipalType
        return {}

    def detach_thing_principal(self, *, thingName: str, principal: str) -> Any:  # noqa: N803
        if self._by_arn(principal).things.pop(thingName, None) is None:
            raise client_error("DetachThingPrincipal", "ResourceNotFoundException", status=404)
        return {}

    def _get(self, certificate_id: str) -> FakeCertificate:
        if certificate_id not in self._cloud.certificates:
            raise client_error("DescribeCertificate", "ResourceNotFoundException", status=404)
        return self._cloud.certificates[certificate_id]

    def _by_arn(self, arn: str) -> FakeCertificate:
        return self._get(arn.rsplit("/", 1)[-1])


class _DynamoDb:
    """The conditions that the ledger uses; any other is an error of the test."""

    def __init__(self, cloud: FakeCloud) -> None:
        self._cloud = cloud

    def put_item(self, **put: Any) -> Any:
        items = self._table(put["TableName"])
        existing = items.get(_key(put["Item"]))
        if not _holds(put, existing):
            raise client_error("PutItem", "ConditionalCheckFailedException", Item=existing)
        items[_key(put["Item"])] = put["Item"]
        return {}

    def transact_write_items(self, *, TransactItems: list[Any]) -> Any:  # noqa: N803
        puts = [entry["Put"] for entry in TransactItems]
        reasons: list[Any] = []
        for put in puts:
            existing = self._table(put["TableName"]).get(_key(put["Item"]))
            reasons.append(
                {"Code": "None"} if _holds(put, existing) else {"Code": "ConditionalCheckFailed", "Item": existing}
            )
        if any(reason["Code"] != "None" for reason in reasons):
            raise client_error("TransactWriteItems", "TransactionCanceledException", CancellationReasons=reasons)
        for put in puts:
            self._table(put["TableName"])[_key(put["Item"])] = put["Item"]
        return {}

    def get_item(self, *, TableName: str, Key: Any, ConsistentRead: bool, **_: Any) -> Any:  # noqa: N803
        if TableName == "registry":
            item = self._cloud.registry.get(Key["device-id"]["S"])
        else:
            item = self._table(TableName).get(_key(Key))
        return {"Item": item} if item else {}

    def _table(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        return self._cloud.items if name == "ledger" else self._cloud.other_ledgers.setdefault(name, {})

    def update_item(self, *, TableName: str, Key: Any, ExpressionAttributeValues: Any, **update: Any) -> Any:  # noqa: N803
        items = self._table(TableName)
        if Key["device-id"] == {"S": "tickets#"}:
            return self._update_tickets(items, Key, ExpressionAttributeValues, **update)
        item = dict(items.get(_key(Key), Key))
        if ":until" in ExpressionAttributeValues:  # a record that is set aside
            if "pending" not in item:
                raise client_error("UpdateItem", "ConditionalCheckFailedException")
            items[_key(Key)] = item | {"lease-expires": ExpressionAttributeValues[":until"]}
            return {}
        if ":state" in ExpressionAttributeValues:
            item["state"] = ExpressionAttributeValues[":state"]
            item["expires-at"] = ExpressionAttributeValues[":expires"]
        else:  # of a device that is retired
            item.setdefault("expires-at", ExpressionAttributeValues[":expires"])
        items[_key(Key)] = item
        return {}

    def delete_item(self, *, TableName: str, Key: Any) -> Any:  # noqa: N803
        self._table(TableName).pop(_key(Key), None)
        return {}

    def _update_tickets(self, items: Any, key: Any, values: Any, **update: Any) -> Any:
        item = dict(items.get(_key(key), key))
        since = item.get("since")
        condition = {
            "attribute_exists(#since)": since is not None,
            "attribute_not_exists(#since)": since is None,
            "#since = :seen": since == values.get(":seen"),
        }[update["ConditionExpression"]]
        if not condition:
            raise client_error("UpdateItem", "ConditionalCheckFailedException")
        names = update["ExpressionAttributeNames"]
        if update["UpdateExpression"] == "ADD #count :one":
            count = item.get(names["#count"], {"N": "0"})["N"]
            item[names["#count"]] = {"N": str(int(float(count)) + 1)}
        else:
            item |= {name: values[f":{short[1:]}"] for short, name in names.items()}
        items[_key(key)] = item
        return {"Attributes": item}

    def query(self, *, TableName: str, ExpressionAttributeValues: Any, Limit: int = 0, **_: Any) -> Any:  # noqa: N803
        if ":device" in ExpressionAttributeValues:
            device = ExpressionAttributeValues[":device"]["S"]
            prefix = ExpressionAttributeValues.get(":issuance", {"S": ""})["S"]
            items = sorted(self._table(TableName).items())
            return {"Items": [item for (owner, name), item in items if owner == device and name.startswith(prefix)]}
        if ":ending" in ExpressionAttributeValues:
            return {"Count": len(self._ending(TableName, ExpressionAttributeValues)[:Limit])}
        pending = ExpressionAttributeValues[":pending"]
        due = int(ExpressionAttributeValues[":due"]["N"])
        found = [
            item
            for item in self._table(TableName).values()
            if item.get("pending") == pending and "lease-expires" in item and int(item["lease-expires"]["N"]) <= due
        ]
        found.sort(key=lambda item: int(item["lease-expires"]["N"]))
        keys = ("device-id", "record", "lease-expires")
        return {"Items": [{key: item[key] for key in keys} for item in found[:Limit]]}

    def _ending(self, table: str, values: Any) -> list[Any]:
        first, last = (int(values[name]["N"]) for name in (":after", ":until"))
        found = [item for item in self._table(table).values() if item.get("ending") == values[":ending"]]
        return [item for item in found if first <= int(item["ends-at"]["N"]) <= last]


_SERVICES = {"iot": _Iot, "iot-data": _IotData, "acm-pca": _PrivateCa, "dynamodb": _DynamoDb}


def _key(item: Any) -> tuple[str, str]:
    return item["device-id"]["S"], item["record"]["S"]


def _holds(put: Any, existing: Any) -> bool:
    condition = put.get("ConditionExpression")
    if condition is None:
        return True
    if condition == "attribute_not_exists(#record)":
        return existing is None
    values = put["ExpressionAttributeValues"]
    if condition == "#version = :version":
        return existing is not None and existing["version"] == values[":version"]
    if condition == "attribute_not_exists(#fingerprint) OR #fingerprint = :fingerprint":
        return existing is None or existing["key-fingerprint"] == values[":fingerprint"]
    return _mark_condition_holds(condition, values, existing)


def _mark_condition_holds(condition: str, values: Any, existing: Any) -> bool:
    if condition == "attribute_not_exists(#record) OR #until <= :now":
        return existing is None or int(existing["until"]["N"]) <= int(values[":now"]["N"])
    if condition == "attribute_not_exists(#record) OR #token = :token":
        return existing is None or existing["token"] == values[":token"]
    if condition == "#token = :token AND #state = :claimed":
        return existing is not None and (existing["token"], existing["state"]) == (values[":token"], values[":claimed"])
    raise AssertionError(condition)
