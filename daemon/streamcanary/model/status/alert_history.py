"""The history of alerts: what happened to each incident, and when."""

from typing import Literal

from msgspec import Struct

EventKind = Literal[
    "first_failure",
    "fired",
    "notified",
    "retried",
    "refused",
    "updated",
    "muted",
    "unmuted",
    "resolved",
    "resolve_notified",
]
"""What happened to an incident, in the order in which it usually does."""


def past_incident_id(key: str, opened: float) -> str:
    """Return the id of the incident of ``key`` that opened at ``opened`` (seconds since the epoch).

    Ids sort by the time of opening. ``key`` is the same each time the rule fires for the subject, the id is not.
    """
    return f"{max(0, round(opened * 1000)):012x}-{key}"


class TimelineEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event in the timeline of an incident, at seconds since the epoch.

    ``receiver`` is the receiver of a notification. ``text`` says more: the error of a receiver, or what mutes the
    incident (``silence 5e11``, ``maintenance deploy``, ``inhibited by TargetRejected``).
    """

    kind: EventKind
    at: float
    receiver: str | None = None
    text: str = ""


class PastIncident(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An incident of the last 30 days; ``resolved`` is ``None`` while it fires.

    ``id`` is that of :func:`past_incident_id`. ``opened`` is when it fired, ``since`` its first failure; all times are
    seconds since the epoch. ``canaries`` are those that fail, at most 50.

    ``summary`` says what was broken for whom, as the title of its notification does. ``faults`` counts faults by kind.
    ``timeline`` is bounded: the first and the last events.
    """

    id: str
    key: str
    rule: str
    subject: str
    severity: str = ""
    labels: dict[str, str] = {}
    opened: float
    since: float
    resolved: float | None = None
    resolve_reason: str | None = None
    summary: str = ""
    bad: int = 0
    total: int = 0
    faults: dict[str, int] = {}
    message: str = ""
    canaries: tuple[str, ...] = ()
    timeline: tuple[TimelineEvent, ...] = ()


class IncidentPage(Struct, frozen=True, kw_only=True):
    """Incidents, the newest first. ``cursor`` is passed to get the next page; ``None`` after the last one."""

    incidents: tuple[PastIncident, ...]
    cursor: str | None = None


class MaintenanceWindow(Struct, frozen=True, kw_only=True):
    """A maintenance window, now or to come: ``starts`` and ``ends`` are seconds since the epoch."""

    name: str
    match: tuple[str, ...]
    starts: float
    ends: float


class ReceiverStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a receiver: ``ok``, ``retrying`` or ``refused``; ``unused`` before the first notification.

    ``last_accepted`` is seconds since the epoch. ``pending`` counts the notifications that wait. ``last_error`` is that
    of the last attempt, if it failed.
    """

    name: str
    type: str
    state: Literal["ok", "retrying", "refused", "unused"]
    last_accepted: float | None = None
    pending: int = 0
    last_error: str | None = None


class SilencePreview(Struct, frozen=True, kw_only=True):
    """What a silence would match now: names of canaries, and firing alerts (``rule`` and subject)."""

    canaries: tuple[str, ...]
    canary_count: int
    alerts: tuple[str, ...]
    alert_count: int
