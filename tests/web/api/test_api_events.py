"""Server-sent events, over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from streamcanary.model.canary import Canary
from streamcanary.web.api import events
from streamcanary.web.api.event_feed import MAX_BEHIND
from support.api_server import ApiServer, serve_api
from support.store.builders import make_outcome

QUICK = {"interval": 0.02, "heartbeat": 5.0, "send_timeout": 5.0}
CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0)
OTHER = Canary(name="other", target="openai", provider="openai", interval=30.0)


class Event(NamedTuple):
    """A received event."""

    kind: str
    data: str
    id: str = ""

    @property
    def canaries(self) -> list[str]:
        """The names in a ``canaries`` event."""
        return [each["name"] for each in json.loads(self.data)["canaries"]]


class Subscriber:
    """Reads events."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.last_id = ""
        self._events = self._read()

    async def _read(self) -> AsyncIterator[Event]:
        fields: dict[str, list[str]] = {}
        async for line in self.response.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                fields.setdefault(name or ":", []).append(value.removeprefix(" "))
                continue
            self.last_id = fields.get("id", [self.last_id])[0]
            if "event" in fields:
                yield Event(fields["event"][0], "\n".join(fields["data"]), fields.get("id", [""])[0])
            fields = {}

    async def next(self, count: int = 1) -> list[Event]:
        """Return the next events."""
        return [await anext(self._events) for _ in range(count)]

    async def next_of(self, kind: str) -> Event:
        """Return the next event of a kind."""
        while True:
            [event] = await self.next()
            if event.kind == kind:
                return event

    async def rest(self) -> list[Event]:
        """Return all further events until the server ends the stream."""
        return [event async for event in self._events]


@asynccontextmanager
async def subscribed(server: ApiServer, query: str = "", **headers: str) -> AsyncIterator[Subscriber]:
    """Subscribe, on a connection of its own."""
    async with (
        asyncio.timeout(20),
        httpx2.AsyncClient(trust_env=False, base_url=server.url, timeout=20) as http,
        http.stream("GET", f"/api/v1/events{query}", headers=headers) as response,
    ):
        assert (200, "text/event-stream; charset=utf-8") == (response.status_code, response.headers["content-type"])
        yield Subscriber(response)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """Serve two canaries."""
    async with serve_api(tmp_path, CHAT, OTHER, events=QUICK) as api:
        yield api


async def test_a_new_subscriber_gets_the_summary_and_the_incidents(server: ApiServer) -> None:
    """With the id from which it can go on."""
    async with subscribed(server) as subscriber:
        first = await subscriber.next(2)
    assert ["summary", "incidents"] == [event.kind for event in first]
    assert "No canary has run yet" == json.loads(first[0].data)["sentence"]
    assert subscriber.last_id == (await server.http.get("/api/v1/canaries")).json()["event_id"]


async def test_a_stream_ends_when_the_token_changes(tmp_path: Path) -> None:
    """Who has only the former token gets nothing more, and cannot subscribe again."""
    token_file = tmp_path / "token"
    token_file.write_text("first-token-0123456789")
    former = {"Authorization": "Bearer first-token-0123456789"}
    async with (
        serve_api(tmp_path, CHAT, events=QUICK, token_file=str(token_file)) as server,
        subscribed(server, **former) as subscriber,
    ):
        await subscriber.next(2)
        token_file.write_text("another-token-0123456789")
        server.observe(make_outcome(1))
        assert [] == await subscriber.rest()
        assert 401 == (await server.http.get("/api/v1/events", headers=former)).status_code


async def test_changes_are_sent_together(server: ApiServer) -> None:
    """Ten runs that ended within the interval are one event, with the last three runs."""
    async with subscribed(server) as subscriber:
        await subscriber.next(2)
        server.observe(*(make_outcome(number) for number in range(10)))
        summary = await subscriber.next_of("summary")
        event = await subscriber.next_of("canaries")
        [chat] = json.loads(event.data)["canaries"]
        server.observe(make_outcome(10))
        assert ["chat"] == (await subscriber.next_of("canaries")).canaries
    assert "1 of 2 canaries answer; 1 has no recent result" == json.loads(summary.data)["sentence"]
    assert ("chat", "ok") == (chat["name"], chat["state"])
    assert ["run-7", "run-8", "run-9"] == [run["run_id"] for run in chat["recent_runs"]]


@pytest.mark.parametrize("as_header", [True, False])
async def test_a_subscriber_that_reconnects_gets_what_it_missed(server: ApiServer, as_header: bool) -> None:
    """By the id of its last event, as a header or a parameter."""
    async with subscribed(server) as subscriber:
        await subscriber.next(2)
    server.observe(make_outcome(0))
    last = subscriber.last_id
    query, headers = ("", {"Last-Event-ID": last}) if as_header else (f"?last_event_id={last}", {})
    async with subscribed(server, query, **headers) as again:
        assert ["summary", "incidents", "canaries"] == [event.kind for event in await again.next(3)]
    assert again.last_id != last


@pytest.mark.parametrize("unknown", ["x", "0-0", "00000000-5", "9" * 90, "ffffffff--1", "\u00b2-\u00b2"])
async def test_after_an_unknown_id_everything_is_to_be_read_again(server: ApiServer, unknown: str) -> None:
    """The id is of an earlier process, or of nobody."""
    async with subscribed(server, f"?last_event_id={unknown}") as again:
        assert ["summary", "reload", "incidents"] == [event.kind for event in await again.next(3)]


async def test_other_canaries_are_to_be_read_again(server: ApiServer) -> None:
    """A reload of the configuration is an event, also for those that reconnect after it."""
    async with subscribed(server) as subscriber:
        await subscriber.next(2)
        last = subscriber.last_id
        server.statuses.configure([CHAT], instance="test")
        assert "{}" == (await subscriber.next_of("reload")).data
    async with subscribed(server, f"?last_event_id={last}") as again:
        assert "reload" in [event.kind for event in await again.next(3)]


async def test_without_changes_there_is_a_heartbeat(tmp_path: Path) -> None:
    """It keeps proxies from closing the connection, and has no id: what comes after it is not missed."""
    async with (
        serve_api(tmp_path, CHAT, events={**QUICK, "heartbeat": 0.05}) as server,
        subscribed(server) as subscriber,
    ):
        events = await subscriber.next(4)
        last = (await server.http.get("/api/v1/canaries")).json()["event_id"]
    assert ["summary", "incidents", "heartbeat", "heartbeat"] == [event.kind for event in events]
    assert [("{}", "")] * 2 == [(event.data, event.id) for event in events[2:]]
    assert last == subscriber.last_id


class CountingPages:
    """Renders the names of changed canaries, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def render(self, view: str, page: str, changed: frozenset[str]) -> bytes:
        """Return two lines; refuse other views than ``overview``."""
        if view != "overview":
            raise ValueError(f"html: there is no view {view}")
        self.count += 1
        return f"<p>{page}\n{','.join(sorted(changed))}</p>".encode() if changed else b""


async def test_html_is_rendered_once_for_all_that_show_the_same(tmp_path: Path) -> None:
    """Each line of it is a line of the event, and subscribers with another query get their own."""
    pages = CountingPages()
    async with (
        serve_api(tmp_path, CHAT, OTHER, events=QUICK, fragments=pages) as server,
        subscribed(server, "?html=overview&page=q%3Dx") as one,
        subscribed(server, "?html=overview&page=q%3Dx") as two,
        subscribed(server, "?html=overview") as other,
    ):
        for each in (one, two, other):
            assert "summary" == (await each.next())[0].kind
        before = pages.count
        server.observe(make_outcome(0))
        received = [(await each.next_of("html")).data for each in (one, two, other)]
        assert 2 == pages.count - before
    assert ["<p>q=x\nchat</p>", "<p>q=x\nchat</p>", "<p>\nchat</p>"] == received


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?html=overview", "html: this daemon has no pages; leave it out for JSON"),
        ("?color=red", "color: not a parameter; there are last_event_id, html, page"),
        ("?html=" + "x" * 301, "html: " + "x" * 39 + "… is invalid: expected str of length <= 300"),
    ],
)
async def test_an_invalid_subscription_is_explained(server: ApiServer, query: str, detail: str) -> None:
    """Before a stream begins."""
    answer = await server.http.get(f"/api/v1/events{query}")
    assert (400, detail) == (answer.status_code, answer.json()["detail"])
    assert 0 == server.hub.subscriber_count


async def test_a_head_request_opens_no_stream(server: ApiServer) -> None:
    """It has the headers only."""
    answer = await server.http.head("/api/v1/events")
    assert (200, 0) == (answer.status_code, server.hub.subscriber_count)


async def test_subscribers_are_bounded(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones are told when to try again; a place is free when a subscriber leaves."""
    monkeypatch.setattr(events, "MAX_SUBSCRIBERS", 2)
    async with subscribed(server) as one:
        async with subscribed(server):
            answer = await server.http.get("/api/v1/events")
            assert (429, "30") == (answer.status_code, answer.headers["retry-after"])
            assert "2 clients read events already" in answer.json()["detail"]
        async with asyncio.timeout(10):
            while server.hub.subscriber_count > 1:
                await asyncio.sleep(0.01)
        async with subscribed(server) as another:
            await another.next(2)
        await one.next(2)


async def test_a_subscriber_that_never_reads_costs_the_others_nothing(tmp_path: Path) -> None:
    """It is disconnected, and another one gets each event meanwhile."""
    big = [Canary(name=f"c{number}", target="t" * 500, provider="p", interval=30.0) for number in range(200)]
    times = {"interval": 0.01, "heartbeat": 0.2, "send_timeout": 0.3}
    async with serve_api(tmp_path, *big, events=times) as server, subscribed(server) as reader:
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(silent, server.address)
        await loop.sock_sendall(silent, b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.next(2)
        number = received = 0
        async with asyncio.timeout(20):
            while server.hub.subscriber_count != 2:
                await asyncio.sleep(0.01)
            while server.hub.subscriber_count == 2:
                number += 1
                server.observe(*(make_outcome(number, canary=each.name) for each in big))
                received += len((await reader.next_of("canaries")).canaries)
        assert 200 * number == received
        assert number > MAX_BEHIND
        silent.close()
        server.observe(make_outcome(0, canary="c0"))
        assert ["c0"] == (await reader.next_of("canaries")).canaries


@pytest.mark.parametrize(("spent", "pause"), [(0.0, 1.0), (0.04, 1.0), (0.1, 2.0), (3.0, 60.0)])
def test_rendering_takes_a_twentieth_of_the_event_loop_at_most(spent: float, pause: float) -> None:
    """Events are rarer if the subscribers show many different pages."""
    assert pytest.approx(pause) == events.pause_after(spent, 1.0)


async def test_a_page_that_cannot_be_rendered_keeps_no_event_from_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The defect is logged, and the other subscribers go on."""

    class BrokenPages:
        def render(self, view: str, page: str, changed: frozenset[str]) -> bytes:
            if changed:
                raise RuntimeError("a defect")
            return b""

    async with (
        serve_api(tmp_path, CHAT, events=QUICK, fragments=BrokenPages()) as server,
        subscribed(server, "?html=overview") as broken,
        subscribed(server) as other,
    ):
        await broken.next()
        await other.next(2)
        server.observe(make_outcome(0))
        assert ["chat"] == (await other.next_of("canaries")).canaries
    assert "events not rendered" in caplog.messages


async def test_streams_end_when_the_daemon_stops(tmp_path: Path) -> None:
    """The server does not wait for its subscribers."""
    async with serve_api(tmp_path, CHAT, events=QUICK) as server, subscribed(server) as subscriber:
        await subscriber.next(2)
        await server.hub.__aexit__()
        assert [] == await subscriber.rest()
