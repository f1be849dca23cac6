"""`secretfree enroll phone` on a thread, with a registry on moto, and a phone that is a plain TLS client."""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

import boto3
import pytest
from click.testing import CliRunner, Result
from secretfree_cli.factory.phone import commands
from secretfree_cli.importing.commands import enroll

TABLE = "registry"


@dataclass
class RunningBench:
    """The command while it runs."""

    link: str
    fingerprint: str
    _results: queue.Queue[Result]

    @property
    def port(self) -> int:
        found = urlsplit(self.link).port
        assert found is not None
        return found

    @property
    def token(self) -> str:
        return urlsplit(self.link).fragment

    def result(self) -> Result:
        """The command's result, when it has ended."""
        return self._results.get(timeout=60)


def make_registry() -> None:
    """A registry in the account of the test."""
    boto3.client("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
    )


def enrolled() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The devices of the registry."""
    items = boto3.client("dynamodb").scan(TableName=TABLE)["Items"]
    return {item["device-id"]["S"]: item for item in items if "#" not in item["device-id"]["S"]}


@contextmanager
def running_bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Iterator[RunningBench]:
    """Run the command on 127.0.0.1 until its --count devices were answered."""
    announced: queue.Queue[tuple[str, str]] = queue.Queue()
    results: queue.Queue[Result] = queue.Queue()
    monkeypatch.setattr(commands, "_announce", lambda link, fingerprint: announced.put((link, fingerprint)))
    given: Sequence[str] = ["phone", "--table", TABLE, "--address", "127.0.0.1", "--no-bell", *arguments]
    thread = threading.Thread(target=lambda: results.put(CliRunner().invoke(enroll, given)), daemon=True)
    thread.start()
    try:
        link, fingerprint = announced.get(timeout=60)
    except queue.Empty:
        pytest.fail(f"the command did not serve: {results.get(timeout=1).output}")
    yield RunningBench(link, fingerprint, results)
    thread.join(60)
    assert not thread.is_alive()


class Phone:
    """A client that keeps its cookie, as a browser does."""

    def __init__(self, bench: RunningBench) -> None:
        self._bench = bench
        self.cookie: str | None = None

    def send(
        self, method: str, path: str, document: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """Send one request, with the page's own headers unless others are given."""
        connection = http.client.HTTPSConnection("127.0.0.1", self._bench.port, context=unchecked(), timeout=60)
        own = {"Origin": f"https://127.0.0.1:{self._bench.port}", "Content-Type": "application/json"}
        if self.cookie:
            own["Cookie"] = self.cookie
        body = None if document is None else json.dumps(document)
        connection.request(method, path, body, {**own, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def pair(self) -> int:
        """Open the link; the status."""
        response, _ = self.send("POST", "/claim", {"token": self._bench.token})
        if cookie := response.getheader("Set-Cookie"):
            self.cookie = cookie.partition(";")[0]
        return response.status

    def scan(self, code: str) -> Mapping[str, object]:
        """The bench's answer to a code."""
        response, content = self.send("POST", "/codes", {"code": code})
        return {"status": response.status, **json.loads(content)}


def unchecked() -> ssl.SSLContext:
    """A client that continues after the warning, like the operator on the phone."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
