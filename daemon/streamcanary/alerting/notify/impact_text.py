"""What an alert means for people: what is wrong, what users see, what was tried, and who can fix it."""

from typing import Final

from streamcanary.alerting.builtin_rules import (
    BEHIND_SCHEDULE,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    RECEIVER_FAILING,
    RELOAD_FAILED,
    STORE_FAILING,
)
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.fault_words import FIXERS

NO_DATA: Final = "no_data"
"""The measure of an incident about missing runs."""

_STATES: Final = {
    "errors": "failing",
    "first_attempts": "failing at first attempts",
    "slow": "slow",
    "first_token": "slow",
    "max_gap": "slow",
    "duration": "slow",
    "tokens_per_second": "slow",
    "ratelimit_headroom": "low on quota",
    "certificate_expiry": "with an expiring certificate",
    "model_changes": "answered by another model",
    NO_DATA: "without results",
}
_SLOW: Final = ("slow", "first_token", "max_gap", "duration", "tokens_per_second")
_ERRORS: Final = ("errors", "first_attempts", "")  # empty: of an incident that an older version has stored
_DAEMON_IMPACT: Final = {  # what users see, and who can fix it
    CANARY_EGRESS_DOWN: (
        "not known: the daemon reaches no provider",
        "your network, between the daemon and the providers",
    ),
    BUDGET_EXHAUSTED: ("not known: canaries that cost money no longer run", FIXERS["config"]),
    RECEIVER_FAILING: ("nothing of it: only notifications are affected", "the receiver, or your configuration of it"),
    STORE_FAILING: ("nothing of it: only the daemon is affected", FIXERS["local"]),
    BEHIND_SCHEDULE: ("not known in time: a part of the runs is skipped", FIXERS["local"]),
    RELOAD_FAILED: ("nothing of it: only the daemon is affected", FIXERS["config"]),
}
_MAX_FALLBACKS = 5


def state_text(measure: str) -> str:
    """Return the state of a subject whose alert about ``measure`` fires: ``failing``, ``slow``, ``without results``."""
    return _STATES.get(measure, "failing")


def is_slow(measure: str) -> bool:
    """Return whether ``measure`` is about answers that arrive, but too slowly."""
    return measure in _SLOW


def bad_runs_title(measure: str) -> str:
    """Return the title of the number of bad runs of an alert about ``measure``."""
    if measure == NO_DATA:
        return "Missing runs"
    return "Slow runs" if is_slow(measure) else "Failed runs" if measure in _ERRORS else "Bad runs"


def bad_runs_text(evidence: Evidence, measure: str) -> str:
    """Return how many runs were bad, after retries and before; empty without samples."""
    if not evidence.total:
        return ""
    bad = f"{evidence.bad} of {evidence.total}{_percent(evidence.bad, evidence.total)}"
    if measure == NO_DATA:
        return str(evidence.bad)
    if measure not in _ERRORS:
        return bad
    first = f"{evidence.first_attempts}{_percent(evidence.first_attempts, evidence.total)}"
    return f"{bad} after retries, {first} at the first attempt"


def users_text(evidence: Evidence, measure: str, rule: str = "") -> str:
    """Return what users of the same endpoint see, as far as the canary can tell; empty if it cannot.

    ``rule`` matters if it is one about the daemon.
    """
    if rule in _DAEMON_IMPACT:
        return _DAEMON_IMPACT[rule][0]
    if measure == NO_DATA:
        return "not known: the canary reports nothing"
    if is_slow(measure):
        return "answers, slower than they should be"
    if not evidence.faults or measure not in _ERRORS:
        return ""
    if measure == "first_attempts":
        return "answers after retries, later than usual"
    if evidence.rescued >= max(1, evidence.bad):
        return "answers of a fallback, for all failed runs"
    if evidence.rescued:
        return f"errors, or answers of a fallback: it answered {evidence.rescued} of {evidence.bad} failed runs"
    return "errors: no fallback answered either" if evidence.fallbacks else "errors"


def tried_text(evidence: Evidence) -> str:
    """Return what the last failed run tried: ``3 attempts, then the fallback gpt-4.1-mini``.

    It is empty if that is not known, or no run has failed.
    """
    if not evidence.attempts or not evidence.faults:
        return ""
    attempts = "1 attempt" if evidence.attempts == 1 else f"{evidence.attempts} attempts"
    if not evidence.fallbacks:
        return f"{attempts}, no fallback"
    names = ", ".join(evidence.fallbacks[:_MAX_FALLBACKS])
    more = len(evidence.fallbacks) - _MAX_FALLBACKS
    noun = "fallback" if len(evidence.fallbacks) == 1 else "fallbacks"
    return f"{attempts}, then the {noun} {names}" + (f" and {more} more" if more > 0 else "")


def fixers_text(blames: dict[str, int], rule: str = "") -> str:
    """Return who can fix the faults, the most frequent first: ``the provider``, with numbers if there are several.

    ``rule`` matters if it is one about the daemon.
    """
    if rule in _DAEMON_IMPACT:
        return _DAEMON_IMPACT[rule][1]
    names = sorted(blames, key=lambda name: (-blames[name], name))
    if len(names) == 1:
        return FIXERS.get(names[0], names[0])
    return ", ".join(f"{FIXERS.get(name, name)} ({blames[name]})" for name in names)


def _percent(part: int, total: int) -> str:
    return f" ({min(part / total, 1.0):.0%})" if total else ""
