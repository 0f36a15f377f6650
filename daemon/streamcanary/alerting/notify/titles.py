"""The titles of messages: one line that says what is broken for whom."""

from typing import TYPE_CHECKING

from streamcanary.alerting.notify.impact_text import NO_DATA, state_text
from streamcanary.alerting.notify.member_text import failing_members
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.fault_words import fault_words

if TYPE_CHECKING:
    from streamcanary.alerting.notify.message import Alert

_MAX_NAMED_SUBJECTS = 5  # subjects that a title names
_MAX_NAMED_MEMBERS = 2  # failing canaries of a pooled alert up to which a title names them


def firing_title(alerts: "tuple[Alert, ...]", total: int, shared: dict[str, str], new_count: int) -> str:
    """Return the title of ``total`` firing alerts, of which ``alerts`` are known and ``new_count`` are new."""
    if total == 1 and alerts:
        return alerts[0].summary
    states = {state_text(alert.measure) for alert in alerts}
    state = states.pop() if len(states) == 1 else "failing"
    state = state if _are_distinct_canaries(alerts, total, shared) else "firing"
    return _group_title(alerts, total, state, shared, new_count)


def resolved_title(alerts: "tuple[Alert, ...]", total: int, duration: float | None, shared: dict[str, str]) -> str:
    """Return the title of ``total`` resolved alerts, which fired for ``duration`` seconds; ``None`` if unknown."""
    if total == 1 and alerts:
        return alerts[0].resolved_summary(duration)
    return _group_title(alerts, total, resolved_after(duration), shared)


def _group_title(
    alerts: "tuple[Alert, ...]", total: int, state: str, shared: dict[str, str], new_count: int = 0
) -> str:
    """Return rules, count, ``state`` and subjects of ``total`` alerts, of which ``alerts`` are known.

    ``shared`` are the labels of all of them.
    """
    names = ", ".join(list(dict.fromkeys(alert.name for alert in alerts))[:_MAX_NAMED_SUBJECTS])
    noun = "canaries" if _are_distinct_canaries(alerts, total, shared) else "alerts"
    owner = _common_owner(alerts, total, shared)
    title = f"{names}: {total} {noun} {f'of {owner} ' if owner else ''}{state}"
    if new_count:
        return f"{title}, {_new_subjects_first(alerts, total, new_count)}"
    subjects = named_subjects(alerts, total)
    return f"{title}: {subjects}" if subjects else title


def _common_owner(alerts: "tuple[Alert, ...]", total: int, shared: dict[str, str]) -> str:
    """Return the target of all ``total`` alerts, or else their provider; empty if they have several."""
    targets = {alert.labels.get("target", "") for alert in alerts} if len(alerts) == total else set()
    return (
        targets.pop() if len(targets) == 1 and "" not in targets else shared.get("target", shared.get("provider", ""))
    )


def _are_distinct_canaries(alerts: "tuple[Alert, ...]", total: int, shared: dict[str, str]) -> bool:
    """Return whether each of ``total`` alerts is about another canary: as known, or because all are of one rule."""
    if any(not alert.canary for alert in alerts):
        return False
    return len({alert.canary for alert in alerts}) == total or (len(alerts) < total and "alert" in shared)


def resolved_after(seconds: float | None) -> str:
    """Return ``resolved after 12m``; without a duration, ``resolved``."""
    return "resolved" if seconds is None else f"resolved after {format_duration(float(round(max(0.0, seconds))))}"


def failure_counts(evidence: Evidence, member_count: int, measure: str) -> str:
    """Return `` (5 of last 5 runs, stalled)``, with the most frequent fault in words; empty without samples and faults.

    A pooled alert begins with its failing canaries: ``6 of 8 canaries;``, with their names if they are few.
    """
    if measure == NO_DATA:
        counts = f"{evidence.bad} run{'' if evidence.bad == 1 else 's'} missing"
    else:
        counts = f"{evidence.bad} of last {evidence.total} run{'' if evidence.total == 1 else 's'}"
    parts = [counts] if evidence.total else []
    text = ", ".join(parts + [fault_words(kind) for kind in by_frequency(evidence.faults)[:1]])
    if evidence.failing:
        members = f"{failing_members(evidence)} of {_canaries(member_count)}"
        if evidence.failing_count <= _MAX_NAMED_MEMBERS:
            members += f": {', '.join(member.name for member in evidence.failing)}"
        text = f"{members}; {text}" if text else members
    return f" ({text})" if text else ""


def _canaries(count: int) -> str:
    return "1 canary" if count == 1 else f"{count} canaries"


def _new_subjects_first(alerts: "tuple[Alert, ...]", total: int, new_count: int) -> str:
    """Return subjects as :func:`named_subjects` does, the new ones first: ``new: c; still: a, b``."""
    new = tuple(alert for alert in alerts if alert.is_new)
    before = tuple(alert for alert in alerts if not alert.is_new)
    texts = {
        "new": named_subjects(new, new_count),
        "still": named_subjects(before, total - new_count, max(1, _MAX_NAMED_SUBJECTS - len(new))),
    }
    return "; ".join(f"{word}: {text}" for word, text in texts.items() if text)


def named_subjects(alerts: "tuple[Alert, ...]", total: int, limit: int = _MAX_NAMED_SUBJECTS) -> str:
    """Return the first subjects of ``total`` alerts, of which ``alerts`` are known, and the number of the others."""
    names = list(dict.fromkeys(alert.subject for alert in alerts if alert.subject))[:limit]
    rest = total - sum(alert.subject in names for alert in alerts)
    return f"{', '.join(names)} and {rest} more" if names and rest else ", ".join(names)


def by_frequency(counts: dict[str, int]) -> list[str]:
    """Return the names in ``counts``, the most frequent first."""
    return sorted(counts, key=lambda name: (-counts[name], name))
