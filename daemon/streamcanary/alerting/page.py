"""What a person, or a program in their place, is told: rendered from stored evidence when it is sent."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from streamcanary.alerting.template import fill
from streamcanary.model.duration import format_duration
from streamcanary.model.incident import Evidence, Incident, Notice

DOCUMENT_VERSION = 1
"""The version of :meth:`Page.document`; it grows when a field changes its meaning or goes away."""


class Page(Struct, frozen=True, kw_only=True):
    """One immutable thing to send; ``id`` names the telling, ``key`` what is told of. Times are epoch seconds."""

    id: str
    key: str
    alert: str
    canary: str | None
    labels: dict[str, str]
    annotations: dict[str, str]
    opened: float
    resolved: float | None
    reason: str | None
    evidence: Evidence

    def document(self) -> dict[str, Any]:
        """Return it as plain data, as documented at :class:`~streamcanary.alerting.receivers.webhook.Webhook`."""
        return {
            "version": DOCUMENT_VERSION,
            "type": "alert.fired" if self.resolved is None else "alert.resolved",
            "key": self.key,
            "alert": self.alert,
            "canary": self.canary,
            "labels": self.labels,
            "annotations": self.annotations,
            "opened": rfc3339(self.opened),
            "resolved": None if self.resolved is None else rfc3339(self.resolved),
            "reason": self.reason,
            "evidence": {
                "bad": self.evidence.bad,
                "total": self.evidence.total,
                "first_attempts": self.evidence.first_attempts,
                "since": None if self.evidence.since is None else rfc3339(self.evidence.since),
                "faults": self.evidence.faults,
                "blames": self.evidence.blames,
                "message": self.evidence.message,
                "request_ids": self.evidence.request_ids,
                "trace_ids": self.evidence.trace_ids,
            },
        }


def render_notice(notice: Notice) -> Page:
    """Return the page of an edge receiver's notice; it depends on nothing else, so that a retry says the same again."""
    (incident,) = notice.members
    return _render(incident, id=notice.id, key=notice.group, now=incident.resolved or incident.opened)


def render_incident(incident: Incident, now: float) -> Page:
    """Return the page of ``incident`` as it stands at ``now`` (seconds since the epoch), for a level receiver."""
    return _render(incident, id=incident.key, key=incident.key, now=now)


def _render(incident: Incident, *, id: str, key: str, now: float) -> Page:  # noqa: A002 - the field's name
    evidence = incident.evidence
    values = {
        **{name: incident.labels.get(name, "") for name in ("target", "provider", "instance")},
        "alert": incident.rule,
        "subject": incident.subject,
        "canary": incident.canary or "",
        "status": "firing" if incident.firing else "resolved",
        "bad": str(evidence.bad),
        "total": str(evidence.total),
        "first_attempts": str(evidence.first_attempts),
        "faults": _counts(evidence.faults),
        "blames": _counts(evidence.blames),
        "message": evidence.message,
        "since": "" if evidence.since is None else rfc3339(evidence.since),
        "opened": rfc3339(incident.opened),
        "duration": format_duration(max(0.0, (incident.resolved or now) - incident.opened)),
        "request_ids": ", ".join(evidence.request_ids),
        "trace_ids": ", ".join(evidence.trace_ids),
    }
    return Page(
        id=id,
        key=key,
        alert=incident.rule,
        canary=incident.canary,
        labels=incident.labels,
        annotations={name: fill(template, values) for name, template in incident.annotations.items()},
        opened=incident.opened,
        resolved=incident.resolved,
        reason=incident.reason,
        evidence=evidence,
    )


def _counts(counts: dict[str, int]) -> str:
    """Return ``{"stalled": 3, "rate_limited": 1}`` as text, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def rfc3339(seconds: float) -> str:
    """Return ``seconds`` since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
