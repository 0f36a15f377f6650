"""The JSON API of finished runs: ``/api/v1/runs``, and ``/api/v1/runs/{id}`` with the spans of one run."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.moment import parse_moment
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.run_trace import RunPage, RunTrace
from streamcanary.web.authorization import Authorizer
from streamcanary.web.authorized_handler import Handler, authorized_handler

MAX_PAGE = 500
"""Runs in one response."""

_DEFAULT_PAGE = 50
_PARAMETERS = ("canary", "outcome", "since", "limit", "before")
_OUTCOMES = tuple(kind.value for kind in OutcomeKind if kind is not OutcomeKind.SKIPPED)
_NO_STORE = {"Cache-Control": "no-store"}


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


def run_routes(runs: Runs, authorizer: Authorizer, clock: Clock) -> list[Route]:
    """Return the routes of finished runs."""

    async def list_runs(request: Request) -> Response:
        parameters = _parameters(request)
        page = runs.list_runs(
            canary=parameters.get("canary"),
            outcomes=_outcomes(parameters.get("outcome", "")),
            since=_since(parameters.get("since"), clock.time()),
            before=_number(parameters, "before", 2**63 - 1) if "before" in parameters else None,
            limit=_number(parameters, "limit", MAX_PAGE) if "limit" in parameters else _DEFAULT_PAGE,
        )
        return _json_response(page)

    async def find_run(request: Request) -> Response:
        name = request.path_params["id"]
        trace = runs.find(name.lower())
        if trace is not None:
            return _json_response(trace)
        message = (
            f"no run {scrub(name, limit=40)} is kept; kept are the last good run and the latest failed ones of each "
            "canary: see GET /api/v1/runs"
        )
        return JSONResponse({"error": message}, status_code=404, headers=_NO_STORE)

    def authorized(handle: Handler) -> Handler:
        return authorized_handler(authorizer, handle)

    return [Route("/api/v1/runs", authorized(list_runs)), Route("/api/v1/runs/{id}", authorized(find_run))]


def _parameters(request: Request) -> Mapping[str, str]:
    given = request.query_params
    for name in given:
        if name not in _PARAMETERS:
            raise ValueError(f"{scrub(name, limit=40)}: not a parameter; there are {', '.join(_PARAMETERS)}")
        if len(given.getlist(name)) > 1:
            raise ValueError(f"{name}: is given twice; separate outcomes by commas")
    return given


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


def _number(parameters: Mapping[str, str], name: str, highest: int) -> int:
    text = parameters[name]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if not 1 <= number <= highest:
        raise ValueError(f"{name}: {scrub(text, limit=40)} is not a whole number from 1 to {highest}")
    return number


def _json_response(document: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json", headers=_NO_STORE)
