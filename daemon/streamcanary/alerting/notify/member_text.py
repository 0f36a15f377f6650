"""Texts and plain data about the canaries of a pooled alert: which fail, and which do not."""

from typing import Any

from streamcanary.model.alerts.incident import Evidence

_MAX_LISTED_MEMBERS = 20  # failing canaries that a text lists


def failing_members(evidence: Evidence) -> str:
    """Return the number of failing canaries as text: ``6``, or ``50 or more`` if not all were counted."""
    return f"{evidence.failing_count} or more" if evidence.has_more_failing else str(evidence.failing_count)


def format_members(evidence: Evidence) -> str:
    """Return the failing canaries of a pooled alert, the worst first: ``a (3 of 5 runs), b (1 of 4)``."""
    shown = [
        f"{member.name} ({member.bad} of {member.total} runs)" for member in evidence.failing[:_MAX_LISTED_MEMBERS]
    ]
    rest = evidence.failing_count - len(shown)
    more = [f"and {rest} or more others" if evidence.has_more_failing else f"and {rest} more"] if rest > 0 else []
    return ", ".join(shown) + "".join(f" {text}" for text in more)


def format_unaffected(evidence: Evidence) -> str:
    """Return the canaries of a pooled alert that had only good runs: ``c, d and 3 more``."""
    rest = evidence.unaffected_count - len(evidence.unaffected)
    return ", ".join(evidence.unaffected) + (f" and {rest} more" if rest > 0 else "")


def member_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return the part of the evidence about the canaries of a pooled alert, as plain data."""
    return {
        "failing": [{"canary": one.name, "bad": one.bad, "total": one.total} for one in evidence.failing],
        "failing_count": evidence.failing_count,
        "has_more_failing": evidence.has_more_failing,
        "unaffected": evidence.unaffected,
        "unaffected_count": evidence.unaffected_count,
    }
