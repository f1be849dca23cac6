"""The scanning page's door: who is paired, what is refused, and what stays within bounds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any

import pytest
from secretfree_cli.factory.bench import PortSilent
from secretfree_cli.factory.codes import MAX_CODE
from secretfree_cli.factory.phone import exchange as exchange_module
from secretfree_cli.factory.phone.allowance import BURST, RATE, Allowance
from secretfree_cli.factory.phone.door import COOKIE, Door, Request, Response
from secretfree_cli.factory.phone.exchange import IDLE_SECONDS, Busy, Exchange, ScanAnswer
from secretfree_cli.factory.phone.page_files import page_files
from secretfree_cli.factory.phone.pairing import LINK_SECONDS, LinkRefusal, Pairing

AUTHORITY = "192.0.2.7:40123"
ORIGIN = f"https://{AUTHORITY}"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202eevil\r\nOK forged"


@dataclass
class Time:
    """A clock that tests set."""

    seconds: float = 0.0

    def now(self) -> Any:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Bench:
    """A door, what is behind it, and what the operator saw."""

    clock: Time = field(default_factory=Time)
    notices: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    verdict: ScanAnswer | None = field(default_factory=lambda: ScanAnswer(ok=True, device="dev-1", note="enrolled"))

    def __post_init__(self) -> None:
        self.pairing = Pairing(self.clock)
        self.door = Door(
            authority=AUTHORITY,
            pairing=self.pairing,
            exchange=self,  # type: ignore[arg-type]  # it has the one method that the door calls
            files=page_files(),
            allowance=Allowance(self.clock.monotonic),
            notice=self.notices.append,
        )

    def ask(self, code: str, *, timeout: float) -> ScanAnswer | None:
        self.asked.append(code)
        return self.verdict

    def send(
        self, method: str, path: str, body: object = None, *, address: str = "192.0.2.9", **changed: Any
    ) -> Response:
        headers = {"Host": AUTHORITY}
        if method == "POST":
            headers |= {"Origin": ORIGIN, "Content-Type": "application/json"}
        message = Message()
        for name, value in {**headers, **{key.replace("_", "-"): value for key, value in changed.items()}}.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    message[name] = one
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.door.answer(Request(method, path, message, content, address))

    def claim(self, token: str | None = None, **changed: Any) -> Response:
        return self.send("POST", "/claim", {"token": token or self.pairing.link_token}, **changed)

    def paired(self) -> str:
        cookie = self.claim().headers["Set-Cookie"]
        return cookie.partition(";")[0]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_phone_gets_a_pass_that_no_script_and_no_other_site_can_use(bench: Bench) -> None:
    answer = bench.claim()
    assert answer.status == HTTPStatus.NO_CONTENT
    name, *attributes = (part.strip() for part in answer.headers["Set-Cookie"].split(";"))
    assert name.startswith("__Host-")
    assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
    assert bench.pairing.link_token not in name
    assert bench.notices == ["a phone is paired: 192.0.2.9"]


def test_a_second_phone_is_refused_and_the_operator_sees_it_once(bench: Bench) -> None:
    bench.claim()
    for _ in range(3):
        answer = bench.claim(address="192.0.2.66")
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "Set-Cookie" not in answer.headers
    assert [line for line in bench.notices if "192.0.2.66" in line] == [
        "192.0.2.66 opened the link and was refused: used"
    ]
    assert bench.send("POST", "/codes", {"code": "dev-1"}).status == HTTPStatus.FORBIDDEN
    assert bench.asked == []


def test_the_paired_phone_may_open_the_link_again(bench: Bench) -> None:
    cookie = bench.paired()
    assert bench.claim(Cookie=cookie).status == HTTPStatus.NO_CONTENT
    assert bench.send("GET", "/session", Cookie=cookie).status == HTTPStatus.NO_CONTENT


def test_of_many_phones_at_once_one_is_paired() -> None:
    pairing = Pairing(Time())
    together = threading.Barrier(8)
    found: list[str | LinkRefusal] = []

    def claim() -> None:
        together.wait()
        found.append(pairing.claim(pairing.link_token))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, str) for one in found) == 1
    assert found.count(LinkRefusal.USED) == 7


def test_a_link_that_nobody_opened_expires(bench: Bench) -> None:
    bench.clock.seconds = LINK_SECONDS
    assert bench.claim().status == HTTPStatus.FORBIDDEN
    assert bench.pairing.expired
    with pytest.raises(PortSilent, match="10 minutes"):
        next(Exchange(bench.pairing, bench.clock).codes())


def test_a_session_whose_phone_falls_silent_ends(bench: Bench) -> None:
    bench.claim()
    codes = Exchange(bench.pairing, bench.clock).codes()
    threading.Timer(0.1, lambda: setattr(bench.clock, "seconds", IDLE_SECONDS)).start()
    with pytest.raises(PortSilent, match="60 minutes"):
        next(codes)


@pytest.mark.parametrize(
    "changed",
    [
        {"Host": "bench.example:40123"},
        {"Host": None},
        {"Host": [AUTHORITY, AUTHORITY]},
        {"Host": "192.0.2.7"},
    ],
)
def test_another_name_for_the_address_reaches_nothing(changed: dict[str, Any], bench: Bench) -> None:
    cookie = bench.paired()
    assert bench.send("GET", "/", **changed).status == HTTPStatus.MISDIRECTED_REQUEST
    assert (
        bench.send("POST", "/codes", {"code": "a"}, Cookie=cookie, **changed).status == HTTPStatus.MISDIRECTED_REQUEST
    )
    assert bench.asked == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Origin": "https://evil.example"}, HTTPStatus.FORBIDDEN),
        ({"Origin": None}, HTTPStatus.FORBIDDEN),
        ({"Origin": "null"}, HTTPStatus.FORBIDDEN),
        ({"Origin": f"http://{AUTHORITY}"}, HTTPStatus.FORBIDDEN),
        ({"Origin": [ORIGIN, ORIGIN]}, HTTPStatus.FORBIDDEN),
        ({"Content_Type": "text/plain"}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ({"Content_Type": "application/x-www-form-urlencoded"}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_another_page_can_neither_pair_nor_enrol(changed: dict[str, Any], status: HTTPStatus, bench: Bench) -> None:
    changed = {name.replace("_", "-"): value for name, value in changed.items()}
    assert bench.claim(**changed).status == status
    assert not bench.pairing.paired
    cookie = bench.paired()
    assert bench.send("POST", "/codes", {"code": "dev-1"}, Cookie=cookie, **changed).status == status
    assert bench.asked == []


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=", f"{COOKIE}=guess", "other=1", None])
def test_without_the_pass_no_code_is_taken(cookie: str | None, bench: Bench) -> None:
    genuine = bench.paired()
    assert bench.send("POST", "/codes", {"code": "dev-1"}, Cookie=cookie).status == HTTPStatus.FORBIDDEN
    assert bench.send("GET", "/session", Cookie=cookie).status == HTTPStatus.FORBIDDEN
    doubled = f"{COOKIE}=planted; {genuine}"
    assert bench.send("POST", "/codes", {"code": "dev-1"}, Cookie=doubled).status == HTTPStatus.FORBIDDEN
    assert bench.asked == []


def test_an_empty_pass_admits_nobody_before_a_phone_is_paired(bench: Bench) -> None:
    assert bench.send("GET", "/session", Cookie=f"{COOKIE}=").status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'"dev-1"',
        b'{"code": 1}',
        b'{"code": ""}',
        b'{"code": " \\n"}',
        b'{"code": "a", "code": "b"}',
        b'{"code": "a", "more": "b"}',
        b'{"token": "a"}',
        b'{"code": "\\ud800"}',
        b'{"code": "\xff"}',
        b"[" * 20_000,
        b'{"code":' * 3_000,
        json.dumps({"code": "x" * (MAX_CODE + 1)}).encode(),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes, bench: Bench) -> None:
    cookie = bench.paired()
    assert bench.send("POST", "/codes", body, Cookie=cookie).status == HTTPStatus.BAD_REQUEST
    assert bench.asked == []


def test_hostile_text_comes_back_as_data_without_control_characters(bench: Bench) -> None:
    bench.verdict = ScanAnswer(ok=False, device=HOSTILE, note=HOSTILE)
    answer = bench.send("POST", "/codes", {"code": HOSTILE}, Cookie=bench.paired())
    assert bench.asked == [HOSTILE]
    assert answer.media_type == "application/json"
    document = json.loads(answer.content)
    assert document["verdict"] == "fail"
    assert document["device"] == document["note"] == "<img src=x onerror=alert(1)>?[31m?evil??OK forged"


def test_no_answer_and_a_busy_bench_are_said_as_such(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = bench.paired()
    bench.verdict = None
    assert bench.send("POST", "/codes", {"code": "a"}, Cookie=cookie).status == HTTPStatus.GATEWAY_TIMEOUT

    def busy(*_: object, **__: object) -> None:
        raise Busy

    monkeypatch.setattr(bench, "ask", busy)
    answer = bench.send("POST", "/codes", {"code": "a"}, Cookie=cookie)
    assert answer.status == HTTPStatus.TOO_MANY_REQUESTS
    assert answer.headers["Retry-After"] == "1"


def test_an_address_has_a_bounded_rate_and_takes_none_of_anothers(bench: Bench) -> None:
    statuses = [bench.send("GET", "/session").status for _ in range(int(BURST) + 5)]
    assert statuses[int(BURST) :] == [HTTPStatus.TOO_MANY_REQUESTS] * 5
    assert bench.send("GET", "/session", address="192.0.2.10").status == HTTPStatus.FORBIDDEN
    bench.clock.seconds += 1
    again = [bench.send("GET", "/session").status for _ in range(int(RATE) + 1)]
    assert again == [HTTPStatus.FORBIDDEN] * int(RATE) + [HTTPStatus.TOO_MANY_REQUESTS]


def test_the_memory_of_addresses_is_bounded() -> None:
    allowance = Allowance(Time().monotonic)
    for number in range(2_000):
        assert allowance.take(str(number))
    assert len(allowance._buckets) <= 256


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/../pairing.py"),
        ("GET", "/page/../page.js"),
        ("GET", "//page.js"),
        ("GET", "/page.js?x"),
        ("GET", "/claim"),
        ("GET", "/codes"),
        ("POST", "/"),
        ("POST", "/session"),
        ("GET", "https://evil.example/"),
    ],
)
def test_nothing_else_is_served(method: str, path: str, bench: Bench) -> None:
    assert bench.send(method, path, {}).status == HTTPStatus.NOT_FOUND


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    clock = Time()
    made = Exchange(Pairing(clock), clock)
    yield made
    made.end()


def test_a_late_answer_never_reaches_the_next_code(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "_POLL", 0.01)
    codes = exchange.codes()
    begun = threading.Event()
    taken: list[str] = []

    def take() -> None:
        taken.append(next(codes))
        begun.set()

    threading.Thread(target=take, daemon=True).start()

    class Hasty(Time):
        def monotonic(self) -> float:
            return 100.0 if begun.is_set() else 0.0

    exchange._clock = Hasty()
    assert exchange.ask("first", timeout=1) is None
    exchange._clock = Time()
    found: list[ScanAnswer | None] = []
    second = threading.Thread(target=lambda: found.append(exchange.ask("second", timeout=1)))
    second.start()
    exchange.answer(ScanAnswer(ok=True, device="first", note="late"))
    taken.append(next(codes))
    exchange.answer(ScanAnswer(ok=False, device="second", note="its own"))
    second.join(30)
    assert taken == ["first", "second"]
    assert found == [ScanAnswer(ok=False, device="second", note="its own")]


def test_a_code_that_waits_when_the_session_ends_is_no_ok(exchange: Exchange) -> None:
    exchange.end()
    verdict = exchange.ask("dev-1", timeout=1)
    assert verdict is not None
    assert not verdict.ok
    assert "is possibly not enrolled" in verdict.note
