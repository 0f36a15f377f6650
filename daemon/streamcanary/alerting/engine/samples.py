"""Maps an outcome to the sample of a rule. A run is at most one sample for each rule.

| measure | good | bad | neutral | no sample |
|---|---|---|---|---|
| `errors` | `ok`, `slow` | `failed`, `failed_over`, selected blame | other blame | `skipped`, `internal_error` |
| `first_attempts` | attempt 1 succeeded | attempt 1 failed, selected blame | other blame | the same |
| `slow` | `ok` | `slow` | `failed`, `failed_over` | the same |
| `first_token`, `max_gap`, `duration` with `limit` | within | over | not measured | the same |
| `certificate_expiry` with `limit` | expires later | expires earlier | no certificate seen | the same |

*Selected blame* is a blame that the ``blame`` of the rule lists. A time is measured on an answer of the primary only
(``ok``, ``slow``): a quick failure is not a quick answer, and the time of a fallback is not that of the watched route.
The certificate is that of the primary, whatever the result of the run: it is seen on each new connection.
"""

from collections.abc import Collection
from enum import Enum

from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.faults import CALLER_FAULTS, Blame, Fault
from streamcanary.model.outcome import Outcome, OutcomeKind

OUTCOMES_WITHOUT_SAMPLE = frozenset({OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR})
"""Outcomes of runs that did not reach the target: they are no sample of any rule."""
_ANSWERED = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})


class Sample(Enum):
    """The kind of a sample."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    """The run has a result that the rule does not evaluate: it neither fires nor resolves, and is not missing data."""


def sample_of(rule: Rule, outcome: Outcome) -> Sample | None:
    """Return the sample of ``rule`` from ``outcome``; ``None`` if the run did not reach the target."""
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
        case Measure.CERTIFICATE_EXPIRY:
            remaining = certificate_remaining(outcome)
            if remaining is None or rule.limit is None:
                return Sample.NEUTRAL
            return Sample.BAD if remaining < rule.limit else Sample.GOOD
        case _:
            seconds = measured_seconds(rule.measure, outcome)
            if seconds is None or rule.limit is None:
                return Sample.NEUTRAL
            if seconds <= rule.limit:
                return Sample.GOOD
            # Without the lag of the daemon, the time may have been within the limit.
            return Sample.NEUTRAL if seconds - outcome.lag <= rule.limit else Sample.BAD


def first_attempt_fault(outcome: Outcome) -> Fault | None:
    """Return the fault of the first attempt, before any retry; without attempts, the fault of the run."""
    return outcome.attempts[0].fault if outcome.attempts else outcome.fault


def measured_seconds(measure: Measure, outcome: Outcome) -> float | None:
    """Return the time of a timed ``measure`` in seconds; ``None`` if there is none."""
    if outcome.kind not in _ANSWERED:
        return None
    match measure:
        case Measure.FIRST_TOKEN:
            return outcome.time_to_first_token
        case Measure.MAX_GAP:
            return outcome.max_gap
        case Measure.DURATION:
            return outcome.answer_duration
        case _:
            return None


def certificate_remaining(outcome: Outcome) -> float | None:
    """Return the seconds from the end of the run until the first certificate expires; negative if one has expired."""
    if outcome.certificate_expiry is None:
        return None
    return outcome.certificate_expiry - (outcome.started + outcome.duration)


def _sample_by_blame(fault: Fault | None, blame: Collection[Blame]) -> Sample:
    if fault is None:  # failed for an unknown reason: a false alert is better than a missed one
        return Sample.BAD
    if fault.kind in CALLER_FAULTS:
        return Sample.NEUTRAL
    return Sample.BAD if fault.blame in blame else Sample.NEUTRAL
