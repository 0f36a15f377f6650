"""Feeds of events: what changed is rendered once a second, and shared by all subscribers with the same query."""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus, PeriodStatistics, RecentRun
from streamcanary.model.status.summary import StatusSummary
from streamcanary.web.api.alert_documents import incidents_document
from streamcanary.web.api.canaries import CanaryStatuses

MAX_BEHIND: Final = 10
"""Batches of events that a subscriber may be behind; then it is disconnected."""

_MAX_RUNS = 3  # of a canary in one event


class Fragments(Protocol):
    """Renders what has changed on a page."""

    def render(self, view: str, page: str, changed: frozenset[str]) -> bytes:
        """Return the HTML for pages that show ``view``; empty if nothing has changed on them.

        ``view`` is such as ``overview``, ``canary/chat-mini`` or ``alerts``. ``page`` is the query string of the page,
        with its filters. ``changed`` are the names of the canaries that have changed. It runs in the event loop.

        Raises:
            ValueError: if there is no such view; the message is for the client.
        """
        ...


class CanaryChange(Struct, frozen=True, kw_only=True):
    """What changes of a canary: the fields are those of its status, ``recent_runs`` its last three runs at most."""

    name: str
    state: CanaryState
    since: float | None
    next_run: float | None
    fault: str | None
    message: str
    hour: PeriodStatistics | None
    headroom: dict[str, float]
    alerts: tuple[str, ...]
    recent_runs: tuple[RecentRun, ...]


class Query(Struct, frozen=True):
    """What subscribers get: JSON, or the HTML of ``view`` for a ``page``."""

    view: str = ""
    page: str = ""


class Batch(Struct, frozen=True):
    """Events that are sent together; ``number`` counts the batches of the feed."""

    number: int
    content: bytes


class EventSource:
    """Renders the events of changes after a revision. The id of an event is a random text and the revision."""

    def __init__(
        self, statuses: CanaryStatuses, alerts: Callable[[], StatusSnapshot], fragments: Fragments | None = None
    ) -> None:
        self.statuses = statuses
        self._alerts = alerts
        self._fragments = fragments
        self._prefix = secrets.token_hex(4)

    def event_id(self) -> str:
        """Return the id of an event that would be sent now."""
        return self._id_of(self.revision())

    def revision(self) -> int:
        """Return the number of the last change."""
        self.statuses.changed_since(self.statuses.revision)  # includes what time alone has changed
        return self.statuses.revision

    def revision_of(self, event_id: str) -> int | None:
        """Return the revision of an event id; ``None`` if later events need all that came before."""
        prefix, _, number = event_id.partition("-")
        if prefix != self._prefix or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        revision = int(number)
        return revision if self.statuses.configured_at <= revision <= self.statuses.revision else None

    def summary(self) -> StatusSummary:
        """Return the status of everything in one sentence."""
        return self.statuses.summary()

    def incidents(self) -> bytes:
        """Return the open incidents as JSON."""
        return msgspec.json.encode(incidents_document(self._alerts()))

    def render_view(self, query: Query, changed: frozenset[str]) -> bytes:
        """Return the HTML of what has changed.

        Raises:
            ValueError: if there is no such view.
        """
        if self._fragments is None:
            raise ValueError("html: this daemon has no pages; leave it out for JSON")
        return self._fragments.render(query.view, query.page, changed)

    def with_id(self, events: list[bytes], revision: int) -> bytes:
        """Return ``events`` with their id; empty if there are none.

        The last one has it: a client that has only read some of them asks for all of them again.
        """
        if not events:
            return b""
        return b"".join([*events[:-1], f"id: {self._id_of(revision)}\n".encode(), events[-1]])

    def _id_of(self, revision: int) -> str:
        return f"{self._prefix}-{revision}"


class EventFeed:
    """The events for all subscribers with one query."""

    def __init__(self, source: EventSource, query: Query) -> None:
        self._source = source
        self._query = query
        self._revision = source.revision()
        self._summary: StatusSummary = _without_time(source.summary())
        self._incidents = b"" if query.view else source.incidents()
        self._batches: deque[Batch] = deque(maxlen=MAX_BEHIND)
        self._changed = asyncio.Event()
        self.subscribers = 0
        self.number = 0

    def first_events(self, since: str) -> bytes:
        """Return the events for a new subscriber that has all up to the id ``since``, which may be empty.

        Raises:
            ValueError: if there is no such view.
        """
        source, revision = self._source, self._source.revision()
        known = source.revision_of(since)
        changed = () if known is None else source.statuses.changed_since(known)
        events = [_event("summary", msgspec.json.encode(source.summary()))]
        if since and known is None:
            events.append(_event("reload", b"{}"))
        if self._query.view:
            html = source.render_view(self._query, _names(changed))
            events += [_event("html", html)] if html and changed else []
        else:
            events.append(_event("incidents", source.incidents()))
            events += [_changes_event(changed)] if changed else []
        return source.with_id(events, revision)

    def render(self) -> None:
        """Render what has changed since the last call, and wake the subscribers."""
        source, since = self._source, self._revision
        self._revision = source.revision()
        changed = source.statuses.changed_since(since)
        events = []
        if (summary := _without_time(source.summary())) != self._summary:
            self._summary = summary
            events.append(_event("summary", msgspec.json.encode(source.summary())))
        if source.statuses.configured_at > since:
            events.append(_event("reload", b"{}"))
        if self._query.view:
            html = source.render_view(self._query, _names(changed)) if self._revision > since else b""
            events += [_event("html", html)] if html else []
        else:
            if self._revision > since and (incidents := source.incidents()) != self._incidents:
                self._incidents = incidents
                events.append(_event("incidents", incidents))
            events += [_changes_event(changed)] if changed else []
        if content := source.with_id(events, self._revision):
            self.number += 1
            self._batches.append(Batch(self.number, content))
            self._changed.set()
            self._changed = asyncio.Event()

    async def wait(self, number: int, seconds: float) -> None:
        """Wait until there are events after the batch ``number``, or for ``seconds``."""
        if self.number == number:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return

    def wake(self) -> None:
        """Let the subscribers look."""
        self._changed.set()

    def after(self, number: int) -> bytes | None:
        """Return the events after the batch ``number``; ``None`` if some of them are not kept any more."""
        if self.number - number > len(self._batches):
            return None
        return b"".join(batch.content for batch in self._batches if batch.number > number)


def _event(kind: str, data: bytes) -> bytes:
    """Return an event; each line of ``data`` has a field of its own."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join([b"event: ", kind.encode(), b"\n", *(b"data: " + line + b"\n" for line in lines), b"\n"])


def _changes_event(changed: tuple[CanaryStatus, ...]) -> bytes:
    return _event("canaries", msgspec.json.encode({"canaries": [_change_of(status) for status in changed]}))


def _change_of(status: CanaryStatus) -> CanaryChange:
    return CanaryChange(
        name=status.name,
        state=status.state,
        since=status.since,
        next_run=status.next_run,
        fault=status.fault,
        message=status.message,
        hour=status.hour,
        headroom=status.headroom,
        alerts=status.alerts,
        recent_runs=status.recent_runs[-_MAX_RUNS:],
    )


def _names(changed: tuple[CanaryStatus, ...]) -> frozenset[str]:
    return frozenset(status.name for status in changed)


def _without_time(summary: StatusSummary) -> Any:
    return msgspec.structs.replace(summary, time=0.0)
