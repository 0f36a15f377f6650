"""An alert in words, for receivers that people read. Every text is bounded; what it quotes is still foreign."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from streamcanary.alerting.notify.message import Alert, Message, format_counts, rfc3339
from streamcanary.model.alerts.incident import Action, Evidence
from streamcanary.model.config_types.duration import format_duration

_MAX_FACT_LENGTH = 1000  # characters of one fact
_MAX_ANNOTATIONS = 10
_MAX_LINKS = 10
_MAX_URL_LENGTH = 2000
_MENTIONS = re.compile(r"@(?=(?:channel|here|everyone|all|room|team)\b)|<(?=[!@#])", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "\u200b"  # a space without width


class Fact(NamedTuple):
    """One thing that is known: ``key`` for programs, ``title`` for people. ``quoted`` if somebody else wrote it."""

    key: str
    title: str
    text: str
    is_quoted: bool = False


class Link(NamedTuple):
    """Where there is more to see."""

    title: str
    url: str


def status(message: Message, now: float) -> str:
    """Return how things stand: ``Firing``, ``Still firing`` or ``Resolved after 12m``; ``now`` in epoch seconds."""
    if message.action is Action.TRIGGER:
        return "Firing"
    if message.action is Action.UPDATE:
        return "Still firing"
    if all(alert.is_reconciliation for alert in message.alerts):
        return "Resolved"  # since when it fired nobody knows
    resolved = max((alert.resolved for alert in message.alerts if alert.resolved is not None), default=now)
    return f"Resolved after {format_duration(max(0.0, resolved - message.opened))}"


def facts(alert: Alert) -> list[Fact]:
    """Return what is known of ``alert`` besides its summary, the most telling first, without what is empty."""
    evidence = alert.evidence
    since = alert.opened if evidence.since is None else evidence.since
    first_bad = "" if alert.is_reconciliation else rfc3339(since)
    bad_runs = f"{evidence.bad} of {evidence.total} after retries, {evidence.first_attempts} at the first attempt"
    ids = [("request_ids", "Request ids", evidence.request_ids), ("trace_ids", "Trace ids", evidence.trace_ids)]
    found = [
        Fact("since", "Since", first_bad),
        Fact("seen", "Bad runs", bad_runs if evidence.total else ""),
        Fact("rescued", "Fallback", _fallback_text(evidence)),
        Fact("faults", "Faults", format_counts(evidence.faults)),
        Fact("blames", "To be mended by", format_counts(evidence.blames)),
        Fact("reason", "Over because", alert.resolve_reason or ""),
        Fact("resolves", "Would resolve it", alert.resolve_condition if alert.is_firing else ""),
        Fact("message", "Last message", evidence.message, is_quoted=True),
        Fact("diagnosis", "Diagnosis", evidence.diagnosis, is_quoted=True),
        *(Fact(key, title, ", ".join(values), is_quoted=True) for key, title, values in ids),
    ]
    other_annotations = [name for name in alert.annotations if name != "summary" and not name.endswith("_url")]
    found += [
        Fact(name, _title(name), alert.annotations[name], is_quoted=True)
        for name in other_annotations[:_MAX_ANNOTATIONS]
    ]
    return [fact._replace(text=truncate(fact.text, _MAX_FACT_LENGTH)) for fact in found if fact.text]


def links(alert: Alert) -> list[Link]:
    """Return the annotations that are addresses (``runbook_url``), and the traces, the newest first."""
    named = [(_title(name[:-4]), text) for name, text in alert.annotations.items() if name.endswith("_url")]
    traces = zip(alert.evidence.trace_ids, alert.trace_urls, strict=False)
    named += [(f"Trace {trace_id[:8]}", url) for trace_id, url in reversed(list(traces))]
    return [Link(truncate(title, 80), url) for title, url in named if _is_valid_url(url)][:_MAX_LINKS]


def truncate(text: str, limit: int) -> str:
    """Return ``text``, at most ``limit`` characters of it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def disarm_mentions(text: str) -> str:
    """Return ``text`` so that it calls nobody: what a provider says must not ring everybody's phone (``@channel``)."""
    return _MENTIONS.sub(lambda call: call[0] + _ZERO_WIDTH_SPACE, text)


def _fallback_text(evidence: Evidence) -> str:
    """Return how many of the bad runs a fallback answered: that users are served is another page than that none is."""
    if evidence.rescued >= max(1, evidence.bad):
        return "answered all of the bad runs: users are served"
    if evidence.rescued:
        return f"answered {evidence.rescued} of the {evidence.bad} bad runs"
    return "answered none of the bad runs" if evidence.faults else ""


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() or "Link"


def _is_valid_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = url.isascii() and not any(character <= " " or character in '<>"|\x7f' for character in url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain and len(url) <= _MAX_URL_LENGTH
