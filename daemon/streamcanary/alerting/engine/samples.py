"""From outcome to sample. A run is one sample for a rule, or none.

| measure | good | bad | neutral: seen, says nothing | no sample |
|---|---|---|---|---|
| `errors` | `ok`, `slow` | `failed`, `failed_over`, blamed so | blamed otherwise | `skipped`, `internal_error` |
| `first_attempts` | attempt 1 whole | attempt 1 faulted, blamed so | blamed otherwise | the same |
| `slow` | `ok` | `slow` | `failed`, `failed_over` | the same |
| `first_token`, `max_gap`, `duration` with `limit` | within | over | nothing measured | the same |

*Blamed so* is as the rule's ``blame`` says. A time is measured on an answer of the primary (``ok``, ``slow``): a quick
failure is not a quick answer, and what a fallback did says nothing about the route that is watched.
"""

from collections.abc import Collection
from enum import Enum

from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.faults import Blame, Fault, FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

OUTCOMES_WITHOUT_SAMPLE = frozenset({OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR})
"""Outcomes of runs that did not see the target: no sample of any rule."""
_ANSWERED = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})


class Sample(Enum):
    """What a run says to a rule."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    """It was seen, and says nothing: it neither fires nor resolves, but it is not silence."""


def sample_of(rule: Rule, outcome: Outcome) -> Sample | None:
    """Return what ``outcome`` says to ``rule``; ``None`` if the target was not seen at all."""
    if outcome.kind in OUTCOMES_WITHOUT_SAMPLE:
        return None
    match rule.measure:
        case Measure.ERRORS:
            if outcome.kind in _ANSWERED:
                return Sample.GOOD
            return _sample_by_blame(outcome.fault, rule.blame)
        case Measure.FIRST_ATTEMPTS:
            fault = first_attempt_fault(outcome)
            return Sample.GOOD if fault is None else _sample_by_blame(fault, rule.blame)
        case Measure.SLOW:
            if outcome.kind not in _ANSWERED:
                return Sample.NEUTRAL
            return Sample.BAD if outcome.kind is OutcomeKind.SLOW else Sample.GOOD
        case _:
            seconds = measured_seconds(rule.measure, outcome)
            if seconds is None or rule.limit is None:
                return Sample.NEUTRAL
            return Sample.BAD if seconds > rule.limit else Sample.GOOD


def first_attempt_fault(outcome: Outcome) -> Fault | None:
    """Return what was wrong with the first attempt, before any retry; without attempts, with the run."""
    return outcome.attempts[0].fault if outcome.attempts else outcome.fault


def measured_seconds(measure: Measure, outcome: Outcome) -> float | None:
    """Return the time in seconds that a timed ``measure`` is about; ``None`` if there was none to measure."""
    if outcome.kind not in _ANSWERED:
        return None
    match measure:
        case Measure.FIRST_TOKEN:
            return outcome.time_to_first_token
        case Measure.MAX_GAP:
            return outcome.max_gap
        case Measure.DURATION:
            return outcome.duration
        case _:
            return None


def _sample_by_blame(fault: Fault | None, blame: Collection[Blame]) -> Sample:
    if fault is None:  # failed, and nobody says why: rather a page too many
        return Sample.BAD
    if fault.kind is FaultKind.CANCELLED:  # the caller went away; never counted against the endpoint
        return Sample.NEUTRAL
    return Sample.BAD if fault.blame in blame else Sample.NEUTRAL
