"""``GET /api/v1/events``: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A subscriber that does not read is disconnected by the deadline of its response, and delays no other.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final, Self

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamcanary.model.background_task import BackgroundTask
from streamcanary.web.api.endpoints import IS_AUTHORIZED, Endpoint
from streamcanary.web.api.event_feed import EventFeed, EventSource, Query
from streamcanary.web.api.query import read_query
from streamcanary.web.bounded_protocol import EXTEND_DEADLINE
from streamcanary.web.problems import problem_response

_log = logging.getLogger(__name__)

MAX_SUBSCRIBERS: Final = 64
"""Subscribers at once."""

HEARTBEAT: Final = 15.0
"""Seconds without another event after which the event ``heartbeat`` is sent.

Proxies keep the connection open, and a client that gets nothing for longer knows that it is lost."""

SEND_TIMEOUT: Final = 10.0
"""Seconds that a subscriber may take to read what is sent."""

_INTERVAL = 1.0  # seconds between two batches of events, at least
_MAX_LOOP_SHARE = 0.05  # of the event loop, for rendering
_MEDIA_TYPE = "text/event-stream"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx
_HEARTBEAT_EVENT = b"event: heartbeat\ndata: {}\n\n"  # without data, browsers dispatch no event
_RETRY = b"retry: 3000\n\n"  # milliseconds until a browser reconnects


class EventsQuery(Struct, frozen=True, kw_only=True):
    """What the subscriber wants, and what it has."""

    last_event_id: Annotated[
        str,
        Meta(
            max_length=100,
            description="The `event_id` of a list, or the id of the last event, for a client that cannot send the "
            "header `Last-Event-ID`, which has precedence.",
        ),
    ] = ""
    html: Annotated[str, Meta(max_length=300, description="Send HTML for this view of the status page.")] = ""
    page: Annotated[str, Meta(max_length=1000, description="The query string of the page that shows the view.")] = ""


class EventStream(StreamingResponse):
    """A response with events; ``on_end`` is called when it ends, also if it was never started."""

    def __init__(self, events: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(events, headers=_HEADERS, media_type=_MEDIA_TYPE)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client closes the connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


class EventHub:
    """Sends events to subscribers. A context manager: leaving it ends all streams.

    ``interval``, ``heartbeat`` and ``send_timeout`` are seconds.
    """

    def __init__(
        self,
        source: EventSource,
        *,
        interval: float = _INTERVAL,
        heartbeat: float = HEARTBEAT,
        send_timeout: float = SEND_TIMEOUT,
    ) -> None:
        self.source = source
        self._interval = interval
        self._heartbeat = heartbeat
        self._send_timeout = send_timeout
        self._feeds: dict[Query, EventFeed] = {}
        self._task = BackgroundTask("server-sent events")
        self._is_closed = False

    @property
    def subscriber_count(self) -> int:
        """The number of open streams."""
        return sum(feed.subscribers for feed in self._feeds.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_closed = True
        for feed in self._feeds.values():
            feed.wake()
        await self._task.stop()

    def subscribe(
        self,
        query: Query,
        since: str,
        extend_deadline: Callable[[float], None],
        is_authorized: Callable[[], bool] = lambda: True,
    ) -> "EventStream":
        """Return the response with the events of ``query`` after the id ``since``, as they happen.

        ``extend_deadline`` is called when the subscriber has read what was sent before. ``is_authorized`` is asked
        before more is sent: a stream ends with the session, or with the token, by which it was opened.

        Raises:
            ValueError: if there is no such view.
        """
        feed = self._feeds.get(query) or EventFeed(self.source, query)
        first = feed.first_events(since)
        self._feeds[query] = feed
        feed.subscribers += 1  # before the response starts: concurrent requests are counted
        if not self._task.is_running:
            self._task.start(self._render())
        return EventStream(
            self._events(feed, first, extend_deadline, is_authorized), on_end=lambda: self._leave(query, feed)
        )

    async def _events(
        self,
        feed: EventFeed,
        first: bytes,
        extend_deadline: Callable[[float], None],
        is_authorized: Callable[[], bool],
    ) -> AsyncIterator[bytes]:
        number = feed.number
        extend_deadline(self._heartbeat + self._send_timeout)
        yield _RETRY + first
        while not self._is_closed:
            await feed.wait(number, self._heartbeat)
            content = feed.after(number)
            # One that is too slow reconnects with the id that it has.
            if content is None or not is_authorized() or self._is_closed:
                return
            number = feed.number
            extend_deadline(self._heartbeat + self._send_timeout)
            yield content or _HEARTBEAT_EVENT

    def _leave(self, query: Query, feed: EventFeed) -> None:
        feed.subscribers -= 1
        if not feed.subscribers:
            self._feeds.pop(query, None)

    async def _render(self) -> None:
        """Render what has changed, once each interval, as long as there are subscribers."""
        spent = 0.0
        while self._feeds:
            await asyncio.sleep(pause_after(spent, self._interval))
            spent = 0.0
            for feed in list(self._feeds.values()):
                began = time.perf_counter()
                try:
                    feed.render()
                except Exception:  # noqa: BLE001 - it is logged; the other feeds go on
                    _log.exception("events not rendered")
                spent += time.perf_counter() - began
                await asyncio.sleep(0)


def pause_after(spent: float, interval: float) -> float:
    """Return the seconds until events are rendered again: many different pages must not delay the canaries."""
    return max(interval, spent / _MAX_LOOP_SHARE)


def event_endpoints(hub: EventHub) -> list[Endpoint]:
    """Return the endpoint of server-sent events."""

    async def events(request: Request) -> Response:
        query = read_query(request, EventsQuery)
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type=_MEDIA_TYPE)
        if hub.subscriber_count >= MAX_SUBSCRIBERS:
            detail = f"{MAX_SUBSCRIBERS} clients read events already; close some, or read /api/v1/canaries at intervals"
            return problem_response(request, 429, detail, headers={"Retry-After": "30"})
        since = request.headers.get("last-event-id", query.last_event_id)[:100]
        extend = getattr(request.state, EXTEND_DEADLINE, None) or _ignore
        is_authorized: Callable[[], bool] = getattr(request.state, IS_AUTHORIZED)
        return hub.subscribe(Query(query.html, query.page), since, extend, is_authorized)

    return [
        Endpoint(
            method="GET",
            path="/api/v1/events",
            handle=events,
            tag="status",
            summary="Send what changes as server-sent events, at most once a second.",
            description=(
                "`summary` has the status of everything, `canaries` those that have changed, `incidents` all open "
                "incidents; `reload` means that there are other canaries, or that events were missed: read the lists "
                "again. With `html` there are `summary`, `html` and `reload`. `heartbeat` comes "
                "after 15 s without another event: who gets nothing for longer has lost the connection."
            ),
            query=EventsQuery,
            result=str,
            media_type=_MEDIA_TYPE,
            problems=(429,),
        )
    ]


def _ignore(seconds: float) -> None:
    """Do nothing: the server has no deadline."""
