"""An empty DynamoDB table on loopback that answers each call after a fixed time, in a process of its own.

It keeps the few records about imports (their ids have a `#`). It forgets devices, and has the registry's indexes.

Run as `python stub_table.py PORT SECONDS`.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from secretfree_cli.importing.prepare import import_table_request

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Stub:
    """Where the stub answers, as a local cloud's record has it."""

    endpoint_url: str
    region: str = "us-east-1"
    access_key_id: str = "stub"
    secret_access_key: str = "stub"  # noqa: S105 - it checks none

    def environment(self) -> dict[str, str]:
        """Return the variables that point an AWS SDK at the stub."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


@contextmanager
def stub_table(seconds: float) -> Iterator[Stub]:
    """Run the stub."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, str(port), str(seconds)])
    try:
        for _ in range(300):
            try:
                socket.create_connection((LOOPBACK, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Stub(f"http://{LOOPBACK}:{port}")
    finally:
        process.terminate()
        process.wait(10)


# The answer to GetCallerIdentity, the one call of another service.
_IDENTITY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:user/stub</Arn>"
    b"<Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    seconds = 0.0
    records: dict[str, Any] = {}  # noqa: RUF012 - of the one server

    def do_POST(self) -> None:
        """Answer one call."""
        began = time.monotonic()
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = self._of_table(body) if "x-amz-target" in self.headers else _IDENTITY
        time.sleep(max(0.0, began + self.seconds - time.monotonic()))
        self.send_response_only(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.wfile.flush()

    def _of_table(self, body: bytes) -> bytes:
        operation = self.headers["x-amz-target"].rpartition(".")[2]
        # A batch of items is large and not needed.
        request = {} if operation in {"BatchWriteItem", "TransactWriteItems"} else json.loads(body)
        return json.dumps(self._answer(operation, request)).encode()

    def _answer(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if operation == "DescribeTable":
            table = import_table_request(request["TableName"], "", "")["TableCreationParameters"]
            indexes = [index | {"IndexStatus": "ACTIVE"} for index in table["GlobalSecondaryIndexes"]]
            arn = f"arn:aws:dynamodb:us-east-1:111122223333:table/{request['TableName']}"
            state = {"TableArn": arn, "TableStatus": "ACTIVE", "ItemCount": 0}
            return {"Table": {**table, "GlobalSecondaryIndexes": indexes, **state}}
        if operation == "UpdateItem":
            record = self.records.setdefault(request["Key"]["device-id"]["S"], dict(request["Key"]))
            _update(record, request)
            return {"Attributes": record}
        if operation == "PutItem":
            self.records[request["Item"]["device-id"]["S"]] = request["Item"]
        if operation == "GetItem":
            found = self.records.get(request["Key"]["device-id"]["S"])
            return {} if found is None else {"Item": found}
        if operation == "BatchGetItem":
            ((table, asked),) = request["RequestItems"].items()
            ids = [key["device-id"]["S"] for key in asked["Keys"]]
            return {"Responses": {table: [self.records[one] for one in ids if one in self.records]}}
        if operation in {"Query", "Scan"}:
            return {"Items": [], "Count": 0, "ScannedCount": 0}
        return {"UnprocessedItems": {}} if operation == "BatchWriteItem" else {}


def _update(record: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Apply an expression of one clause, as those on the record of open imports have."""
    names, values = request["ExpressionAttributeNames"], request.get("ExpressionAttributeValues", {})
    clause, _, rest = request["UpdateExpression"].partition(" ")
    for part in rest.split(", "):
        words = part.split()
        attribute, value = names[words[0]], values.get(words[-1], {})
        if clause == "SET":
            record[attribute] = value
        elif clause == "REMOVE" or attribute not in record:
            record.pop(attribute, None)
            record |= {attribute: value} if clause == "ADD" else {}
        elif "N" in value:
            record[attribute] = {"N": str(int(record[attribute]["N"]) + int(value["N"]))}
        else:
            members = set(record[attribute]["SS"])
            changed = members | set(value["SS"]) if clause == "ADD" else members - set(value["SS"])
            record.pop(attribute)
            record |= {attribute: {"SS": sorted(changed)}} if changed else {}


def main() -> None:
    """Serve until ended."""
    _Handler.seconds = float(sys.argv[2])
    ThreadingHTTPServer((LOOPBACK, int(sys.argv[1])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
