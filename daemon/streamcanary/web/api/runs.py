"""The JSON API of finished runs: ``/api/v1/runs``, and ``/api/v1/runs/{id}`` with the spans of one run."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct, structs
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.moment import parse_moment
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.run_trace import RunPage, RunTrace
from streamcanary.store.errors import StoreFailing
from streamcanary.web.api.canaries import RecordedRuns
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.query import read_query
from streamcanary.web.api.replicas import Replicas, other_owner
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response

MAX_PAGE: Final = 500
"""Runs in one response."""

_DEFAULT_PAGE = 50
_MAX_ID = 200
_OUTCOMES = tuple(kind.value for kind in OutcomeKind if kind is not OutcomeKind.SKIPPED)


class Runs(Protocol):
    """The kept runs as the API uses them."""

    def list_runs(
        self,
        *,
        canary: str | None = None,
        outcomes: Collection[str] = (),
        since: datetime | None = None,
        before: int | None = None,
        limit: int = _DEFAULT_PAGE,
    ) -> RunPage:
        """Return runs, the latest first."""
        ...

    def find(self, id: str) -> RunTrace | None:  # noqa: A002 - the field's name
        """Return the run with this run id or trace id, or ``None``."""
        ...


_Text = Annotated[str, Meta(max_length=200)]


class KeptRunsQuery(Struct, frozen=True, kw_only=True):
    """The filters of kept runs."""

    canary: Annotated[_Text, Meta(description="Runs of this canary.")] = ""
    outcome: Annotated[_Text, Meta(description="Runs with these outcomes, separated by commas; not `skipped`.")] = ""
    since: Annotated[
        _Text, Meta(description="Runs that ended since: a time of RFC 3339, or a duration such as `1h`.")
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="Runs in one page.")] = _DEFAULT_PAGE
    before: Annotated[int, Meta(ge=1, le=2**63 - 1, description="`next` of the page before.")] = 0


def run_endpoints(
    runs: Runs, clock: Clock, recorded: RecordedRuns | None = None, replicas: Replicas | None = None
) -> list[Endpoint]:
    """Return the endpoints of finished runs that are kept with their spans: each replica keeps those that it made.

    ``recorded`` are the runs in the store, without spans, which all ``replicas`` share.
    """

    async def list_runs(request: Request) -> Response:
        query = read_query(request, KeptRunsQuery)
        page = runs.list_runs(
            canary=query.canary or None,
            outcomes=_outcomes(query.outcome),
            since=_since(query.since, clock.time()),
            before=query.before or None,
            limit=query.limit,
        )
        return json_response(structs.replace(page, kept_by=other_owner(replicas, query.canary)))

    async def find_run(request: Request) -> Response:
        name = request.path_params["id"]
        trace = runs.find(name.lower())
        if trace is not None:
            return json_response(trace)
        message = (
            f"no run {scrub(name, limit=40)} is kept; kept are the last good run and the latest failed ones of each "
            "canary: see GET /api/v1/runs"
        )
        if replicas is not None and recorded is not None:
            message += await _explain_replicas(name[:_MAX_ID].lower(), recorded, replicas)
        return problem_response(request, 404, message)

    return [
        Endpoint(
            method="GET",
            path="/api/v1/runs",
            handle=list_runs,
            tag="runs",
            summary="List the runs that are kept with their spans, the latest first.",
            description="Kept are the last good run and the latest failed ones of each canary. Each replica keeps "
            "those that it made; with `canary`, `kept_by` is the other replica that runs it now.",
            query=KeptRunsQuery,
            result=RunPage,
        ),
        Endpoint(
            method="GET",
            path="/api/v1/runs/{id}",
            handle=find_run,
            tag="runs",
            summary="Return a kept run with its spans.",
            path_parameters={"id": "The run id, or the trace id."},
            result=RunTrace,
            problems=(404,),
        ),
    ]


async def _explain_replicas(run_id: str, recorded: RecordedRuns, replicas: Replicas) -> str:
    """Return which other replica may keep a run that is recorded, as the end of a message."""
    try:
        run = await recorded.find_run(run_id)
    except StoreFailing:
        run = None
    if run is None:
        return "; each replica keeps the runs that it made: see GET /api/v1/replicas"
    path = f"GET /api/v1/canaries/{run.canary}/runs/{run.run_id}"
    if owner := other_owner(replicas, run.canary):
        return f"; the replica {owner} runs {run.canary} and may keep it; {path} has its attempts"
    return f"; the replica that made it does not run {run.canary} any more; {path} has its attempts"


def _outcomes(text: str) -> tuple[str, ...]:
    outcomes = tuple(filter(None, text.split(",")))
    for outcome in outcomes:
        if outcome not in _OUTCOMES:
            raise ValueError(f"outcome: {scrub(outcome, limit=40)} is none of {', '.join(_OUTCOMES)}")
    return outcomes


def _since(text: str | None, now: float) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromtimestamp(parse_moment(text, now), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"since: {scrub(text, limit=40)} {error}") from None
