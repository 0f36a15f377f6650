"""Whether alerting gets on: what the heartbeat asks before it goes out."""

from collections.abc import Iterable, Mapping

from streamcanary.model.canary import Canary
from streamcanary.model.duration import format_duration
from streamcanary.model.incident import Notice, Progress

MISSED_RUNS = 3
"""How many runs of the most frequent canary may be due without any run of any canary having ended."""

_BEHIND = 60.0  # seconds that an outcome may wait to be evaluated
_UNDELIVERED = 15 * 60.0  # seconds that a notice may wait to be accepted
_SLACK = 10.0


def runs_stand_still(canaries: Iterable[Canary], last: float, now: float) -> str | None:
    """Say that no run has ended since ``last`` although some were due; ``None`` if they go on (epoch seconds)."""
    due = min((canary.nth_after(last, MISSED_RUNS) + canary.timeout for canary in canaries), default=now)
    return f"no run has ended for {format_duration(round(now - last))}" if now > due + _SLACK else None


def evaluation_stands_still(last: float, now: float) -> str | None:
    """Say that outcomes are not evaluated; ``last`` is when the queue was last worked on (monotonic seconds)."""
    return f"nothing was evaluated for {format_duration(round(now - last))}" if now - last > _BEHIND else None


def outbox_stands_still(notices: Mapping[str, Notice], now: float) -> str | None:
    """Say that a notice waits to be taken for too long, by whom, and why (epoch seconds)."""
    for notice in notices.values():
        if notice.state is Progress.PENDING and now - notice.created > _UNDELIVERED:
            why = f" ({notice.last_error})" if notice.last_error else ""
            return f"{notice.receiver} has not taken a notice for {format_duration(round(now - notice.created))}{why}"
    return None
