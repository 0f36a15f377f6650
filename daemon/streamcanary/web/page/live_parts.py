"""The parts of a page that change, for its live updates: rendered once, and sent to all who look at the same."""

import hashlib
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.clock import Clock
from streamcanary.web.page.asset_files import asset_href
from streamcanary.web.page.page_title import page_title
from streamcanary.web.page.rendering import macro, render
from streamcanary.web.page.sources import PageSources
from streamcanary.web.page.views.overview import OverviewQuery, overview_view
from streamcanary.web.page.views.replicas import replicas_version

_CANARY = "canary/"
_MAX_FIELDS = 50


class LiveParts:
    """Renders the data of the event ``html`` for a view, see :class:`~streamcanary.web.api.event_feed.Fragments`.

    The data is JSON: ``title`` and ``icon`` of the page. For ``overview``, ``parts`` is markup by the id of the element
    that it replaces, and ``order`` the ids of all groups: a page with other ones reads itself again. A page of
    ``canary/NAME`` does so at each event, one of ``alerts`` or ``replicas`` if ``version`` is another one.
    """

    def __init__(self, sources: PageSources, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock

    def render(self, view: str, page: str, changed: frozenset[str]) -> bytes:
        """Return the data for pages that show ``view``; empty if nothing has changed on them.

        ``page`` is the query string of the page, ``changed`` are the names of canaries that have changed.

        Raises:
            ValueError: if there is no such view.
        """
        if view == "overview":
            return msgspec.json.encode({**self._frame(), **self._overview(page, changed)})
        if view == "alerts":
            version = alerts_version(self._sources.alerts.status, self._sources.alerts.silences)
            return msgspec.json.encode({**self._frame(), "version": version})
        if view == "replicas" and self._sources.replicas is not None:
            return msgspec.json.encode({**self._frame(), "version": replicas_version(self._sources.replicas.status())})
        name = view.removeprefix(_CANARY)
        if not view.startswith(_CANARY) or self._sources.canaries.find(name) is None:
            raise ValueError("html: there is no such view; there are overview, alerts, and canary/ with a name")
        return msgspec.json.encode({**self._frame(name), "is_stale": True}) if name in changed else b""

    def _overview(self, page: str, changed: frozenset[str]) -> dict[str, Any]:
        statuses, now = self._sources.canaries.statuses(), self._clock.time()
        query = OverviewQuery.from_items(parse_qsl(page, max_num_fields=_MAX_FIELDS))
        view = overview_view(statuses, query, self._sources.canaries.with_hours)
        section = macro("group.html", "group_section")
        parts = {
            "sentence": render("sentence.html", summary=self._sources.canaries.summary(), now=now),
            "states": render("states.html", view=view),
        }
        touched = {view.key_of(status) for status in statuses if status.name in changed}
        parts |= {
            group.id: str(section(group, now, query.group)).strip() for group in view.groups if group.key in touched
        }
        return {"parts": parts, "order": [group.id for group in view.groups]}

    def _frame(self, subject: str = "") -> dict[str, str]:
        summary = self._sources.canaries.summary()
        icon = asset_href(f"favicon-{summary.state.value}.svg")
        return {"title": page_title(summary, subject), "icon": icon}


def alerts_version(status: StatusSnapshot, silences: tuple[Silence, ...]) -> str:
    """Return a hash of what the page of the alerts shows and may change at any time."""
    content = msgspec.json.encode([status.incidents, status.undelivered, [one.id for one in silences]])
    return hashlib.sha256(content).hexdigest()[:16]
