"""Global tables between the emulators of several Regions: eventually consistent, the last write of an item wins.

Each Region is a separate process. A write is stored in the Region's outbox and delivered to the other Regions after a
lag that a file sets. A Region that does not answer gets its writes when it is back. Conditions and transactions hold
only within one Region, as on AWS.

ministack 1.5.33 creates no replicas for `AWS::DynamoDB::GlobalTable`, and its own replicas are in one process.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from secretfree_cli.local.emulators.operator import Operator
from secretfree_cli.local.emulators.outbox import Outbox, Write
from secretfree_cli.local.emulators.replication_settings import LAG_VARIABLE, OUTBOX_VARIABLE, PEERS_VARIABLE

WRITES_PATH = "/_secretfree/replicas/writes"
TABLES_PATH = "/_secretfree/replicas/tables"

_GLOBAL_TABLE = "AWS::DynamoDB::GlobalTable"
_BATCH = 25
_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_RETRY_SECONDS = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peers:
    """The other Regions' emulators."""

    urls: Mapping[str, str]
    operator: Operator

    def post(self, region: str, path: str, document: object) -> None:
        """Call another Region's emulator with the operator's key; OSError if it does not accept the call."""
        body = json.dumps(document).encode()
        url = f"{self.urls[region]}{path}"
        request = AWSRequest("POST", url, data=body)
        credentials = Credentials(self.operator.access_key_id, self.operator.secret_access_key)
        SigV4Auth(credentials, "sts", "us-east-1").add_auth(request)
        signed = urllib.request.Request(url, data=body, headers=dict(request.headers))  # noqa: S310 -- http to loopback
        with urllib.request.urlopen(signed, timeout=_TIMEOUT_SECONDS):  # noqa: S310
            pass


def replicate(environment: Mapping[str, str], operator: Operator) -> dict[str, Callable[[Any], None]]:
    """Correct this process, and return its handlers for the other Regions by path; none in a cloud of one Region.

    A handler gets the JSON document of the request.
    """
    urls = json.loads(environment.get(PEERS_VARIABLE) or "{}")
    if not urls:
        return {}
    region = environment["MINISTACK_REGION"]
    peers = Peers(urls, operator)
    outbox = Outbox(Path(environment[OUTBOX_VARIABLE]))
    lag_file = Path(environment[LAG_VARIABLE])
    _note_writes(region, outbox)
    _make_replicas(region, peers)
    for other in urls:
        arguments = (peers, other, outbox, lag_file)
        threading.Thread(target=_deliver, args=arguments, name=f"replication-{other}", daemon=True).start()
    account = environment["MINISTACK_ACCOUNT_ID"]
    return {
        WRITES_PATH: lambda document: _apply(account, region, outbox, document),
        TABLES_PATH: lambda document: _change_replica(account, region, document),
    }


def lag_of(path: Path) -> float:
    """Return the seconds in the file; 0 without a file."""
    try:
        return max(0.0, float(path.read_text()))
    except (OSError, ValueError):
        return 0.0


def _note_writes(region: str, outbox: Outbox) -> None:
    from ministack.services import dynamodb

    def note(table: Any, _event: str, old: Any, new: Any) -> None:
        others = [other for other in dynamodb._replica_group(table) if other != region]  # noqa: SLF001
        if not others:
            return
        item = new if new is not None else old
        names = [element["AttributeName"] for element in table["KeySchema"]]
        key = {name: item[name] for name in names}
        written = Write(table=table["TableName"], key=key, item=new, written=time.time(), region=region)
        outbox.add(written, others)

    dynamodb._replicate_write = note  # noqa: SLF001 -- there is no setting for it


def _deliver(peers: Peers, region: str, outbox: Outbox, lag_file: Path) -> None:
    """Deliver to one Region, for ever. Failed deliveries are retried, in order."""
    while True:
        due = outbox.due(region, written_before=time.time() - lag_of(lag_file), limit=_BATCH)
        if not due:
            time.sleep(_PAUSE_SECONDS)
            continue
        try:
            peers.post(region, WRITES_PATH, [write for _, write in due])
        except (OSError, urllib.error.URLError) as error:
            _log.debug("%s does not accept its writes: %s", region, error)
            time.sleep(_RETRY_SECONDS)
        else:
            outbox.delivered(number for number, _ in due)


def _apply(account: str, region: str, outbox: Outbox, documents: Any) -> None:
    """Apply the writes of another Region. Each appears in this Region's stream, without a mark of its origin."""
    from ministack.services import dynamodb

    with dynamodb.request_scope(account, region):
        for document in documents:
            write = Write(**document)
            table = dynamodb._tables.get(write.table)  # noqa: SLF001
            if table is None or not outbox.accept(write):
                continue
            partition = dynamodb._extract_key_val(write.key[table["pk_name"]])  # noqa: SLF001
            sort = dynamodb._extract_key_val(write.key[table["sk_name"]]) if table["sk_name"] else "__no_sort__"  # noqa: SLF001
            previous = table["items"].get(partition, {}).get(sort)
            if write.item is None:
                if previous is None:
                    continue
                dynamodb._remove_item(table, partition, sort)  # noqa: SLF001
            else:
                dynamodb._set_item(table, partition, sort, write.item)  # noqa: SLF001
            event = "REMOVE" if write.item is None else "MODIFY" if previous else "INSERT"
            dynamodb._emit_stream_event(  # noqa: SLF001
                write.table, event, copy.deepcopy(previous), copy.deepcopy(write.item), replicate=False
            )


def _make_replicas(region: str, peers: Peers) -> None:
    """Make CloudFormation create, change and delete the replicas of a global table."""
    from ministack.services import dynamodb
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[_GLOBAL_TABLE]  # noqa: SLF001
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def settle(name: str, properties: Mapping[str, Any]) -> None:
        table = dynamodb._tables[name]  # noqa: SLF001
        wanted = {replica["Region"] for replica in properties.get("Replicas") or []} - {region}
        present = set(dynamodb._replica_group(table)) - {region}  # noqa: SLF001
        unknown = wanted - set(peers.urls)
        if unknown:
            known = ", ".join(sorted({region, *peers.urls}))
            raise ValueError(f"this local cloud has no Region {', '.join(sorted(unknown))}; it has {known}")
        group = sorted({region, *wanted}) if wanted else []
        table["_global_regions"] = group
        for other in sorted(wanted - present):
            peers.post(other, TABLES_PATH, {"table": _definition(name, table), "items": _items(table)})
        for other in sorted(present - wanted):
            peers.post(other, TABLES_PATH, {"delete": name})

    def created(logical_id: str, properties: Any, stack: str) -> Any:
        answer = create(logical_id, properties, stack)
        settle(answer[0], properties)
        return answer

    def updated(physical_id: str, old: Any, new: Any, stack: str) -> Any:
        answer = update(physical_id, old, new, stack)
        settle(physical_id, new)
        return answer

    def deleted(physical_id: str, properties: Any) -> Any:
        if physical_id in dynamodb._tables:  # noqa: SLF001
            settle(physical_id, {})
        return delete(physical_id, properties)

    handlers.update(create=created, update=updated, delete=deleted)


def _definition(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    from ministack.services import dynamodb

    left_out = {"items", dynamodb._INDEX_MEMBERS}  # noqa: SLF001
    return {"ttl": dynamodb._ttl_settings.get(name), **{k: v for k, v in table.items() if k not in left_out}}  # noqa: SLF001


def _items(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [item for partition in table["items"].values() for item in partition.values()]


def _change_replica(account: str, region: str, document: Any) -> None:
    """Create or delete this Region's replica of a table."""
    from ministack.core.responses import new_uuid
    from ministack.services import dynamodb

    with dynamodb.request_scope(account, region):
        if "delete" in document:
            name = document["delete"]
            removed = dynamodb._tables.pop(name, None)  # noqa: SLF001
            dynamodb._ttl_settings.pop(name, None)  # noqa: SLF001
            dynamodb.drop_stream_records(name, removed)
            return
        replica = dict(document["table"])
        name, ttl = replica["TableName"], replica.pop("ttl")
        if name in dynamodb._tables:  # noqa: SLF001 -- a repeated call
            return
        arn = f"arn:aws:dynamodb:{region}:{account}:table/{name}"
        label = dynamodb._stream_label()  # noqa: SLF001
        replica.update(
            TableArn=arn,
            TableId=new_uuid(),
            CreationDateTime=int(time.time()),
            TableStatus="ACTIVE",
            DeletionProtectionEnabled=False,
            LatestStreamLabel=label,
            LatestStreamArn=f"{arn}/stream/{label}",
            items=defaultdict(dict),
        )
        for index in replica.get("GlobalSecondaryIndexes", []) + replica.get("LocalSecondaryIndexes", []):
            index["IndexArn"] = f"{arn}/index/{index['IndexName']}"
        dynamodb._tables[name] = replica  # noqa: SLF001
        for item in document["items"]:
            partition = dynamodb._extract_key_val(item[replica["pk_name"]])  # noqa: SLF001
            sort = dynamodb._extract_key_val(item[replica["sk_name"]]) if replica["sk_name"] else "__no_sort__"  # noqa: SLF001
            dynamodb._set_item(replica, partition, sort, item)  # noqa: SLF001
        if ttl:
            dynamodb._ttl_settings[name] = ttl  # noqa: SLF001
