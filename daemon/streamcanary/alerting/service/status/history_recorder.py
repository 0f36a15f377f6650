"""Records what happens to incidents as rows of the history of alerts. Pure: the rows are saved by the caller.

It looks at what a step of the engine has changed, and never changes the decision of the engine. The rows are saved in
the transaction of that step, so that after a crash the history shows what the state has, no more and no less.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from streamcanary.alerting.engine.inputs import (
    ActiveAlertsSent,
    Input,
    SendFinished,
    SilenceCreated,
    SilenceDeleted,
    Tick,
)
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from streamcanary.alerting.notify.message import render_alert
from streamcanary.model.alerts.incident import Action, Incident, Notification, NotificationState
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.alert_history import EventKind, PastIncident, TimelineEvent, past_incident_id

MAX_EVENTS: Final = 40
"""The maximum number of events in a timeline: the first 10, and the last ones."""

MAX_ROW_BYTES: Final = 32_768
"""The maximum size of a row; of a larger one, labels and the middle of the timeline are left out."""

_FIRST_EVENTS = 10
_MAX_TEXT = 200
_MAX_SUMMARY = 300
_MUTE_INTERVAL = 15.0  # seconds between two checks of what mutes the open incidents
_LOST = "the state of this alert was lost"

MuteReason = Callable[[State, Incident, float], str | None]
"""Returns what mutes an incident in a state at a time (seconds since the epoch); ``None`` if nothing does."""


class Step(NamedTuple):
    """A step of the engine: the states before and after ``input`` at ``now`` (epoch seconds), and changed ``rows``."""

    before: State
    after: State
    input: Input
    rows: tuple[RowChange, ...]
    now: float


def unfinished_ids(state: State) -> frozenset[str]:
    """Return the ids of the incidents in ``state`` to which something may still happen."""
    undelivered = (
        member
        for notification in state.notifications.values()
        if notification.state is not NotificationState.ACCEPTED
        for member in notification.members
    )
    firing = (incident for incident in state.incidents.values() if incident.is_firing)
    return frozenset(_id(incident) for some in (undelivered, firing) for incident in some)


class HistoryRecorder:
    """The incidents to which something may still happen, by id: those that fire, or are in pending notifications."""

    def __init__(self) -> None:
        self._incidents: dict[str, PastIncident] = {}
        self._changed: dict[str, None] = {}
        self._last_mute_check = 0.0

    @property
    def incidents(self) -> dict[str, PastIncident]:
        """These incidents, by id. They are newer than the rows in the store."""
        return self._incidents

    def rows(self) -> tuple[RowChange, ...]:
        """Return the rows of all these incidents, for a store that has lost its own."""
        return tuple(map(_row, self._incidents.values()))

    def restore(self, stored: Iterable[PastIncident], state: State, now: float) -> tuple[RowChange, ...]:
        """Continue the ``stored`` incidents, and return the rows that the loaded ``state`` adds or changes.

        A row without an incident in the state was lost, or is of a former configuration: it ends here. An incident
        without a row, such as one of an older version, gets one.
        """
        for past in stored:
            if past.id in self._incidents:
                continue
            self._incidents[past.id] = past
            incident = state.incidents.get(past.key)
            if past.resolved is None and (incident is None or _id(incident) != past.id):
                self._resolve(past.id, now, _LOST)
            elif incident is not None and _id(incident) == past.id:
                self._put_incident(incident, past)
        for incident in state.incidents.values():
            if incident.is_firing and _id(incident) not in self._incidents:
                self._open(incident, now)
        return self._finish(state, forget=True)

    def observe(self, step: Step, mute_reason: MuteReason) -> tuple[RowChange, ...]:
        """Record what ``step`` has done, and return the changed rows."""
        for row in step.rows:
            if row.table == "incidents" and (incident := step.after.incidents.get(row.key)) is not None:
                self._on_incident(step, incident)
        match step.input:
            case SendFinished(id, result):
                notification = step.before.notifications.get(id)
                if notification is not None and notification.state is NotificationState.PENDING:
                    self._on_delivery(step, notification, result)
            case ActiveAlertsSent(receiver, incidents):
                for incident in incidents:
                    kind: EventKind = "notified" if incident.is_firing else "resolve_notified"
                    self._add_once(_id(incident), kind, step.now, receiver)
            case Tick() if not 0 <= step.now - self._last_mute_check < _MUTE_INTERVAL:
                self._check_mutes(step, mute_reason)
                return self._finish(step.after, forget=True)
            case SilenceCreated() | SilenceDeleted():
                self._check_mutes(step, mute_reason)
        return self._finish(step.after)

    # ---- incidents

    def _on_incident(self, step: Step, incident: Incident) -> None:
        known = self._incidents.get(_id(incident))
        if known is None:
            if incident.is_firing:
                self._open(incident, step.now)
            return
        if (binding := step.before.detectors.get(incident.key)) is not None:
            incident = binding.update_evidence(incident)  # that of a resolved incident is of its last notification
        self._put_incident(incident, known)

    def _open(self, incident: Incident, now: float) -> None:
        since = min(incident.first_bad_at, incident.opened)
        evidence = incident.evidence
        self._incidents[_id(incident)] = PastIncident(
            id=_id(incident), key=incident.key, rule="", subject="", opened=incident.opened, since=since
        )
        self._put_incident(incident, self._incidents[_id(incident)])
        self._add(_id(incident), "first_failure", since, text=evidence.message)
        runs = (
            f"{evidence.bad} of the last {evidence.total} run{'' if evidence.total == 1 else 's'}"
            if evidence.total
            else ""
        )
        self._add(_id(incident), "fired", min(incident.opened, now), text=runs)

    def _put_incident(self, incident: Incident, known: PastIncident) -> None:
        """Update ``known`` from ``incident``, and end it if the incident has resolved."""
        evidence, canaries = incident.evidence, tuple(member.name for member in incident.evidence.failing)
        summary = scrub(render_alert(incident, incident.opened).summary, limit=_MAX_SUMMARY)
        new = replace(
            known,
            rule=incident.rule,
            subject=incident.subject,
            severity=incident.labels.get("severity", ""),
            labels=dict(incident.labels),
            summary=summary if incident.is_firing else known.summary,
            bad=evidence.bad,
            total=evidence.total,
            faults=dict(evidence.faults),
            message=evidence.message,
            canaries=(incident.canary,) if incident.canary else tuple(dict.fromkeys((*known.canaries, *canaries)))[:50],
        )
        if new != known:
            self._incidents[known.id] = new
            self._changed[known.id] = None
        if incident.resolved is not None and known.resolved is None:
            self._resolve(known.id, incident.resolved, incident.resolve_reason or "")

    def _resolve(self, id: str, at: float, reason: str) -> None:  # noqa: A002 - the field's name
        known = self._incidents[id]
        text = scrub(reason, limit=_MAX_TEXT)
        self._incidents[id] = replace(known, resolved=max(at, known.opened), resolve_reason=text)
        self._add(id, "resolved", max(at, known.opened), text=text)

    # ---- deliveries

    def _on_delivery(self, step: Step, notification: Notification, result: Accepted | Refused | Retry) -> None:
        receiver, now = notification.receiver, step.now
        if isinstance(result, Accepted):
            for incident in _members(notification, step.before):
                self._on_accepted(incident, notification, now)
            return
        kind: EventKind = "refused" if isinstance(result, Refused) else "retried"
        text = f"attempt {notification.attempts}: {result.reason}"
        for incident in notification.members:
            self._add_latest(_id(incident), kind, now, receiver, text)

    def _on_accepted(self, incident: Incident, notification: Notification, now: float) -> None:
        """Record that the receiver has ``incident`` as it is in the ``notification`` that it accepted."""
        receiver = notification.receiver
        if notification.action is Action.RESOLVE or not incident.is_firing:
            self._add_once(_id(incident), "resolve_notified", now, receiver)
        elif not self._add_once(_id(incident), "notified", now, receiver):
            self._add_latest(_id(incident), "updated", now, receiver)

    # ---- mutes

    def _check_mutes(self, step: Step, mute_reason: MuteReason) -> None:
        self._last_mute_check = step.now
        for incident in step.after.incidents.values():
            past = self._incidents.get(_id(incident)) if incident.is_firing else None
            if past is None:
                continue
            mutes = [event for event in past.timeline if event.kind in ("muted", "unmuted")]
            before = mutes[-1].text if mutes and mutes[-1].kind == "muted" else None
            reason = mute_reason(step.after, incident, step.now)
            if reason is not None and reason != before:
                self._add(past.id, "muted", step.now, text=reason)
            elif reason is None and before is not None:
                self._add(past.id, "unmuted", step.now, text=before)

    # ---- rows

    def _add(self, id: str, kind: EventKind, at: float, receiver: str | None = None, text: str = "") -> None:  # noqa: A002
        known = self._incidents.get(id)
        if known is None:
            return
        event = TimelineEvent(kind=kind, at=max(0.0, at), receiver=receiver, text=scrub(text, limit=_MAX_TEXT))
        self._set_timeline(known, (*known.timeline, event))

    def _add_once(self, id: str, kind: EventKind, at: float, receiver: str) -> bool:  # noqa: A002
        """Add an event that a receiver can have once; return whether it is new. A repeat after a restart is none."""
        known = self._incidents.get(id)
        if known is None or any(event.kind == kind and event.receiver == receiver for event in known.timeline):
            return False
        self._add(id, kind, at, receiver)
        return True

    def _add_latest(self, id: str, kind: EventKind, at: float, receiver: str, text: str = "") -> None:  # noqa: A002
        """Add an event in place of the last one of the receiver, if that is of the same kind: attempts and repeats."""
        known = self._incidents.get(id)
        if known is None:
            return
        own = [event for event in known.timeline if event.receiver == receiver]
        if own and own[-1].kind == kind:
            self._set_timeline(known, tuple(event for event in known.timeline if event is not own[-1]))
        self._add(id, kind, at, receiver, text)

    def _set_timeline(self, known: PastIncident, timeline: tuple[TimelineEvent, ...]) -> None:
        if len(timeline) > MAX_EVENTS:
            timeline = (*timeline[:_FIRST_EVENTS], *timeline[_FIRST_EVENTS - MAX_EVENTS :])
        self._incidents[known.id] = replace(known, timeline=timeline)
        self._changed[known.id] = None

    def _finish(self, state: State, *, forget: bool = False) -> tuple[RowChange, ...]:
        """Return the changed rows, and ``forget`` resolved incidents that are in no pending notification."""
        rows = tuple(_row(self._incidents[id]) for id in self._changed)  # noqa: A001 - the field's name
        self._changed = {}
        if forget and any(past.resolved is not None for past in self._incidents.values()):
            needed = unfinished_ids(state)
            self._incidents = {
                id: past
                for id, past in self._incidents.items()  # noqa: A001 - the field's name
                if past.resolved is None or id in needed
            }
        return rows


def _id(incident: Incident) -> str:
    return past_incident_id(incident.key, incident.opened)


def _members(notification: Notification, state: State) -> Iterable[Incident]:
    """Return the incidents of a notification: those that it lists, and the others of its group that it only counts."""
    listed = {member.key for member in notification.members}
    group = state.groups.get(notification.group)
    keys = group.members if group is not None and notification.member_count > len(listed) else ()
    others = (state.incidents.get(key) for key in keys if key not in listed)
    return (*notification.members, *(other for other in others if other is not None))


def _row(incident: PastIncident) -> RowChange:
    value = msgspec.json.encode(incident)
    if len(value) > MAX_ROW_BYTES:
        ends = (*incident.timeline[:2], *incident.timeline[-3:])
        value = msgspec.json.encode(replace(incident, labels={}, canaries=incident.canaries[:5], timeline=ends))
    return RowChange("alert_history", incident.id, value)
