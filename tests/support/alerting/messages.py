"""Incidents with all fields set, and the messages of groups."""

from typing import Any

from msgspec.structs import replace

from streamcanary.alerting.engine.keys import incident_key
from streamcanary.alerting.engine.recovery.reconciliation import RECONCILED_REASON
from streamcanary.alerting.notify.message import Alert, Message, render_alert
from streamcanary.model.alerts.incident import Action, Evidence, Incident
from support.alerting.builders import NOON, a_message

SUMMARY = "{canary}: {bad} of the last {total} runs failed ({faults}); {duration}, {status}"
EVIDENCE = Evidence(bad=3, total=5, since=NOON - 60, faults={"stalled": 1, "overloaded": 2}, message="late")
FULL_EVIDENCE = Evidence(
    bad=3,
    total=5,
    first_attempts=4,
    rescued=1,
    since=NOON - 60,
    faults={"stalled": 1, "overloaded": 2},
    blames={"provider": 3},
    message="upstream said: too many",
    request_ids=("req_1", "req_2"),
    trace_ids=("0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"),
    diagnosis="TCP: connection refused",
    attempts=3,
    fallbacks=("gpt-4.1-mini",),
)
"""Evidence with every field set."""

HOSTILE_TEXT = (
    "@channel <!here> <@U0G9QF9C6> <https://evil.example|click> *b* _i_ ~s~ `code` ```pre``` & :boom: "
    "\u202e\nFAKE: all is well " + "x" * 5000
)
"""A provider message with mentions, links, markup and control characters that attack its readers."""


def an_incident(**changes: Any) -> Incident:
    """Build an incident that fires since ``NOON``."""
    values: dict[str, Any] = {
        "key": incident_key("default", "Errors", "chat"),
        "rule": "Errors",
        "subject": "chat",
        "canary": "chat",
        "labels": {"alertname": "Errors", "canary": "chat", "severity": "page"},
        "annotations": {"summary": SUMMARY, "nothing": "{request_ids}"},
        "opened": NOON,
        "evidence": EVIDENCE,
    }
    return Incident(**{**values, **changes})


def a_full_incident(**changes: Any) -> Incident:
    """Build an incident with every field set."""
    values: dict[str, Any] = {
        "labels": {
            "alertname": "Errors",
            "canary": "chat",
            "target": "openai",
            "instance": "default",
            "severity": "page",
        },
        "annotations": {"summary": SUMMARY, "runbook_url": "https://runbooks.example/a?b=1&c", "description": "Look."},
        "resolve_condition": "3 good runs in a row",
        "evidence": FULL_EVIDENCE,
    }
    return an_incident(**{**values, **changes})


def a_reconciled_incident(**changes: Any) -> Incident:
    """Build a reconciled incident: resolved after the loss of the store, without evidence or annotations."""
    values = {
        "annotations": {},
        "evidence": Evidence(),
        "resolved": NOON,
        "resolve_reason": RECONCILED_REASON,
        "resolve_condition": "3 good runs",
    }
    return an_incident(**{**values, **changes})


def an_alert(**changes: Any) -> Alert:
    """Render an incident two minutes after it fired, for a state receiver."""
    return render_alert(an_incident(**changes), NOON + 120)


def lifecycle_messages(*incidents: Incident, resolved: float = NOON + 720) -> tuple[Message, Message, Message]:
    """Render trigger, update and resolve of the group of ``incidents``, with trace URLs."""
    resolved_incidents = tuple(
        replace(incident, resolved=resolved, resolve_reason="recovered: 3 good runs in a row") for incident in incidents
    )
    messages = (
        a_message(*incidents),
        a_message(*incidents, action=Action.UPDATE),
        a_message(*resolved_incidents, action=Action.RESOLVE, now=resolved),
    )
    trigger, update, resolve = (
        _with_trace_urls(replace(message, id=f"notice-{message.action}")) for message in messages
    )
    return trigger, update, resolve


def _with_trace_urls(message: Message) -> Message:
    alerts = (
        replace(alert, trace_urls=tuple(f"https://traces.example/{trace}" for trace in alert.evidence.trace_ids))
        for alert in message.alerts
    )
    return replace(message, alerts=tuple(alerts))
