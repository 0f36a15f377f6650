"""Open incidents, undelivered notifications and silences as the API returns them."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import (
    BaselineStatus,
    OpenIncident,
    StatusSnapshot,
    UndeliveredNotification,
)
from streamcanary.web.api.responses import rfc3339


class FailingCanary(Struct, frozen=True, kw_only=True):
    """``bad`` of ``total`` samples of a canary of a pooled alert."""

    canary: str
    bad: int
    total: int


class IncidentDocument(Struct, frozen=True, kw_only=True):
    """An open incident with its evidence.

    ``since`` is the time of the first bad sample, ``muted`` why receivers are not notified, and ``notified`` are the
    receivers that have accepted a notification of it. Of a pooled alert, ``scope`` is what its canaries share, and
    ``members`` their number.
    """

    key: str
    alert: str
    subject: str
    scope: str | None
    members: int | None
    failing: list[FailingCanary]
    failing_count: int
    unaffected: tuple[str, ...]
    unaffected_count: int
    labels: dict[str, str]
    opened: str
    since: str
    muted: str | None
    silences: tuple[str, ...]
    notified: tuple[str, ...]
    resolves: str
    bad: int
    total: int
    first_attempts: int
    rescued: int
    faults: dict[str, int]
    blames: dict[str, int]
    message: str
    diagnosis: str
    request_ids: tuple[str, ...]
    trace_ids: tuple[str, ...]
    runbook_url: str | None
    annotations: Mapping[str, str]


class UndeliveredDocument(Struct, frozen=True, kw_only=True):
    """A notification that a receiver has not accepted."""

    receiver: str
    action: str
    title: str
    since: str
    tries: int | None
    state: Literal["parked", "pending"]
    next_try: str | None
    last_error: str | None


class BaselineDocument(Struct, frozen=True, kw_only=True):
    """What an alert has learned from recorded runs."""

    alert: str
    subject: str
    base_rate: float | None
    learned: str | None
    text: str


class IncidentsDocument(Struct, frozen=True, kw_only=True):
    """The open incidents; ``firing``, ``owed`` and ``baseline_count`` count those that are left out, too."""

    incidents: list[IncidentDocument]
    firing: int
    undelivered: list[UndeliveredDocument]
    owed: int
    baselines: list[BaselineDocument]
    baseline_count: int


class SilenceDocument(Struct, frozen=True, kw_only=True):
    """A silence."""

    id: str
    state: Literal["active", "pending", "expired"]
    match: tuple[str, ...]
    starts: str
    until: str
    by: str
    why: str


class SilencesDocument(Struct, frozen=True, kw_only=True):
    """All silences."""

    silences: list[SilenceDocument]


def incidents_document(status: StatusSnapshot) -> IncidentsDocument:
    """Return the open incidents of ``status``."""
    return IncidentsDocument(
        incidents=[_incident_document(one) for one in status.incidents],
        firing=status.firing_count,
        undelivered=[_undelivered_document(one) for one in status.undelivered],
        owed=status.undelivered_count,
        baselines=[_baseline_document(one) for one in status.baselines],
        baseline_count=status.baseline_count,
    )


def _baseline_document(baseline: BaselineStatus) -> BaselineDocument:
    return BaselineDocument(
        alert=baseline.alert,
        subject=baseline.subject,
        base_rate=baseline.base_rate,
        learned=None if baseline.learned_at is None else rfc3339(baseline.learned_at),
        text=baseline.text,
    )


def _incident_document(open_incident: OpenIncident) -> IncidentDocument:
    incident, evidence = open_incident.incident, open_incident.incident.evidence
    return IncidentDocument(
        key=incident.key,
        alert=incident.rule,
        subject=incident.subject,
        scope=incident.scope or None,
        members=incident.member_count or None,
        failing=[FailingCanary(canary=one.name, bad=one.bad, total=one.total) for one in evidence.failing],
        failing_count=evidence.failing_count,
        unaffected=evidence.unaffected,
        unaffected_count=evidence.unaffected_count,
        labels=incident.labels,
        opened=rfc3339(incident.opened),
        since=rfc3339(incident.opened if evidence.since is None else evidence.since),
        muted=open_incident.muted_by,
        silences=open_incident.silenced_by,
        notified=open_incident.notified,
        resolves=incident.resolve_condition,
        bad=evidence.bad,
        total=evidence.total,
        first_attempts=evidence.first_attempts,
        rescued=evidence.rescued,
        faults=evidence.faults,
        blames=evidence.blames,
        message=evidence.message,
        diagnosis=evidence.diagnosis,
        request_ids=evidence.request_ids,
        trace_ids=evidence.trace_ids,
        runbook_url=open_incident.annotations.get("runbook_url") or None,
        annotations=open_incident.annotations,
    )


def _undelivered_document(notification: UndeliveredNotification) -> UndeliveredDocument:
    return UndeliveredDocument(
        receiver=notification.receiver,
        action=notification.action,
        title=notification.title,
        since=rfc3339(notification.since),
        tries=notification.attempts,
        state="parked" if notification.is_parked else "pending",
        next_try=None if notification.next_attempt is None else rfc3339(notification.next_attempt),
        last_error=notification.last_error,
    )


def silence_document(silence: Silence, now: float) -> SilenceDocument:
    """Return a silence with its state at ``now``."""
    state: Literal["active", "pending", "expired"]
    state = "active" if silence.is_active(now) else "pending" if now < silence.starts else "expired"
    return SilenceDocument(
        id=silence.id,
        state=state,
        match=silence.match,
        starts=rfc3339(silence.starts),
        until=rfc3339(silence.until),
        by=silence.by,
        why=silence.why,
    )
