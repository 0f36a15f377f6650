"""The JSON API under ``/api/v1``: open incidents, undelivered notifications, and silences.

An error response is ``{"error": "..."}``; the message says what to do.
"""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamcanary.model.alerts.matcher import Matchers
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import (
    BaselineStatus,
    OpenIncident,
    StatusSnapshot,
    UndeliveredNotification,
)
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.redaction.redactor import scrub
from streamcanary.web.authorization import Authorizer
from streamcanary.web.authorized_handler import Handler, authorized_handler
from streamcanary.web.request_body import read_body

_MAX_SILENCE = 366 * 86400.0
_NO_STORE = {"Cache-Control": "no-store"}


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


def api_routes(alerts: Alerts, authorizer: Authorizer, clock: Clock) -> list[Route]:
    """Return the routes of the API."""

    async def incidents(request: Request) -> Response:
        status = alerts.status
        document = {
            "incidents": [_incident_json(one) for one in status.incidents],
            "firing": status.firing_count,
            "undelivered": [_undelivered_json(one) for one in status.undelivered],
            "owed": status.undelivered_count,
            "baselines": [_baseline_json(one) for one in status.baselines],
            "baseline_count": status.baseline_count,
        }
        return JSONResponse(document, headers=_NO_STORE)

    async def silences(request: Request) -> Response:
        now = clock.time()
        return JSONResponse({"silences": [_silence_json(one, now) for one in alerts.silences]}, headers=_NO_STORE)

    async def create_silence(request: Request) -> Response:
        silence = SilenceRequest.model_validate_json(await read_body(request), strict=False).to_silence(clock.time())
        await alerts.create_silence(silence)
        return JSONResponse(_silence_json(silence, clock.time()), status_code=201, headers=_NO_STORE)

    async def delete_silence(request: Request) -> Response:
        name = request.path_params["id"]
        if not await alerts.delete_silence(name):
            return JSONResponse({"error": f"there is no silence {scrub(name, limit=40)}"}, status_code=404)
        return Response(status_code=204)

    def authorized(handle: Handler) -> Handler:
        return authorized_handler(authorizer, handle)

    return [
        Route("/api/v1/incidents", authorized(incidents)),
        Route("/api/v1/silences", authorized(silences)),
        Route("/api/v1/silences", authorized(create_silence), methods=["POST"]),
        Route("/api/v1/silences/{id}", authorized(delete_silence), methods=["DELETE"]),
    ]


def _baseline_json(baseline: BaselineStatus) -> dict[str, Any]:
    return {
        "alert": baseline.alert,
        "subject": baseline.subject,
        "base_rate": baseline.base_rate,
        "learned": None if baseline.learned_at is None else _rfc3339(baseline.learned_at),
        "text": baseline.text,
    }


def _incident_json(open_incident: OpenIncident) -> dict[str, Any]:
    incident, evidence = open_incident.incident, open_incident.incident.evidence
    return {
        "key": incident.key,
        "alert": incident.rule,
        "subject": incident.subject,
        "scope": incident.scope or None,
        "members": incident.member_count or None,
        "failing": [{"canary": one.name, "bad": one.bad, "total": one.total} for one in evidence.failing],
        "failing_count": evidence.failing_count,
        "unaffected": evidence.unaffected,
        "unaffected_count": evidence.unaffected_count,
        "labels": incident.labels,
        "opened": _rfc3339(incident.opened),
        "since": _rfc3339(incident.opened if evidence.since is None else evidence.since),
        "muted": open_incident.muted_by,
        "silences": open_incident.silenced_by,
        "resolves": incident.resolve_condition,
        "bad": evidence.bad,
        "total": evidence.total,
        "first_attempts": evidence.first_attempts,
        "rescued": evidence.rescued,
        "faults": evidence.faults,
        "blames": evidence.blames,
        "message": evidence.message,
        "diagnosis": evidence.diagnosis,
        "request_ids": evidence.request_ids,
        "trace_ids": evidence.trace_ids,
        "runbook_url": open_incident.annotations.get("runbook_url") or None,
        "annotations": open_incident.annotations,
    }


def _undelivered_json(notification: UndeliveredNotification) -> dict[str, Any]:
    return {
        "receiver": notification.receiver,
        "action": notification.action,
        "title": notification.title,
        "since": _rfc3339(notification.since),
        "tries": notification.attempts,
        "state": "parked" if notification.is_parked else "pending",
        "next_try": None if notification.next_attempt is None else _rfc3339(notification.next_attempt),
        "last_error": notification.last_error,
    }


def _silence_json(silence: Silence, now: float) -> dict[str, Any]:
    state = "active" if silence.is_active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "state": state,
        "match": silence.match,
        "starts": _rfc3339(silence.starts),
        "until": _rfc3339(silence.until),
        "by": silence.by,
        "why": silence.why,
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
