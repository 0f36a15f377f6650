"""The content of notifications: messages and their alerts, rendered from stored evidence when they are sent."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.alerting.notify.annotation_templates import render_template
from streamcanary.alerting.notify.impact_text import state_text
from streamcanary.alerting.notify.member_text import (
    format_members,
    format_unaffected,
    member_evidence,
)
from streamcanary.alerting.notify.page_links import LinkSettings
from streamcanary.alerting.notify.titles import (
    by_frequency,
    failure_counts,
    firing_title,
    named_subjects,
    resolved_after,
    resolved_title,
)
from streamcanary.model.alerts.incident import Action, Evidence, Incident, Notification
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.fault_words import fault_words

WEBHOOK_VERSION = 1
"""The version of :meth:`Message.to_dict`; it is incremented when a field changes its meaning or is removed."""

NO_LINKS = LinkSettings()
"""Links of a daemon whose configuration has no address of a status page or of traces."""


class Alert(Struct, frozen=True, kw_only=True):
    """One incident, rendered. ``key`` is stable over all notifications of the incident. Times are epoch seconds.

    ``annotations`` are rendered templates. ``resolve_condition`` says what resolves the alert, ``resolve_reason`` what
    resolved it. ``trace_urls`` are links to the tracing backend for the trace ids of the evidence, if ``trace_url`` is
    configured. ``is_new`` is whether it fires and was in no earlier notification of its group. ``scope`` and
    ``member_count`` are those of an alert that pools canaries, ``measure`` is that of the rule. ``url`` and
    ``silence_url`` are links to the status page, if ``external_url`` is configured. ``rendered_at`` is the time that
    durations end at while the alert fires.
    """

    key: str
    alert: str
    subject: str
    canary: str | None
    scope: str = ""
    member_count: int = 0
    labels: dict[str, str]
    annotations: dict[str, str]
    opened: float
    resolved: float | None
    resolve_reason: str | None
    resolve_condition: str
    evidence: Evidence
    trace_urls: tuple[str, ...] = ()
    is_new: bool = False
    measure: str = ""
    rendered_at: float = 0.0
    url: str = ""
    silence_url: str = ""

    @property
    def is_firing(self) -> bool:
        """Whether the alert is open."""
        return self.resolved is None

    @property
    def first_bad_at(self) -> float:
        """The time of its first bad sample, in seconds since the epoch, with which each printed duration begins."""
        return self.opened if self.evidence.since is None else min(self.opened, self.evidence.since)

    @property
    def is_reconciliation(self) -> bool:
        """Whether the alert is resolved after data loss: all that is known is that it does not fire."""
        return not self.is_firing and self.evidence == Evidence() and not self.annotations

    @property
    def name(self) -> str:
        """The name of the rule; if that is lost, the labels."""
        return self.alert or ", ".join(f'{name}="{value}"' for name, value in self.labels.items()) or "an alert"

    @property
    def custom_summary(self) -> str:
        """The annotation ``summary``; empty if the rule has none."""
        return self.annotations.get("summary", "")

    @property
    def summary(self) -> str:
        """The annotation ``summary``; without one, the rule, the subject and the state of the alert.

        For example ``LLMErrorSpike: chat-mini failing (5 of last 5 runs, stalled)``, or for a pooled alert
        ``LLMErrorSpike: target openai failing (6 of 8 canaries; 14 of last 20 runs, stalled)``.
        """
        if self.custom_summary:
            return self.custom_summary
        if self.resolved is None:
            counts = failure_counts(self.evidence, self.member_count, self.measure)
            return f"{self._rule_and_subject} {state_text(self.measure)}{counts}"
        return self.resolved_summary(None if self.is_reconciliation else self.resolved - self.first_bad_at)

    def resolved_summary(self, seconds: float | None) -> str:
        """Return ``RULE: SUBJECT resolved after 12m``; ``None`` leaves out the duration."""
        return f"{self._rule_and_subject} {resolved_after(seconds)}"

    @property
    def _rule_and_subject(self) -> str:
        return f"{self.name}: {self.subject}" if self.subject else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the alert.

        Its fields are documented at :class:`~streamcanary.alerting.notify.receivers.webhook.Webhook`.
        """
        evidence = self.evidence
        return {
            "key": self.key,
            "alert": self.alert,
            "subject": self.subject,
            "canary": self.canary,
            "scope": self.scope or None,
            "members": self.member_count or None,
            "labels": self.labels,
            "annotations": self.annotations,
            "opened": rfc3339(self.opened),
            "resolved": None if self.resolved is None else rfc3339(self.resolved),
            "new": self.is_new,
            "reason": self.resolve_reason,
            "resolves": self.resolve_condition,
            "traces": self.trace_urls,
            "url": self.url or None,
            "silence_url": self.silence_url or None,
            "evidence": {
                "bad": evidence.bad,
                "total": evidence.total,
                "first_attempts": evidence.first_attempts,
                "rescued": evidence.rescued,
                "since": None if evidence.since is None else rfc3339(evidence.since),
                "faults": evidence.faults,
                "blames": evidence.blames,
                "attempts": evidence.attempts,
                "fallbacks": evidence.fallbacks,
                "message": evidence.message,
                "diagnosis": evidence.diagnosis,
                "request_ids": evidence.request_ids,
                "trace_ids": evidence.trace_ids,
                **({"replicas": evidence.replicas} if evidence.replicas else {}),
                **(member_evidence(evidence) if self.scope else {}),
            },
        }


class Message(Struct, frozen=True, kw_only=True):
    """The immutable content of one notification about one group: ``id`` identifies the notification, ``key`` the group.

    ``labels`` are those that its alerts share. ``alerts`` are some of all ``alert_count``, firing ones first;
    ``resolved_count`` of all are resolved, and the first ``new_count`` are new. ``opened`` is when the group opened, in
    seconds since the epoch. ``alerts_url`` is the page of all alerts, if ``external_url`` is configured.
    """

    id: str
    key: str
    action: Action
    labels: dict[str, str]
    opened: float
    alerts: tuple[Alert, ...]
    alert_count: int
    resolved_count: int = 0
    new_count: int = 0
    alerts_url: str = ""

    @property
    def url(self) -> str:
        """The link to what it is about on the status page: the incident of a single alert, otherwise all alerts."""
        return self.alerts[0].url if self.alert_count == 1 and self.alerts else self.alerts_url

    @property
    def is_resolve(self) -> bool:
        """Whether it resolves the group: none of its alerts fires."""
        return self.action is Action.RESOLVE

    @property
    def firing_alerts(self) -> tuple[Alert, ...]:
        """Those of ``alerts`` that fire."""
        return tuple(alert for alert in self.alerts if alert.is_firing)

    @property
    def resolved_alerts(self) -> tuple[Alert, ...]:
        """Those of ``alerts`` that are resolved; they follow the firing ones."""
        return tuple(alert for alert in self.alerts if not alert.is_firing)

    @property
    def duration(self) -> float | None:
        """The seconds from the first failure to the last resolve; ``None`` if they are not known."""
        if all(alert.is_reconciliation for alert in self.alerts):
            return None
        resolved = max((alert.resolved for alert in self.alerts if alert.resolved is not None), default=None)
        began = min(self.opened, *(alert.first_bad_at for alert in self.alerts))
        return None if resolved is None else max(0.0, resolved - began)

    @property
    def custom_summary(self) -> str:
        """The annotation ``summary`` of a single alert, which is the title; empty if the title is generated."""
        shown = self.firing_alerts or self.resolved_alerts
        count = self.alert_count - self.resolved_count if self.firing_alerts else self.alert_count
        return shown[0].custom_summary if count == 1 and shown else ""

    @property
    def title(self) -> str:
        """One line that says what is broken for whom; resolved alerts of a group that still fires come last.

        Of a single alert it is the annotation ``summary``, if there is one. It names at most 5 subjects:
        ``LLMErrorSpike: 3 canaries of openai failing: a, b, c``. The new ones of an update come first:
        ``LLMErrorSpike: 3 canaries of openai failing, new: c; still: a, b``.
        """
        firing, ended = self.firing_alerts, self.resolved_alerts
        if not firing:
            return self.custom_summary or resolved_title(ended, self.alert_count, self.duration, self.labels)
        if not self.resolved_count:
            return firing_title(firing, self.alert_count, self.labels, self.new_count)
        title = firing_title(firing, self.alert_count - self.resolved_count, self.labels, self.new_count)
        return f"{title} (resolved: {named_subjects(ended, self.resolved_count)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the message.

        Its fields are documented at :class:`~streamcanary.alerting.notify.receivers.webhook.Webhook`.
        """
        kinds = {Action.TRIGGER: "alert.fired", Action.UPDATE: "alert.updated", Action.RESOLVE: "alert.resolved"}
        return {
            "version": WEBHOOK_VERSION,
            "type": kinds[self.action],
            "key": self.key,
            "title": self.title,
            "labels": self.labels,
            "opened": rfc3339(self.opened),
            "url": self.url or None,
            "total": self.alert_count,
            "firing": 0 if self.is_resolve else self.alert_count - self.resolved_count,
            "alerts": [alert.to_dict() for alert in self.alerts],
        }


def render_notification(notification: Notification, links: LinkSettings = NO_LINKS) -> Message:
    """Return the message of a notification. It depends on nothing else, so that a retry has the same content."""
    alerts = [render_alert(incident, notification.created, links) for incident in notification.members]
    for position in range(min(notification.new_count, len(alerts))):
        alerts[position] = msgspec.structs.replace(alerts[position], is_new=True)
    return Message(
        id=notification.id,
        key=notification.group,
        action=notification.action,
        labels=notification.labels,
        opened=notification.opened,
        alerts=tuple(sorted(alerts, key=lambda alert: not alert.is_firing)),
        alert_count=notification.member_count,
        alerts_url=links.alerts_url(),
        new_count=notification.new_count,
        resolved_count=max(notification.resolved_count, sum(not member.is_firing for member in notification.members)),
    )


def render_alert(incident: Incident, now: float, links: LinkSettings = NO_LINKS) -> Alert:
    """Return the alert of ``incident`` at ``now`` (seconds since the epoch)."""
    evidence = incident.evidence
    traces = links.trace_urls(evidence.trace_ids)
    values = {
        **{name: incident.labels.get(name, "") for name in ("target", "provider", "instance")},
        "alert": incident.rule,
        "subject": incident.subject,
        "canary": incident.canary or (incident.subject if incident.scope else ""),
        "scope": incident.scope,
        "members": str(incident.member_count or ""),
        "failing": format_members(evidence),
        "unaffected": format_unaffected(evidence),
        "status": "firing" if incident.is_firing else "resolved",
        "bad": str(evidence.bad),
        "total": str(evidence.total),
        "first_attempts": str(evidence.first_attempts),
        "rescued": str(evidence.rescued),
        "faults": format_faults(evidence.faults),
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
        "url": links.incident_url(incident),
    }
    return Alert(
        key=incident.key,
        alert=incident.rule,
        subject=incident.subject,
        canary=incident.canary,
        scope=incident.scope,
        member_count=incident.member_count,
        labels=incident.labels,
        annotations={name: render_template(template, values) for name, template in incident.annotations.items()},
        opened=incident.opened,
        resolved=incident.resolved,
        resolve_reason=incident.resolve_reason,
        resolve_condition=incident.resolve_condition,
        evidence=evidence,
        trace_urls=traces,
        measure=incident.measure,
        rendered_at=now,
        url=links.incident_url(incident),
        silence_url=links.silence_url(incident) if incident.is_firing else "",
    )


def format_faults(faults: dict[str, int]) -> str:
    """Return ``{"stream_cut": 3, "stalled": 1}`` as ``stream cut off 3, stalled 1``, the most frequent first."""
    return ", ".join(f"{fault_words(kind)} {faults[kind]}" for kind in by_frequency(faults))


def format_counts(counts: dict[str, int]) -> str:
    """Return ``{"provider": 3, "quota": 1}`` as text, the most frequent first."""
    return ", ".join(f"{name} {counts[name]}" for name in by_frequency(counts))


def rfc3339(seconds: float) -> str:
    """Return ``seconds`` since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
