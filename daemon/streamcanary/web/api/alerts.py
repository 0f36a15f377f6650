"""The JSON API under ``/api/v1``: open incidents, undelivered notifications, and silences."""

import uuid
from typing import Annotated, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.alerts.matcher import Matchers
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.redaction.redactor import scrub
from streamcanary.web.api.alert_documents import (
    IncidentsDocument,
    SilenceDocument,
    SilencesDocument,
    incidents_document,
    silence_document,
)
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response
from streamcanary.web.request_body import read_body

_MAX_SILENCE = 366 * 86400.0


class Alerts(Protocol):
    """The alerting service as the API uses it."""

    @property
    def status(self) -> StatusSnapshot:
        """The open incidents, oldest first, and the notifications that receivers have not accepted."""
        ...

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences."""
        ...

    async def create_silence(self, silence: Silence) -> None:
        """Add ``silence``; ``ValueError`` if there are too many silences."""
        ...

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """Delete a silence; return whether it existed."""
        ...


class SilenceRequest(BaseModel):
    """The request body that creates a silence: ``match`` (at least one matcher), and ``for`` (duration) or ``until``.

    ``starts`` defaults to now. ``by`` and ``why`` are informational.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Annotated[Matchers, Field(min_length=1, max_length=20)]
    length: PositiveDuration | None = Field(default=None, alias="for", le=_MAX_SILENCE)
    starts: AwareDatetime | None = None
    until: AwareDatetime | None = None
    by: Annotated[str, Field(max_length=200)] = ""
    why: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="after")
    def _check_one_end(self) -> "SilenceRequest":
        if (self.length is None) is (self.until is None):
            raise ValueError("needs exactly one of for and until")
        return self

    def to_silence(self, now: float) -> Silence:
        """Return the silence that is created at ``now`` (seconds since the epoch).

        Raises:
            ValueError: if it would end before it starts or before ``now``, or more than a year ahead.
        """
        starts = self.starts.timestamp() if self.starts else now
        until = self.until.timestamp() if self.until else starts + (self.length or 0.0)
        if until <= max(starts, now):
            raise ValueError("until: is in the past; write a future time with a time zone")
        if until - now > _MAX_SILENCE:
            raise ValueError("until: is more than a year ahead")
        return Silence(
            id=uuid.uuid4().hex[:12],
            match=tuple(map(str, self.match)),
            starts=starts,
            until=until,
            by=scrub(self.by, limit=200),
            why=scrub(self.why, limit=500),
        )


def alert_endpoints(alerts: Alerts, clock: Clock) -> list[Endpoint]:
    """Return the endpoints of incidents and silences."""

    async def incidents(request: Request) -> Response:
        return json_response(incidents_document(alerts.status))

    async def silences(request: Request) -> Response:
        now = clock.time()
        return json_response(SilencesDocument(silences=[silence_document(one, now) for one in alerts.silences]))

    async def create_silence(request: Request) -> Response:
        silence = SilenceRequest.model_validate_json(await read_body(request), strict=False).to_silence(clock.time())
        await alerts.create_silence(silence)
        return json_response(silence_document(silence, clock.time()), 201)

    async def delete_silence(request: Request) -> Response:
        name = request.path_params["id"]
        if not await alerts.delete_silence(name):
            return problem_response(
                request, 404, f"there is no silence {scrub(name, limit=40)}; GET /api/v1/silences lists them"
            )
        return Response(status_code=204)

    return [
        Endpoint(
            method="GET",
            path="/api/v1/incidents",
            handle=incidents,
            tag="alerts",
            summary="List open incidents and undelivered notifications.",
            result=IncidentsDocument,
        ),
        Endpoint(
            method="GET",
            path="/api/v1/silences",
            handle=silences,
            tag="alerts",
            summary="List silences.",
            result=SilencesDocument,
        ),
        Endpoint(
            method="POST",
            path="/api/v1/silences",
            handle=create_silence,
            tag="alerts",
            summary="Create a silence.",
            body=SilenceRequest,
            result=SilenceDocument,
            success=201,
        ),
        Endpoint(
            method="DELETE",
            path="/api/v1/silences/{id}",
            handle=delete_silence,
            tag="alerts",
            summary="End a silence.",
            path_parameters={"id": "The id of the silence."},
            success=204,
            problems=(404,),
        ),
    ]
