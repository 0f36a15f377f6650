"""The canaries: their statuses, filtered and in pages, one of them in detail, and its recorded runs."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.canary_status import CanaryDetail, CanaryState, CanaryStatus, FaultCount, RuleStatus
from streamcanary.model.status.summary import StatusSummary
from streamcanary.store.errors import StoreFailing
from streamcanary.web.api.cursors import MAX_LENGTH, decode_number_cursor, decode_text_cursor, encode_cursor
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.query import read_query
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response

MAX_PAGE: Final = 1000
"""Canaries, or runs, in one response."""

_CANARIES = "canaries"
_MAX_TEXT = 200


class CanaryStatuses(Protocol):
    """The statuses of all canaries as the API uses them."""

    revision: int
    """The number of the last change."""
    configured_at: int
    """The revision at which there were other canaries last."""

    def statuses(self) -> tuple[CanaryStatus, ...]:
        """Return the statuses in the order of the configuration."""
        ...

    def with_hours(self, statuses: Iterable[CanaryStatus]) -> tuple[CanaryStatus, ...]:
        """Return ``statuses`` with their ``hours``, which those of a large fleet do not have."""
        ...

    def find(self, name: str) -> CanaryStatus | None:
        """Return the status of the canary ``name``; ``None`` if there is none."""
        ...

    def recorded_names(self, name: str) -> tuple[str, ...]:
        """Return the names under which the runs of a canary are recorded."""
        ...

    def changed_since(self, revision: int) -> tuple[CanaryStatus, ...]:
        """Return the statuses that have changed after ``revision``."""
        ...

    def summary(self) -> StatusSummary:
        """Return the status of everything in one sentence."""
        ...


class RecordedRuns(Protocol):
    """The recorded runs as the API uses them."""

    async def runs_of(
        self, names: Sequence[str], *, before: int | None = None, limit: int = 50, kinds: Sequence[str] = ()
    ) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs of a canary before the row ``before``, latest end first, and the next row.

        ``names`` are those under which its runs are recorded.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def find_run(self, run_id: str) -> Outcome | None:
        """Return the run of this id, ``None`` if it is not recorded.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


class CanaryFaults(Protocol):
    """How often canaries failed, and with what."""

    async def faults_of(self, canary: str) -> tuple[FaultCount, ...]:
        """Return the faults of the last 7 days, the most frequent first.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


_Text = Annotated[str, Meta(max_length=_MAX_TEXT)]
_Cursor = Annotated[
    str, Meta(max_length=MAX_LENGTH, description="`next` of the page before, with the same other parameters.")
]


class CanariesQuery(Struct, frozen=True, kw_only=True):
    """The filters of the list of canaries; a canary must pass all of them."""

    target: Annotated[tuple[_Text, ...], Meta(max_length=20, description="Canaries of these targets.")] = ()
    label: Annotated[
        tuple[Annotated[str, Meta(max_length=_MAX_TEXT, pattern="^[^:]+:")], ...],
        Meta(max_length=20, description="Canaries with all of these labels, each as `name:value`."),
    ] = ()
    state: Annotated[tuple[CanaryState, ...], Meta(max_length=10, description="Canaries in these states.")] = ()
    q: Annotated[_Text, Meta(description="Canaries whose name, target or model contains this text.")] = ""
    cursor: _Cursor = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="Canaries in one page.")] = 100


class CanaryPage(Struct, frozen=True, kw_only=True):
    """One page of canaries, by name; ``total`` counts those of all pages.

    ``event_id`` is the id of the last event at this time: ``/api/v1/events?last_event_id=`` sends what changes after.
    """

    canaries: list[CanaryStatus]
    total: int
    next: str | None = None
    event_id: str = ""


class RunsQuery(Struct, frozen=True, kw_only=True):
    """The filters of the recorded runs of a canary."""

    outcome: Annotated[tuple[OutcomeKind, ...], Meta(max_length=10, description="Runs with these outcomes.")] = ()
    cursor: _Cursor = ""
    limit: Annotated[int, Meta(ge=1, le=500, description="Runs in one page.")] = 50


class RecordedRunPage(Struct, frozen=True, kw_only=True):
    """One page of recorded runs, the latest first."""

    runs: list[Outcome]
    next: str | None = None


def canary_endpoints(
    statuses: CanaryStatuses,
    runs: RecordedRuns,
    faults: CanaryFaults | None = None,
    rules: Callable[[str], Sequence[RuleStatus]] = lambda _: (),
    event_id: Callable[[], str] = str,
) -> list[Endpoint]:
    """Return the endpoints of canaries; ``rules`` returns the alert rules of a canary."""
    canaries = _Canaries(statuses, runs, faults, rules, event_id)
    return [
        Endpoint(
            method="GET",
            path="/api/v1/canaries",
            handle=canaries.list_canaries,
            tag="canaries",
            summary="List the canaries with their status.",
            query=CanariesQuery,
            result=CanaryPage,
        ),
        Endpoint(
            method="GET",
            path="/api/v1/canaries/{name}",
            handle=canaries.find_canary,
            tag="canaries",
            summary="Return one canary: its status, faults and alert rules.",
            path_parameters={"name": "The name of the canary."},
            result=CanaryDetail,
            problems=(404,),
        ),
        Endpoint(
            method="GET",
            path="/api/v1/canaries/{name}/runs",
            handle=canaries.list_runs,
            tag="canaries",
            summary="List the recorded runs of a canary, the latest first.",
            path_parameters={"name": "The name of the canary."},
            query=RunsQuery,
            result=RecordedRunPage,
            problems=(404, 503),
        ),
        Endpoint(
            method="GET",
            path="/api/v1/canaries/{name}/runs/{id}",
            handle=canaries.find_run,
            tag="canaries",
            summary="Return a recorded run of a canary.",
            path_parameters={"name": "The name of the canary.", "id": "The run id."},
            result=Outcome,
            problems=(404, 503),
        ),
    ]


class _Canaries:
    """Answers the requests about canaries."""

    def __init__(
        self,
        statuses: CanaryStatuses,
        runs: RecordedRuns,
        faults: CanaryFaults | None,
        rules: Callable[[str], Sequence[RuleStatus]],
        event_id: Callable[[], str],
    ) -> None:
        self._statuses = statuses
        self._runs = runs
        self._faults = faults
        self._rules = rules
        self._event_id = event_id

    async def list_canaries(self, request: Request) -> Response:
        """Return a page of the canaries that pass the filters."""
        query = read_query(request, CanariesQuery)
        last = decode_text_cursor(_CANARIES, query.cursor) if query.cursor else ""
        labels = [(name, value) for name, _, value in (label.partition(":") for label in query.label)]
        matching = [status for status in self._statuses.statuses() if _passes(status, query, labels)]
        rest = (status for status in matching if status.name > last)
        page = heapq.nsmallest(query.limit + 1, rest, key=lambda status: status.name)
        has_more = len(page) > query.limit
        page = list(self._statuses.with_hours(page[: query.limit]))
        return json_response(
            CanaryPage(
                canaries=page,
                total=len(matching),
                next=encode_cursor(_CANARIES, page[-1].name) if has_more else None,
                event_id=self._event_id(),
            )
        )

    async def find_canary(self, request: Request) -> Response:
        """Return one canary in detail."""
        status = self._statuses.find(request.path_params["name"])
        if status is None:
            return _unknown_canary(request)
        try:
            counts = () if self._faults is None else await self._faults.faults_of(status.name)
        except StoreFailing:  # the rest is known
            counts = ()
        return json_response(CanaryDetail(status=status, faults=counts, rules=tuple(self._rules(status.name))))

    async def list_runs(self, request: Request) -> Response:
        """Return a page of the recorded runs of a canary."""
        name = request.path_params["name"]
        if self._statuses.find(name) is None:
            return _unknown_canary(request)
        query = read_query(request, RunsQuery)
        pages = f"runs of {name}"[:_MAX_TEXT]
        before = decode_number_cursor(pages, query.cursor) if query.cursor else None
        try:
            found, next_row = await self._runs.runs_of(
                self._statuses.recorded_names(name), before=before, limit=query.limit, kinds=query.outcome
            )
        except StoreFailing as error:
            return problem_response(
                request, 503, f"the runs cannot be read: {error}; the status of canaries is complete"
            )
        return json_response(
            RecordedRunPage(runs=found, next=None if next_row is None else encode_cursor(pages, next_row))
        )

    async def find_run(self, request: Request) -> Response:
        """Return a recorded run of a canary."""
        name, run_id = request.path_params["name"], request.path_params["id"]
        if self._statuses.find(name) is None:
            return _unknown_canary(request)
        try:
            found = await self._runs.find_run(run_id[:_MAX_TEXT].lower())
        except StoreFailing as error:
            return problem_response(request, 503, f"the run cannot be read: {error}")
        if found is None or (found.canary != name and self._statuses.find(found.canary) is not None):
            detail = f"no run {scrub(run_id, limit=40)} of this canary is recorded; see GET /api/v1/canaries/NAME/runs"
            return problem_response(request, 404, detail)
        return json_response(found)


def _passes(status: CanaryStatus, query: CanariesQuery, labels: Sequence[tuple[str, str]]) -> bool:
    if query.target and status.target not in query.target:
        return False
    if query.state and status.state not in query.state:
        return False
    if any(status.labels.get(name) != value for name, value in labels):
        return False
    text = query.q.casefold()
    return not text or any(text in each.casefold() for each in (status.name, status.target, status.model))


def _unknown_canary(request: Request) -> Response:
    name = scrub(request.path_params["name"], limit=40)
    return problem_response(request, 404, f"there is no canary {name}; GET /api/v1/canaries lists them")
