"""The API of what operators look up: the history of alerts, receivers, maintenance windows, previews of silences."""

from typing import Annotated, Protocol

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.clock import Clock
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.alert_history import (
    IncidentPage,
    MaintenanceWindow,
    PastIncident,
    ReceiverStatus,
    SilencePreview,
)
from streamcanary.model.status.canary_status import RuleStatus
from streamcanary.store.errors import StoreFailing
from streamcanary.web.api.alerts import SilenceRequest
from streamcanary.web.api.cursors import MAX_LENGTH, decode_text_cursor, encode_cursor
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.query import read_query
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response
from streamcanary.web.request_body import read_body

_INCIDENTS = "incidents"
_MAX_CANARY = 200  # characters of a name


class IncidentHistory(Protocol):
    """The incidents of the last 30 days."""

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        """Return up to ``limit`` incidents, the newest first; with ``canary`` those that name it.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the incident of ``id``; ``None`` if there is none.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


class OperatorView(Protocol):
    """Rules, receivers, maintenance windows and previews of silences."""

    async def rules_with_forecasts(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return how far each rule is from firing for ``canary``, with forecasts."""
        ...

    @property
    def receivers(self) -> tuple[ReceiverStatus, ...]:
        """The status of each receiver."""
        ...

    @property
    def maintenance(self) -> tuple[MaintenanceWindow, ...]:
        """The maintenance windows that are open, and those to come."""
        ...

    def preview_silence(self, silence: Silence) -> SilencePreview:
        """Return what ``silence`` would match now."""
        ...


class HistoryQuery(Struct, frozen=True, kw_only=True):
    """The filter of the history of alerts."""

    canary: Annotated[str, Meta(max_length=_MAX_CANARY, description="Alerts that are about this canary.")] = ""
    cursor: Annotated[
        str, Meta(max_length=MAX_LENGTH, description="`next` of the page before, with the same other parameters.")
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=200, description="Alerts in one page.")] = 50


class HistoryPage(Struct, frozen=True, kw_only=True):
    """One page of the alerts of the last 30 days, the newest first."""

    incidents: tuple[PastIncident, ...]
    next: str | None = None


class RulesDocument(Struct, frozen=True, kw_only=True):
    """How far each rule is from firing for a canary; those that fire first."""

    rules: tuple[RuleStatus, ...]


class ReceiversDocument(Struct, frozen=True, kw_only=True):
    """The receivers, in the order of the configuration."""

    receivers: tuple[ReceiverStatus, ...]


class MaintenanceDocument(Struct, frozen=True, kw_only=True):
    """The maintenance windows that are open, and those of the next 7 days, at most 100."""

    maintenance: tuple[MaintenanceWindow, ...]


def operations_endpoints(history: IncidentHistory, view: OperatorView, clock: Clock) -> list[Endpoint]:
    """Return the endpoints of the history of alerts, of receivers and maintenance, and of previews of silences."""
    return [*_history_endpoints(history), *_view_endpoints(view, clock)]


def _history_endpoints(history: IncidentHistory) -> list[Endpoint]:
    async def list_history(request: Request) -> Response:
        query = read_query(request, HistoryQuery)
        pages = f"{_INCIDENTS} {query.canary}"
        before = decode_text_cursor(pages, query.cursor) if query.cursor else None
        try:
            page = await history.read_page(before, limit=query.limit, canary=query.canary or None)
        except StoreFailing as error:
            return _unavailable(request, error)
        cursor = None if page.cursor is None else encode_cursor(pages, page.cursor)
        return json_response(HistoryPage(incidents=page.incidents, next=cursor))

    async def find_incident(request: Request) -> Response:
        name = request.path_params["id"]
        try:
            incident = await history.get(name)
        except StoreFailing as error:
            return _unavailable(request, error)
        if incident is None:
            detail = (
                f"there is no incident {scrub(name, limit=60)}; GET /api/v1/incidents/history lists those of 30 days"
            )
            return problem_response(request, 404, detail)
        return json_response(incident)

    return [
        Endpoint(
            method="GET",
            path="/api/v1/incidents/history",
            handle=list_history,
            tag="alerts",
            summary="List the alerts of the last 30 days with their timelines.",
            query=HistoryQuery,
            result=HistoryPage,
            problems=(503,),
        ),
        Endpoint(
            method="GET",
            path="/api/v1/incidents/history/{id}",
            handle=find_incident,
            tag="alerts",
            summary="Return one alert of the last 30 days with its timeline.",
            path_parameters={"id": "The id of the incident."},
            result=PastIncident,
            problems=(404, 503),
        ),
    ]


def _view_endpoints(view: OperatorView, clock: Clock) -> list[Endpoint]:
    async def rules(request: Request) -> Response:
        return json_response(RulesDocument(rules=await view.rules_with_forecasts(request.path_params["name"])))

    async def receivers(request: Request) -> Response:
        return json_response(ReceiversDocument(receivers=view.receivers))

    async def maintenance(request: Request) -> Response:
        return json_response(MaintenanceDocument(maintenance=view.maintenance))

    async def preview(request: Request) -> Response:
        silence = SilenceRequest.model_validate_json(await read_body(request), strict=False).to_silence(clock.time())
        return json_response(view.preview_silence(silence))

    return [
        Endpoint(
            method="GET",
            path="/api/v1/canaries/{name}/rules",
            handle=rules,
            tag="canaries",
            summary="Return how far each rule is from firing for a canary, with the forecasts of check.",
            description="The first request for a rule may take some seconds, in which its forecast is computed.",
            path_parameters={"name": "The name of the canary."},
            result=RulesDocument,
        ),
        Endpoint(
            method="GET",
            path="/api/v1/receivers",
            handle=receivers,
            tag="alerts",
            summary="List the receivers with their state.",
            result=ReceiversDocument,
        ),
        Endpoint(
            method="GET",
            path="/api/v1/maintenance",
            handle=maintenance,
            tag="alerts",
            summary="List the maintenance windows that are open, and those of the next 7 days.",
            result=MaintenanceDocument,
        ),
        Endpoint(
            method="POST",
            path="/api/v1/silences/preview",
            handle=preview,
            tag="alerts",
            summary="Return what a silence would match now; nothing is created.",
            body=SilenceRequest,
            result=SilencePreview,
        ),
    ]


def _unavailable(request: Request, error: StoreFailing) -> Response:
    return problem_response(request, 503, f"the history of alerts cannot be read: {error}; open incidents are complete")
