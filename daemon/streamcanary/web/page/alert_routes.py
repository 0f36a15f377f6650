"""The routes of the alerts: what fires, incidents, and silences with their forms."""

from typing import Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.clock import Clock
from streamcanary.model.status.alert_history import PastIncident
from streamcanary.store.errors import StoreFailing
from streamcanary.web.api.alerts import SilenceRequest
from streamcanary.web.authorization import Authorizer
from streamcanary.web.page.live_parts import alerts_version
from streamcanary.web.page.responses import (
    COMPRESSION,
    SECURITY_HEADERS,
    Failure,
    Form,
    Handler,
    form_handler,
    html,
    page_handler,
)
from streamcanary.web.page.routes import StatusPages
from streamcanary.web.page.sources import PageSources
from streamcanary.web.page.text_format import clean, plural
from streamcanary.web.page.views.alerts import MAX_OPEN, MAX_PAST, AlertsView, calendar, open_view

MAX_READ: Final = 1000
"""Incidents that are read for the last 30 days."""
MAX_MATCHERS: Final = 20
MAX_SILENCES: Final = 100
_MAX_FIELD = 4000  # characters
_FIELDS = ("match", "for", "by", "why")


class AlertPages:
    """The pages of alerts and silences."""

    def __init__(self, sources: PageSources, pages: StatusPages, clock: Clock) -> None:
        self._sources = sources
        self._pages = pages
        self._clock = clock

    async def alerts_view(self) -> AlertsView:
        """Return what the page of the alerts shows."""
        alerts, now = self._sources.alerts, self._clock.time()
        history, unavailable = await self._history()
        snapshot, trace_url = alerts.status, self._sources.alerts.view.trace_url
        return AlertsView(
            open=tuple(open_view(one, history, trace_url) for one in snapshot.incidents[:MAX_OPEN]),
            snapshot=snapshot,
            past=history[:MAX_PAST],
            past_count=len(history),
            days=calendar(history, now),
            receivers=alerts.view.receivers,
            silences=tuple(alerts.silences),
            maintenance=tuple(sorted(alerts.view.maintenance, key=lambda one: one.starts)),
            unavailable=unavailable,
        )

    async def alerts(self, request: Request) -> Response:
        """Show what fires, receivers, history and maintenance."""
        view = await self.alerts_view()
        version = alerts_version(self._sources.alerts.status, self._sources.alerts.silences)
        frame = self._pages.frame(request)
        return html("alerts.html", view=view, live="alerts", version=version, here="alerts", **frame)

    async def incident(self, request: Request) -> Response:
        """Show one incident: an open one by its key or id, a past one by its id."""
        wanted = request.path_params["id"][:300]
        unfinished, unavailable = self._sources.alerts.history.unfinished, ""
        past = next((one for one in unfinished if one.resolved is None and wanted in (one.id, one.key)), None)
        try:
            past = past or await self._sources.alerts.history.get(wanted)
        except StoreFailing as error:
            unavailable = f"The history cannot be read: {error}"
        is_open = past is None or past.resolved is None
        key = past.key if past is not None else wanted
        incidents = self._sources.alerts.status.incidents if is_open else ()
        found = next((one for one in incidents if one.incident.key == key), None)
        if past is None and found is None:
            message = unavailable or "Incidents are kept for 30 days."
            raise Failure(404, "There is no such incident.", message, (("/alerts", "Alerts"),))
        shown = None if found is None else open_view(found, unfinished, self._sources.alerts.view.trace_url)
        subject = past.rule if past is not None else found.incident.rule if found is not None else ""
        frame = self._pages.frame(request, subject=subject)
        return html("incident.html", past=past, open=shown, here="alerts", **frame)

    async def silences(self, request: Request) -> Response:
        """Show silences and the form of a new one; with ``match``, what it would match."""
        query = request.query_params
        fields = {
            "match": "\n".join(text[:_MAX_FIELD] for text in query.getlist("match")[:MAX_MATCHERS]),
            **{name: query.get(name, "")[:_MAX_FIELD] for name in _FIELDS[1:]},
        }
        done = {
            "created": "The silence is active. Resolves are still sent.",
            "expired": "The silence has ended. Alerts that still fire are notified now.",
        }.get(query.get("done", ""), "")
        return self._silences_page(request, fields, done=done)

    async def preview(self, request: Request) -> Response:
        """Answer with what a silence would match, as the fragment that the form shows."""
        preview, problem = self._preview("\n".join(request.query_params.getlist("match")[:MAX_MATCHERS])[:_MAX_FIELD])
        return html("preview.html", preview=preview, preview_error=problem)

    async def create(self, request: Request, form: Form) -> Response:
        """Create a silence; an invalid one shows the form again, with what is wrong."""
        fields = {name: "\n".join(form.all(name))[:_MAX_FIELD] for name in _FIELDS}
        body = {name: fields[name].strip() for name in ("for", "by", "why")} | {"match": _matchers(fields["match"])}
        try:
            silence = SilenceRequest.model_validate(body).to_silence(self._clock.time())
            await self._sources.alerts.create_silence(silence)
        except ValidationError as error:
            return self._silences_page(request, fields, status=400, error=_problem(error))
        except ValueError as error:
            return self._silences_page(request, fields, status=400, error=str(error))
        except StoreFailing as error:
            return self._silences_page(request, fields, status=503, error=f"The silence is not active: {error}")
        return RedirectResponse("/silences?done=created", status_code=303, headers=SECURITY_HEADERS)

    async def expire(self, request: Request, form: Form) -> Response:
        """End a silence."""
        name = request.path_params["id"]
        try:
            existed = await self._sources.alerts.delete_silence(name)
        except StoreFailing as error:
            raise Failure(503, "The silence has not ended.", str(error), (("/silences", "Silences"),)) from error
        if not existed:
            links = (("/silences", "Silences"),)
            raise Failure(404, "There is no such silence.", f"{clean(name, 40)} may have been ended already.", links)
        return RedirectResponse("/silences?done=expired", status_code=303, headers=SECURITY_HEADERS)

    def _silences_page(
        self, request: Request, fields: dict[str, str], *, status: int = 200, error: str = "", done: str = ""
    ) -> Response:
        now = self._clock.time()
        current = [one for one in self._sources.alerts.silences if one.until > now]
        ordered = sorted(current, key=lambda one: one.until)
        preview, problem = self._preview(fields["match"]) if fields["match"].strip() and not error else (None, "")
        form = {**fields, "length": fields["for"] or "2h"}
        return html(
            "silences.html",
            status,
            silences=ordered[:MAX_SILENCES],
            omitted=max(0, len(ordered) - MAX_SILENCES),
            active=sum(1 for one in ordered if one.is_active(now)),
            form=form,
            preview=preview,
            preview_error=problem,
            error=error,
            done=done,
            here="silences",
            **self._pages.frame(request, subject="silences"),
        )

    def _preview(self, text: str) -> tuple[Any, str]:
        try:
            matchers = _matchers(text)
            if not matchers:
                return None, "Write at least one matcher."
            now = self._clock.time()
            silence = Silence(id="preview", match=tuple(matchers), starts=now, until=now + 1)
            return self._sources.alerts.view.preview_silence(silence), ""
        except ValueError as error:
            return None, str(error)

    async def _history(self, limit: int = MAX_READ) -> tuple[tuple[PastIncident, ...], str]:
        """Return the newest incidents; those that can still change if the store cannot be read, and why."""
        found: list[PastIncident] = []
        cursor = None
        try:
            while len(found) < limit:
                page = await self._sources.alerts.history.read_page(cursor, limit=min(200, limit - len(found)))
                found.extend(page.incidents)
                cursor = page.cursor
                if cursor is None:
                    break
        except StoreFailing as error:
            return tuple(self._sources.alerts.history.unfinished), str(error) or "the store cannot be read"
        return tuple(found), ""


def alert_routes(pages: AlertPages, authorizer: Authorizer) -> list[Route]:
    """Return the routes of alerts, incidents and silences."""

    def authorized(handle: Handler) -> Handler:
        return page_handler(authorizer, handle)

    return [
        Route("/alerts", authorized(pages.alerts), middleware=COMPRESSION),
        Route("/incidents/{id}", authorized(pages.incident), middleware=COMPRESSION),
        Route("/silences", authorized(pages.silences), middleware=COMPRESSION),
        Route("/silences", form_handler(authorizer, pages.create), methods=["POST"]),
        Route("/silences/preview", authorized(pages.preview)),
        Route("/silences/{id}/expire", form_handler(authorizer, pages.expire), methods=["POST"]),
    ]


def _matchers(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _problem(error: ValidationError) -> str:
    """Return what is wrong with the fields of the form, by their names on the page."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = []
    for problem in problems[:5]:
        field, *rest = problem["loc"] or ("",)
        where = f"matcher {int(rest[0]) + 1}" if field == "match" and rest and isinstance(rest[0], int) else str(field)
        shown.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {plural(more, 'more problem')}" if more > 0 else "")
