"""The alerts: what fires now with its timeline, and the last 30 days."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot
from streamcanary.model.status.alert_history import MaintenanceWindow, PastIncident, ReceiverStatus
from streamcanary.web.page import text_format

DAYS: Final = 30
MAX_OPEN: Final = 50
MAX_PAST: Final = 100
_DAY: Final = 86400.0

EVENT_WORDS: Final = {
    "first_failure": "first failure",
    "fired": "alert fired",
    "notified": "notified",
    "refused": "notification refused by",
    "updated": "update sent to",
    "retried": "sent again to",
    "muted": "muted:",
    "unmuted": "no longer muted",
    "resolved": "resolved",
    "resolve_notified": "resolve sent to",
}


class OpenView(Struct, frozen=True, kw_only=True):
    """An open incident, with its entry in the history if it has one."""

    open: OpenIncident
    past: PastIncident | None
    severity: str
    runbook: str | None
    traces: tuple[tuple[str, str | None], ...]
    silence_match: tuple[str, ...]


class Day(Struct, frozen=True, kw_only=True):
    """A day in the calendar: how long incidents were open, in seconds, and how many there were."""

    starts: float
    seconds: float
    count: int
    height: int
    is_paging: bool


class AlertsView(Struct, frozen=True, kw_only=True):
    """What the page of the alerts shows. ``unavailable`` says why the history is missing, empty if it is not."""

    open: tuple[OpenView, ...]
    snapshot: StatusSnapshot
    past: tuple[PastIncident, ...]
    past_count: int
    days: tuple[Day, ...]
    receivers: tuple[ReceiverStatus, ...]
    silences: tuple[Silence, ...]
    maintenance: tuple[MaintenanceWindow, ...]
    unavailable: str = ""


def open_view(one: OpenIncident, history: Sequence[PastIncident], trace_url: str | None) -> OpenView:
    """Return what is shown of an open incident."""
    incident = one.incident
    runbook = one.annotations.get("runbook_url", "")
    is_link = trace_url is not None and trace_url.startswith(("https://", "http://"))
    name = "canary" if incident.canary else incident.scope
    value = incident.canary or incident.subject.partition(" ")[2]
    match = [f'alertname="{incident.rule}"'] if not name else []
    return OpenView(
        open=one,
        past=next((past for past in history if past.key == incident.key and past.resolved is None), None),
        severity=incident.labels.get("severity", ""),
        runbook=runbook if runbook.startswith(("https://", "http://")) else None,
        traces=tuple(
            (trace_id, trace_url.replace("{trace_id}", trace_id) if trace_url and is_link else None)
            for trace_id in incident.evidence.trace_ids[-3:]
        ),
        silence_match=tuple(match) if match else (f'alert="{incident.rule}"', f'{name}="{value}"'),
    )


def calendar(history: Sequence[PastIncident], now: float) -> tuple[Day, ...]:
    """Return the last 30 days in UTC, the oldest first."""
    today = now - now % _DAY
    days = []
    for index in range(DAYS):
        start = today - (DAYS - 1 - index) * _DAY
        end = min(start + _DAY, now)
        touching = [one for one in history if one.opened < end and (one.resolved or now) > start]
        spans = sorted((max(one.opened, start), min(one.resolved or now, end)) for one in touching)
        seconds, reached = 0.0, start
        for first, last in spans:
            seconds += max(0.0, last - max(first, reached))
            reached = max(reached, last)
        minutes = seconds / 60
        days.append(
            Day(
                starts=start,
                seconds=seconds,
                count=len(touching),
                height=0
                if not touching
                else 8
                if minutes < 10
                else 16
                if minutes < 60
                else 24
                if minutes < 360
                else 32,
                is_paging=any(one.severity == "page" for one in touching),
            )
        )
    return tuple(days)


def incident_words(one: PastIncident) -> str:
    """Return the title of a past incident: its summary, or the rule and what it is about."""
    return text_format.clean(one.summary or f"{one.rule}: {one.subject}", 200)
