import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot, UndeliveredNotification
from streamcanary.store.errors import StoreFailing
from streamcanary.web import request_body
from streamcanary.web.api.alerts import alert_endpoints
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock

NOON = 1_800_000_000.0
TOKEN = "0123456789abcdef"
SILENCE = {"match": ['canary="chat"'], "for": "2h", "by": "me", "why": "deploy"}


class Book:
    """A fake alerting service with fixed alerts and silences in memory."""

    def __init__(self) -> None:
        evidence = Evidence(
            bad=3,
            total=4,
            first_attempts=4,
            rescued=2,
            since=NOON - 90,
            message="it stalled",
            faults={"stalled": 3},
            blames={"provider": 3},
            request_ids=("req-1",),
            trace_ids=("t-1",),
        )
        incident = Incident(
            key="k",
            rule="Errors",
            subject="chat",
            canary="chat",
            opened=NOON,
            evidence=evidence,
            resolve_condition="3 good runs in a row",
        )
        shown = OpenIncident(
            incident=incident,
            annotations={"runbook_url": "https://run.book/x"},
            muted_by="silence s-1",
            silenced_by=("s-1",),
        )
        late = UndeliveredNotification(
            receiver="oncall",
            action="trigger",
            title="chat: bad",
            since=NOON,
            attempts=3,
            next_attempt=NOON + 60,
            last_error="HTTP 500",
        )
        refused = UndeliveredNotification(
            receiver="chat",
            action="trigger",
            title="chat: bad",
            since=NOON,
            attempts=1,
            is_parked=True,
            last_error="HTTP 404",
        )
        self.status = StatusSnapshot(
            incidents=(shown,), firing_count=7, undelivered=(late, refused), undelivered_count=2
        )
        self.made: dict[str, Silence] = {}
        self.full = False
        self.failure: StoreFailing | None = None

    @property
    def silences(self) -> tuple[Silence, ...]:
        """The created silences."""
        return tuple(self.made.values())

    async def create_silence(self, silence: Silence) -> None:
        """Create a silence, or raise the error of a full service."""
        if self.failure is not None:
            raise self.failure
        if self.full:
            raise ValueError("there are 1000 silences; end some of them")
        self.made[silence.id] = silence

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """Delete a silence, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        return self.made.pop(id, None) is not None


@asynccontextmanager
async def served(book: Book | None = None, **web: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the API, and yield a client for it."""
    config = WebConfig.model_validate({"port": 0, **web})
    routes = endpoint_routes(alert_endpoints(book or Book(), ManualClock(wall=NOON)), Authorizer(config))
    async with WebServer(config, routes) as site:
        assert site.address is not None
        async with httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{site.address[1]}") as http:
            yield http


async def test_the_api_returns_open_incidents() -> None:
    """An incident has its alert, times, evidence and silences."""
    async with served() as http:
        (incident,) = (await http.get("/api/v1/incidents")).json()["incidents"]
    assert ("Errors", "chat", "2027-01-15T08:00:00Z") == (incident["alert"], incident["subject"], incident["opened"])
    assert (3, 4, "it stalled") == (incident["bad"], incident["total"], incident["message"])
    assert ("2027-01-15T07:58:30Z", 4, 2) == (incident["since"], incident["first_attempts"], incident["rescued"])
    assert ({"provider": 3}, ["req-1"], ["t-1"]) == (incident["blames"], incident["request_ids"], incident["trace_ids"])
    assert ("3 good runs in a row", "https://run.book/x") == (incident["resolves"], incident["runbook_url"])
    assert ("silence s-1", ["s-1"]) == (incident["muted"], incident["silences"])


async def test_the_api_returns_undelivered_notifications() -> None:
    """The response contains undelivered notifications and their total number."""
    async with served() as http:
        shown = (await http.get("/api/v1/incidents")).json()
    assert [
        {
            "receiver": "oncall",
            "action": "trigger",
            "title": "chat: bad",
            "since": "2027-01-15T08:00:00Z",
            "tries": 3,
            "state": "pending",
            "next_try": "2027-01-15T08:01:00Z",
            "last_error": "HTTP 500",
        },
        {
            "receiver": "chat",
            "action": "trigger",
            "title": "chat: bad",
            "since": "2027-01-15T08:00:00Z",
            "tries": 1,
            "state": "parked",
            "next_try": None,
            "last_error": "HTTP 404",
        },
    ] == shown["undelivered"]
    assert (7, 2) == (shown["firing"], shown["owed"])


async def test_a_silence_is_created_listed_and_deleted() -> None:
    """A created silence has an id and an end time, is listed, and can be deleted once."""
    book = Book()
    async with served(book) as http:
        made = await http.post("/api/v1/silences", json=SILENCE)
        assert (201, "active", "2027-01-15T10:00:00Z") == (made.status_code, made.json()["state"], made.json()["until"])
        assert [made.json()] == (await http.get("/api/v1/silences")).json()["silences"]
        path = f"/api/v1/silences/{made.json()['id']}"
        assert [204, 404] == [(await http.delete(path)).status_code for _ in range(2)]
    assert {} == book.made


async def test_a_silence_can_have_a_start_and_an_end_time() -> None:
    """``starts`` and ``until`` accept RFC 3339 times."""
    async with served() as http:
        silence = {"match": ["tier=~prod"], "starts": "2027-01-16T00:00:00Z", "until": "2027-01-16T02:00:00+01:00"}
        made = (await http.post("/api/v1/silences", json=silence)).json()
    assert ("pending", "2027-01-16T01:00:00Z", ['tier=~"prod"']) == (made["state"], made["until"], made["match"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "body: "),
        (b'{"for": "1h"}', "match: Field required"),
        (b'{"match": [], "for": "1h"}', "match: "),
        (b'{"match": ["tier"], "for": "1h"}', "match.0: not a matcher"),
        (b'{"match": ["a=~\\"(\\""], "for": "1h"}', "regular expression"),
        (b'{"match": ["a=~\\"(?!b)\\""], "for": "1h"}', "at character 1: (?!b); lookaheads are not supported"),
        (b'{"match": ["a=~\\"' + b"b" * 4097 + b'\\""], "for": "1h"}', "has 4097 characters; at most 4096 are allowed"),
        (b'{"match": ["a=b"]}', "needs exactly one of for and until"),
        (b'{"match": ["a=b"], "for": "soon"}', "for: "),
        (b'{"match": ["a=b"], "for": "400d"}', "for: "),
        (b'{"match": ["a=b"], "until": "2020-01-01T00:00:00Z"}', "until: is in the past"),
        (b'{"match": ["a=b"], "until": "2099-01-01T00:00:00Z"}', "until: is more than a year ahead"),
        (b'{"match": ["a=b"], "until": "2027-01-16T00:00:00"}', "until: "),
        (b'{"match": ["a=b"], "for": "1h", "who": "me"}', "who: "),
        (b'{"match": ["{a=b, tier}"], "for": "1h"}', "not a matcher: 'tier'"),
    ],
)
async def test_an_invalid_silence_is_rejected_with_a_message(content: bytes, says: str) -> None:
    """The message names the field and the error, and no silence is created."""
    book = Book()
    async with served(book) as http:
        answer = await http.post("/api/v1/silences", content=content, headers={"Content-Type": "application/json"})
    assert 400 == answer.status_code
    assert says in answer.json()["detail"]
    assert {} == book.made


async def test_matchers_can_be_written_in_braces() -> None:
    """Matchers in braces, as in Alertmanager, are split into single matchers."""
    async with served() as http:
        silence = {"match": ['{canary="one", tier=~"a,b"}', "team=ml"], "for": "1h"}
        made = await http.post("/api/v1/silences", json=silence)
    assert ['canary="one"', 'tier=~"a,b"', 'team="ml"'] == made.json()["match"]


@pytest.mark.parametrize(
    ("silence", "says"),
    [
        (
            {"match": ["bad"], "for": "1h"},
            """match.0: not a matcher: 'bad'; write name="value", or with !=, =~ or !~""",
        ),
        ({"match": [], "for": "1h"}, "match: Value should have at least 1 item after validation, not 0"),
    ],
)
async def test_an_invalid_matcher_is_reported_once(silence: dict[str, Any], says: str) -> None:
    """A list with an invalid matcher is not reported as empty in addition."""
    async with served() as http:
        answer = await http.post("/api/v1/silences", json=silence)
    assert (400, says) == (answer.status_code, answer.json()["detail"])


async def test_a_silence_that_the_store_does_not_take_is_a_temporary_error() -> None:
    """The answer has status 503 and says what has failed, for a new silence and for the end of one."""
    book = Book()
    book.failure = StoreFailing("the database has not answered within 5 s; try again")
    async with served(book) as http:
        answers = [await http.post("/api/v1/silences", json=SILENCE), await http.delete("/api/v1/silences/x")]
    assert [(503, str(book.failure))] * 2 == [(each.status_code, each.json()["detail"]) for each in answers]


@pytest.mark.parametrize("size", [70_000, 20_000_000])
@pytest.mark.parametrize(("web", "status"), [({}, 413), ({"token": TOKEN}, 401)])
async def test_a_too_large_body_gets_a_response(size: int, web: dict[str, Any], status: int) -> None:
    """A client that sends the whole body before it reads gets the response and no connection reset."""
    book = Book()
    async with served(book, **web) as http:
        headers = {"Content-Type": "application/json"}
        answer = await http.post("/api/v1/silences", content=b"x" * size, headers=headers)
        assert (401 if web else 200) == (await http.get("/api/v1/silences")).status_code
    assert status == answer.status_code
    assert "detail" in answer.json()
    assert {} == book.made


async def test_an_endless_body_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response is sent at once, the body is discarded up to a limit, and the connection is closed."""
    monkeypatch.setattr(request_body, "MAX_DRAINED_BYTES", 1_000_000)
    async with served() as http, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        head = "POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1000:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
                sent += 1
                await asyncio.sleep(0)
        assert sent < 1000
        with contextlib.suppress(ConnectionError):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_a_rejected_request_gets_no_100_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected request with ``Expect: 100-continue`` gets only the final response."""
    monkeypatch.setattr(request_body, "_DRAIN_TIMEOUT", 0.05)
    async with served(token=TOKEN) as http, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        head = "POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 20000000\r\nExpect: 100-continue\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b" 100 " not in answer


async def test_too_many_silences_are_rejected() -> None:
    """The response contains the message of the alerting service."""
    book = Book()
    book.full = True
    async with served(book) as http:
        answer = await http.post("/api/v1/silences", json=SILENCE)
    assert (400, "there are 1000 silences; end some of them") == (answer.status_code, answer.json()["detail"])
