"""Human-readable texts of alerts and messages. Every text is bounded; third-party text is not escaped yet."""

import re
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from streamcanary.alerting.notify.impact_text import (
    bad_runs_text,
    bad_runs_title,
    fixers_text,
    tried_text,
    users_text,
)
from streamcanary.alerting.notify.member_text import failing_members, format_members, format_unaffected
from streamcanary.alerting.notify.message import Alert, Message, format_faults
from streamcanary.model.alerts.incident import Action
from streamcanary.model.config_types.duration import format_duration

_MAX_FACT_LENGTH = 1000  # characters of one fact
_MAX_ANNOTATIONS = 10
_MAX_LINKS = 10
_MAX_TRACE_LINKS = 3
_MAX_URL_LENGTH = 2000
_MENTIONS = re.compile(r"@(?=(?:channel|here|everyone|all|room|team)\b)|<(?=[!@#])", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "\u200b"


class Fact(NamedTuple):
    """One detail of an alert: ``key`` for programs, ``title`` for people. ``is_quoted``: third-party text."""

    key: str
    title: str
    text: str
    is_quoted: bool = False


class Link(NamedTuple):
    """A link to a runbook, a trace or another page."""

    title: str
    url: str


def status(message: Message) -> str:
    """Return the status of the group: ``Firing``, ``Still firing``, ``Resolved`` or ``Resolved after 12m``."""
    if message.action is Action.TRIGGER:
        return "Firing"
    if message.action is Action.UPDATE:
        return "Still firing"
    return (
        "Resolved"
        if message.duration is None
        else f"Resolved after {format_duration(_whole_seconds(message.duration))}"
    )


def heading(message: Message) -> str:
    """Return the title for people, after the status where the title does not contain it.

    A generated title contains that the alert fails or is resolved; a ``summary`` of the user may not, and no title
    contains that the message is an update.
    """
    if message.custom_summary or message.action is Action.UPDATE:
        return f"{status(message)}: {message.title}"
    return message.title


def facts(alert: Alert) -> list[Fact]:
    """Return the details of ``alert`` besides its summary, the most important first, without empty ones."""
    evidence = alert.evidence
    found = [
        Fact("since", "Since" if alert.is_firing else "Lasted", "" if alert.is_reconciliation else _time_text(alert)),
        Fact("seen", bad_runs_title(alert.measure), bad_runs_text(evidence, alert.measure)),
        Fact("failing", "Failing canaries", _failing_text(alert)),
        Fact("unaffected", "Unaffected", format_unaffected(evidence)),
        Fact(
            "users", "Users see" if alert.is_firing else "Users saw", users_text(evidence, alert.measure, alert.alert)
        ),
        Fact("tried", "Tried", tried_text(evidence)),
        Fact("faults", "Faults", format_faults(evidence.faults)),
        Fact("blames", "Can be fixed by", fixers_text(evidence.blames, alert.alert)),
        Fact("reason", "Resolved because", alert.resolve_reason or ""),
        Fact("resolves", "Resolves after", alert.resolve_condition if alert.is_firing else ""),
        *_notes(alert),
        Fact("message", "Last message", evidence.message, is_quoted=True),
        Fact("diagnosis", "Diagnosis", evidence.diagnosis, is_quoted=True),
        Fact("replicas", "Seen by replica", ", ".join(evidence.replicas), is_quoted=True),
        Fact("request_ids", "Request ids", ", ".join(evidence.request_ids), is_quoted=True),
        Fact("trace_ids", "Trace ids", ", ".join(evidence.trace_ids), is_quoted=True),
    ]
    return [fact._replace(text=truncate(fact.text, _MAX_FACT_LENGTH)) for fact in found if fact.text]


def facts_to_read(alert: Alert) -> list[Fact]:
    """Return those of :func:`facts` that a message for people needs besides its links.

    Trace ids that are links are left out, and a message that an annotation repeats.
    """
    has_trace_links = any(_is_valid_url(url) for url in alert.trace_urls)
    is_repeated = any(alert.evidence.message in note.text for note in _notes(alert))
    redundant = {*(["trace_ids"] if has_trace_links else []), *(["message"] if is_repeated else [])}
    return [fact for fact in facts(alert) if fact.key not in redundant]


def links(alert: Alert) -> list[Link]:
    """Return the status page, the annotations that are URLs (``runbook_url``), traces (newest first), and a silence."""
    named = [("Status", alert.url)]
    named += [(_title(name[:-4]), text) for name, text in alert.annotations.items() if name.endswith("_url")]
    traces = zip(alert.evidence.trace_ids, alert.trace_urls, strict=False)
    named += [(f"Trace {trace_id[:8]}", url) for trace_id, url in list(traces)[: -_MAX_TRACE_LINKS - 1 : -1]]
    valid = [Link(truncate(title, 80), url) for title, url in named if _is_valid_url(url)][: _MAX_LINKS - 1]
    return [*valid, *([Link("Silence", alert.silence_url)] if _is_valid_url(alert.silence_url) else [])]


def truncate(text: str, limit: int) -> str:
    """Return the first ``limit`` characters of ``text``; the last of them is ``…`` if it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def disarm_mentions(text: str) -> str:
    """Return ``text`` with mentions such as ``@channel`` broken, so that a provider's text notifies no one."""
    return _MENTIONS.sub(lambda mention: mention[0] + _ZERO_WIDTH_SPACE, text)


def _notes(alert: Alert) -> list[Fact]:
    """Return the annotations that are neither the title nor links."""
    names = [name for name in alert.annotations if name != "summary" and not name.endswith("_url")]
    return [Fact(name, _title(name), alert.annotations[name], is_quoted=True) for name in names[:_MAX_ANNOTATIONS]]


def _failing_text(alert: Alert) -> str:
    """Return how many canaries of a pooled alert fail, and which."""
    evidence = alert.evidence
    if not evidence.failing:
        return ""
    return f"{failing_members(evidence)} of {alert.member_count}: {format_members(evidence)}"


def _time_text(alert: Alert) -> str:
    """Return since when the alert fires, or from when to when it did, in UTC and as a duration.

    The duration is that at the time of the notification, which a retry does not change.
    """
    since = alert.first_bad_at
    if alert.resolved is None:
        return f"{_utc(since)} UTC ({format_duration(_whole_seconds(alert.rendered_at - since))} ago)"
    lasted = format_duration(_whole_seconds(alert.resolved - since))
    return f"{lasted} from the first failure, {_utc(since)} to {_utc(alert.resolved)} UTC"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _whole_seconds(seconds: float) -> float:
    return float(round(max(0.0, seconds)))


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() or "Link"


def _is_valid_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = url.isascii() and not any(character <= " " or character in '<>"|\x7f' for character in url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain and len(url) <= _MAX_URL_LENGTH
