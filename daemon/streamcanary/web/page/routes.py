"""The routes of the status page."""

import asyncio
from typing import Any, Final

from starlette.convertors import PathConvertor, register_url_convertor  # codespell:ignore convertors
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streamcanary.model.clock import Clock
from streamcanary.model.run_trace import RunSummary, RunTrace
from streamcanary.model.status.canary_status import CanaryDetail, CanaryStatus, FaultCount, RuleStatus
from streamcanary.store.errors import StoreFailing
from streamcanary.web.authorization import Authorizer
from streamcanary.web.page import text_format
from streamcanary.web.page.asset_files import assets_by_hashed_name
from streamcanary.web.page.page_title import page_title
from streamcanary.web.page.responses import (
    COMPRESSION,
    SECURITY_HEADERS,
    Failure,
    Handler,
    html,
    page_handler,
)
from streamcanary.web.page.sources import PageSources
from streamcanary.web.page.views.canary import CanaryView, RunPageView, canary_view
from streamcanary.web.page.views.overview import OverviewQuery, overview_view
from streamcanary.web.page.views.recorded_trace import trace_of
from streamcanary.web.page.views.replicas import replica_remarks
from streamcanary.web.page.views.run import PHASE_WORDS, run_view

RUNS_PER_PAGE: Final = 50
MAX_FORECASTS: Final = 4
"""Canaries whose forecasts are computed at once."""
_FORECAST_WAIT = 0.05  # seconds
_MAX_NAME = 300  # characters
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


class StatusPages:
    """The pages that show canaries and runs."""

    def __init__(self, sources: PageSources, authorizer: Authorizer, clock: Clock) -> None:
        self._sources = sources
        self._authorizer = authorizer
        self._clock = clock
        self._forecasts: dict[str, asyncio.Task[tuple[RuleStatus, ...]]] = {}

    def frame(self, request: Request, **values: Any) -> dict[str, Any]:
        """Return what the frame of each page shows."""
        session = self._authorizer.session_of(request)
        summary = self._sources.canaries.summary()
        return {
            "summary": summary,
            "now": self._clock.time(),
            "csrf": session.csrf if session else "",
            "title": page_title(summary, str(values.pop("subject", ""))),
            "has_replicas": self._sources.replicas is not None,
            "remarks": () if self._sources.replicas is None else replica_remarks(self._sources.replicas.status()),
            **values,
        }

    async def overview(self, request: Request) -> Response:
        """Show all canaries in groups."""
        query = OverviewQuery.from_items(request.query_params.multi_items())
        view = overview_view(self._sources.canaries.statuses(), query, self._sources.canaries.with_hours)
        return html("overview.html", view=view, live="overview", here="overview", **self.frame(request))

    async def canary(self, request: Request) -> Response:
        """Show one canary."""
        name = request.path_params["name"]
        before = _row(request.query_params.get("before", ""))
        view = await self.canary_view(name, before)
        live = f"canary/{name}" if before is None else ""
        frame = self.frame(request, subject=name)
        replica = "" if self._sources.replicas is None else self._sources.replicas.owner_of(name)
        return html("canary.html", view=view, before=before, live=live, here="", replica=replica, **frame)

    async def canary_view(self, name: str, before: int | None = None) -> CanaryView:
        """Return what the page of canary ``name`` shows, with the recorded runs before the row ``before``.

        Raises:
            Failure: if there is no such canary.
        """
        status = self.find_status(name)
        faults: tuple[FaultCount, ...] = ()
        page, unavailable = RunPageView(), ""
        try:
            names = self._sources.canaries.recorded_names(name)
            runs, following = await self._sources.recorded.runs_of(names, before=before, limit=RUNS_PER_PAGE)
            page = RunPageView(runs=tuple(runs), next=following)
            faults = await self._sources.faults.faults_of(name)
        except StoreFailing as error:
            unavailable = str(error)
        detail = CanaryDetail(status=status, faults=faults, rules=await self._rules(name))
        return canary_view(detail, page, self._clock.time(), unavailable)

    async def _rules(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return the rules of a canary with the forecasts that are known soon; a later page has all."""
        view = self._sources.alerts.view
        if canary not in self._forecasts and len(self._forecasts) < MAX_FORECASTS:
            task = self._forecasts[canary] = asyncio.create_task(view.rules_with_forecasts(canary))
            task.add_done_callback(lambda _: self._forecasts.pop(canary, None))
            await asyncio.wait([task], timeout=_FORECAST_WAIT)
        return view.rules(canary)

    async def run(self, request: Request) -> Response:
        """Show the waterfall of a run."""
        name, run_id = request.path_params["name"], request.path_params["id"]
        trace = await self.find_run(name, run_id[:_MAX_NAME].lower())
        view = run_view(trace, self._sources.alerts.view.trace_url)
        frame = self.frame(request, subject=f"{trace.run.canary} {text_format.clean(trace.run.outcome, 20)}")
        return html("run.html", view=view, phase_words=PHASE_WORDS, here="", **frame)

    def find_status(self, name: str) -> CanaryStatus:
        """Return the status of a canary.

        Raises:
            Failure: if there is none of this name; it lists those of a similar name.
        """
        found = self._sources.canaries.find(name)
        if found is not None:
            return found
        statuses = self._sources.canaries.statuses()
        word = name[:_MAX_NAME].lower().partition("-")[0]
        similar = [one.name for one in statuses if word and word in one.name.lower()] or [one.name for one in statuses]
        links = tuple((f"/canaries/{text_format.path_part(one)}", one) for one in sorted(similar)[:30])
        message = (
            f"It may have been renamed or removed. {text_format.plural(len(statuses), 'canary', 'canaries')} in all."
        )
        raise Failure(404, f"There is no canary {text_format.clean(name, 80)}.", message, links)

    async def find_run(self, canary: str, run_id: str) -> RunTrace:
        """Return a run of ``canary``: one whose spans are kept, or a recorded one, also under a former name.

        Raises:
            Failure: if it is neither; it lists those that are kept.
        """
        trace = self._sources.kept.find(run_id)
        if trace is not None and trace.run.canary == canary:
            return trace
        self.find_status(canary)
        reason = ""
        try:
            found = await self._sources.recorded.find_run(run_id)
            if found is not None and (found.canary == canary or self._sources.canaries.find(found.canary) is None):
                return trace_of(found)
        except StoreFailing as error:
            reason = f" The store cannot be read: {error}"
        kept = self._sources.kept.list_runs(canary=canary, limit=20).runs
        links = tuple((f"/canaries/{text_format.path_part(canary)}/runs/{run.run_id}", _run_words(run)) for run in kept)
        message = "No run of this canary with this id is recorded; runs are deleted after store.keep." + reason
        raise Failure(404, "This run is not here.", message, links, "Kept runs of this canary")


class _PagePath(PathConvertor):
    """Any path but those of the API: an unknown one of these gets a problem document."""

    regex = "(?!api(?:/|$)|-/).*"


register_url_convertor("page", _PagePath())


def status_routes(pages: StatusPages, authorizer: Authorizer) -> list[Route]:
    """Return the routes of overview, canaries, runs and assets."""

    def authorized(handle: Handler) -> Handler:
        return page_handler(authorizer, handle)

    async def missing(request: Request) -> Response:
        links = (("/", "Overview"), ("/alerts", "Alerts"), ("/silences", "Silences"), ("/api/openapi.json", "API"))
        raise Failure(404, "There is no such page.", "", links)

    return [
        Route("/", authorized(pages.overview), middleware=COMPRESSION),
        Route("/canaries", authorized(_to_overview)),
        Route("/canaries/{name}", authorized(pages.canary), middleware=COMPRESSION),
        Route("/canaries/{name}/runs/{id}", authorized(pages.run), middleware=COMPRESSION),
        Route("/assets/{name}", _asset, middleware=COMPRESSION),
        Route("/favicon.ico", _favicon),
        Route("/{path:page}", authorized(missing)),
    ]


def _run_words(run: RunSummary) -> str:
    return f"{text_format.clock_seconds(run.started.timestamp())} UTC, {text_format.OUTCOME_WORDS.get(run.outcome, '')}"


def _row(text: str) -> int | None:
    """Return the cursor of a page of runs; ``None`` for the latest page, and for what is no cursor."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def _to_overview(request: Request) -> Response:
    return RedirectResponse("/", status_code=308, headers=SECURITY_HEADERS)


async def _asset(request: Request) -> Response:
    """Serve the stylesheet, the script and the icons: public, since the form to log in needs them."""
    asset = assets_by_hashed_name().get(request.path_params["name"])
    if asset is None:
        return Response("there is no such file\n", 404, {**SECURITY_HEADERS, "Cache-Control": "no-store"}, "text/plain")
    return Response(asset.content, media_type=asset.media_type, headers={**SECURITY_HEADERS, **_FOREVER})


async def _favicon(request: Request) -> Response:
    return Response(status_code=204, headers=SECURITY_HEADERS)
