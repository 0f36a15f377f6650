"""What a person, or a program in their place, is told: rendered from stored evidence when it is sent."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from streamcanary.alerting.notify.templates import render_template
from streamcanary.model.alerts.incident import Action, Evidence, Incident, Notification
from streamcanary.model.config_types.duration import format_duration

WEBHOOK_VERSION = 1
"""The version of :meth:`Page.document`; it grows when a field changes its meaning or goes away."""

_MAX_NAMED_SUBJECTS = 5  # subjects that a title names


class Alert(Struct, frozen=True, kw_only=True):
    """One incident, fit to be shown; ``key`` is the same for as long as it is the same thing. Times are epoch seconds.

    ``annotations`` are filled in, ``resolves`` says what would end it, ``reason`` what did. ``traces`` are links to the
    tracing backend for the trace ids of the evidence, if there is a template for them.
    """

    key: str
    alert: str
    subject: str
    canary: str | None
    labels: dict[str, str]
    annotations: dict[str, str]
    opened: float
    resolved: float | None
    resolve_reason: str | None
    resolve_condition: str
    evidence: Evidence
    trace_urls: tuple[str, ...] = ()

    @property
    def is_firing(self) -> bool:
        """Whether it is still open."""
        return self.resolved is None

    @property
    def is_reconciliation(self) -> bool:
        """Whether nothing is known of it but that it is over: it is called off because a lost store may have known."""
        return not self.is_firing and self.evidence == Evidence() and not self.annotations

    @property
    def name(self) -> str:
        """What it is: the name of its rule, or if that is lost, its labels."""
        return self.alert or ", ".join(f'{name}="{value}"' for name, value in self.labels.items()) or "an alert"

    @property
    def summary(self) -> str:
        """The annotation of that name, or what it is and whom it is about."""
        return self.annotations.get("summary") or (f"{self.name}: {self.subject}" if self.subject else self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as documented at :class:`~streamcanary.alerting.notify.receivers.webhook.Webhook`."""
        evidence = self.evidence
        return {
            "key": self.key,
            "alert": self.alert,
            "canary": self.canary,
            "labels": self.labels,
            "annotations": self.annotations,
            "opened": rfc3339(self.opened),
            "resolved": None if self.resolved is None else rfc3339(self.resolved),
            "reason": self.resolve_reason,
            "resolves": self.resolve_condition,
            "traces": self.trace_urls,
            "evidence": {
                "bad": evidence.bad,
                "total": evidence.total,
                "first_attempts": evidence.first_attempts,
                "rescued": evidence.rescued,
                "since": None if evidence.since is None else rfc3339(evidence.since),
                "faults": evidence.faults,
                "blames": evidence.blames,
                "message": evidence.message,
                "diagnosis": evidence.diagnosis,
                "request_ids": evidence.request_ids,
                "trace_ids": evidence.trace_ids,
            },
        }


class Message(Struct, frozen=True, kw_only=True):
    """One immutable thing to send about one group: ``id`` names the telling, ``key`` the group.

    ``labels`` are those that its alerts share. ``alerts`` are some of ``total``, those that fire first; ``gone`` of all
    no longer do. ``opened`` is when the group did, in seconds since the epoch.
    """

    id: str
    key: str
    action: Action
    labels: dict[str, str]
    opened: float
    alerts: tuple[Alert, ...]
    alert_count: int
    resolved_count: int = 0

    @property
    def is_resolve(self) -> bool:
        """Whether it says that nothing of the group fires any more."""
        return self.action is Action.RESOLVE

    @property
    def firing_alerts(self) -> tuple[Alert, ...]:
        """Those of ``alerts`` that are still open."""
        return tuple(alert for alert in self.alerts if alert.is_firing)

    @property
    def resolved_alerts(self) -> tuple[Alert, ...]:
        """Those of ``alerts`` that are not; they follow those that are."""
        return tuple(alert for alert in self.alerts if not alert.is_firing)

    @property
    def title(self) -> str:
        """One line, without its status: what fires, and apart from it what no longer does; in the end what was."""
        firing, ended = self.firing_alerts, self.resolved_alerts
        if not firing:
            return _headline(ended, self.alert_count)
        if not self.resolved_count:
            return _headline(firing, self.alert_count)
        return (
            f"{_headline(firing, self.alert_count - self.resolved_count)} (over: {_named(ended, self.resolved_count)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as documented at :class:`~streamcanary.alerting.notify.receivers.webhook.Webhook`."""
        kinds = {Action.TRIGGER: "alert.fired", Action.UPDATE: "alert.updated", Action.RESOLVE: "alert.resolved"}
        return {
            "version": WEBHOOK_VERSION,
            "type": kinds[self.action],
            "key": self.key,
            "title": self.title,
            "labels": self.labels,
            "opened": rfc3339(self.opened),
            "total": self.alert_count,
            "firing": 0 if self.is_resolve else self.alert_count - self.resolved_count,
            "alerts": [alert.to_dict() for alert in self.alerts],
        }


def render_notification(notification: Notification, trace_url: str | None = None) -> Message:
    """Return the page of an edge receiver's notice; it depends on nothing else, so that a retry says the same again.

    ``trace_url`` is the template of links to traces, with ``{trace_id}`` in it.
    """
    alerts = (render_alert(incident, notification.created, trace_url) for incident in notification.members)
    return Message(
        id=notification.id,
        key=notification.group,
        action=notification.action,
        labels=notification.labels,
        opened=notification.opened,
        alerts=tuple(sorted(alerts, key=lambda alert: not alert.is_firing)),
        alert_count=notification.member_count,
        resolved_count=max(notification.resolved_count, sum(not member.is_firing for member in notification.members)),
    )


def render_alert(incident: Incident, now: float, trace_url: str | None = None) -> Alert:
    """Return ``incident`` as it stands at ``now`` (seconds since the epoch)."""
    evidence = incident.evidence
    traces = tuple(trace_url.replace("{trace_id}", one) for one in evidence.trace_ids) if trace_url else ()
    values = {
        **{name: incident.labels.get(name, "") for name in ("target", "provider", "instance")},
        "alert": incident.rule,
        "subject": incident.subject,
        "canary": incident.canary or "",
        "status": "firing" if incident.is_firing else "resolved",
        "bad": str(evidence.bad),
        "total": str(evidence.total),
        "first_attempts": str(evidence.first_attempts),
        "rescued": str(evidence.rescued),
        "faults": format_counts(evidence.faults),
        "blames": format_counts(evidence.blames),
        "message": evidence.message,
        "diagnosis": evidence.diagnosis,
        "since": "" if evidence.since is None else rfc3339(evidence.since),
        "opened": rfc3339(incident.opened),
        "duration": format_duration(max(0.0, (incident.resolved or now) - incident.opened)),
        "resolves": incident.resolve_condition,
        "request_ids": ", ".join(evidence.request_ids),
        "trace_ids": ", ".join(evidence.trace_ids),
        "trace_url": traces[-1] if traces else "",
    }
    return Alert(
        key=incident.key,
        alert=incident.rule,
        subject=incident.subject,
        canary=incident.canary,
        labels=incident.labels,
        annotations={name: render_template(template, values) for name, template in incident.annotations.items()},
        opened=incident.opened,
        resolved=incident.resolved,
        resolve_reason=incident.resolve_reason,
        resolve_condition=incident.resolve_condition,
        evidence=evidence,
        trace_urls=traces,
    )


def _headline(alerts: tuple[Alert, ...], total: int) -> str:
    """Return the summary of a single alert, else which alerts ``total`` are, of which these are known, and of whom."""
    if total == 1 and alerts:
        return alerts[0].summary
    names = ", ".join(list(dict.fromkeys(alert.name for alert in alerts))[:_MAX_NAMED_SUBJECTS])
    about = _named(alerts, total)
    return f"{names}: {total} alerts: {about}" if about else f"{names}: {total} alerts"


def _named(alerts: tuple[Alert, ...], total: int) -> str:
    """Return whom ``total`` alerts, of which these are known, are about: some by name, of the others the number."""
    names = list(dict.fromkeys(alert.subject for alert in alerts if alert.subject))[:_MAX_NAMED_SUBJECTS]
    rest = total - sum(alert.subject in names for alert in alerts)
    return f"{', '.join(names)} and {rest} more" if names and rest else ", ".join(names)


def format_counts(counts: dict[str, int]) -> str:
    """Return ``{"stalled": 3, "rate_limited": 1}`` as text, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def rfc3339(seconds: float) -> str:
    """Return ``seconds`` since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
