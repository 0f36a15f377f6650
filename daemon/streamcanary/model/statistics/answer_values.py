"""The values of an answer that have a usual range: its times and its speed, such that higher is worse."""

from collections.abc import Iterator
from typing import Final, Literal

from streamcanary.model.outcome import Outcome, OutcomeKind

AnswerValue = Literal["first_token", "max_gap", "duration", "tokens_per_second"]
"""The name of a value; measures of rules have the same names."""

MIN_LAG: Final = 0.01
"""Seconds of lag of the daemon that are normal: scheduling, and garbage collection."""

_MAX_LAG_PART = 0.1  # of a time: if the daemon was late by more, it does not show what is usual
_ANSWERED = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})


def usual_values(outcome: Outcome) -> Iterator[tuple[AnswerValue, float]]:
    """Yield the values of an answer of the primary that show what is usual.

    Times are in seconds, and a speed is in seconds for each token. Values that the lag of the daemon may have distorted
    are left out.
    """
    if outcome.kind not in _ANSWERED:
        return
    times: tuple[tuple[AnswerValue, float | None], ...] = (
        ("first_token", outcome.time_to_first_token),
        ("max_gap", outcome.max_gap),
        ("duration", outcome.answer_duration),
    )
    for name, value in times:
        if value is not None and not is_distorted(outcome, value):
            yield name, value
    speed = outcome.output_speed
    if speed is not None and speed.tokens_per_second > 0 and not is_distorted(outcome, speed.seconds):
        yield "tokens_per_second", 1 / speed.tokens_per_second


def is_distorted(outcome: Outcome, seconds: float) -> bool:
    """Return whether the lag of the daemon may be much of the ``seconds`` in which a value was measured."""
    return outcome.lag > max(MIN_LAG, _MAX_LAG_PART * seconds)
