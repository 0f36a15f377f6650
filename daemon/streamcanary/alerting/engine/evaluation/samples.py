"""Maps an outcome to the sample of a rule. A run is at most one sample for each rule.

| measure | good | bad | neutral | no sample |
|---|---|---|---|---|
| `errors` | `ok`, `slow` | `failed`, `failed_over`, selected blame | other blame | `skipped`, `internal_error` |
| `first_attempts` | attempt 1 succeeded | attempt 1 failed, selected blame | other blame | the same |
| `slow` | `ok` | `slow` | `failed`, `failed_over` | the same |
| `first_token`, `max_gap`, `duration` with `limit` | within | over | not measured | the same |
| the same with the detector `shift` | within the learned limit | beyond | not measured or learned | the same |
| `tokens_per_second` with `limit` | not below | below | not measured | the same |
| `ratelimit_headroom` with `limit` | not below | below | not reported | the same |
| `certificate_expiry` with `limit` | expires later | expires earlier | no certificate seen | the same |
| `model_changes` | the model of the run before | another model | no answer of the primary | the same |

*Selected blame* is a blame that the ``blame`` of the rule lists. A time is measured on an answer of the primary only
(``ok``, ``slow``): a quick failure is not a quick answer, and the time of a fallback is not that of the watched route.
The output speed likewise. Headroom is reported by any response of the primary, that of a failed attempt included. The
certificate is that of the connection to the primary, new or reused, whatever the result of the run. The model is
compared for any complete answer of the primary, as expected or not.
"""

import math
from collections.abc import Collection
from enum import Enum

from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.faults import CALLER_FAULTS, Blame, Fault
from streamcanary.model.outcome import Outcome, OutcomeKind

OUTCOMES_WITHOUT_SAMPLE = frozenset({OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR})
"""Outcomes of runs that did not reach the target: they are no sample of any rule."""
ANSWERED = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})
"""Outcomes of runs that the primary has answered as expected."""


class Sample(Enum):
    """The kind of a sample."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    """The run has a result that the rule does not evaluate: it neither fires nor resolves, and is not missing data."""


def sample_of(rule: Rule, outcome: Outcome, limit: float | None = None) -> Sample | None:
    """Return the sample of ``rule`` from ``outcome``; ``None`` if the run did not reach the target.

    ``limit`` is the learned limit of a ``shift`` detector, which :func:`adverse_value` is compared with.
    """
    if outcome.kind in OUTCOMES_WITHOUT_SAMPLE:
        return None
    if rule.detector.type == "shift":
        value = adverse_value(rule.measure, outcome)
        if value is None or limit is None:
            return Sample.NEUTRAL
        if value <= limit:
            return Sample.GOOD
        # Without the lag of the daemon, the value may have been within the limit.
        return Sample.NEUTRAL if _adverse_value_without_lag(rule.measure, outcome, value) <= limit else Sample.BAD
    match rule.measure:
        case Measure.ERRORS:
            if outcome.kind in ANSWERED:
                return Sample.GOOD
            return _sample_by_blame(outcome.fault, rule.blame)
        case Measure.FIRST_ATTEMPTS:
            fault = first_attempt_fault(outcome)
            return Sample.GOOD if fault is None else _sample_by_blame(fault, rule.blame)
        case Measure.SLOW:
            if outcome.kind not in ANSWERED:
                return Sample.NEUTRAL
            return Sample.BAD if outcome.kind is OutcomeKind.SLOW else Sample.GOOD
        case Measure.MODEL_CHANGES:
            if answering_model(outcome) is None:
                return Sample.NEUTRAL
            return Sample.GOOD if outcome.previous_model is None else Sample.BAD
        case _:
            return _sample_by_limit(rule, outcome)


def first_attempt_fault(outcome: Outcome) -> Fault | None:
    """Return the fault of the first attempt, before any retry; without attempts, the fault of the run."""
    return outcome.attempts[0].fault if outcome.attempts else outcome.fault


def answering_model(outcome: Outcome) -> str | None:
    """Return the model of a complete answer of the primary; ``None`` if there is no such answer."""
    return outcome.model if outcome.degraded is None else None


def measured_value(measure: Measure, outcome: Outcome) -> float | None:
    """Return the value of a ``measure`` that has a limit; ``None`` if it was not measured.

    A time is in seconds, a speed in tokens a second, a headroom between 0 and 1.
    """
    if measure is Measure.RATELIMIT_HEADROOM:
        lowest = outcome.rate_limits.lowest if outcome.rate_limits is not None else None
        return lowest[2] if lowest is not None else None
    if measure is Measure.CERTIFICATE_EXPIRY:
        return certificate_remaining(outcome)
    if outcome.kind not in ANSWERED:
        return None
    match measure:
        case Measure.TOKENS_PER_SECOND:
            return outcome.output_speed.tokens_per_second if outcome.output_speed is not None else None
        case Measure.FIRST_TOKEN:
            return outcome.time_to_first_token
        case Measure.MAX_GAP:
            return outcome.max_gap
        case Measure.DURATION:
            return outcome.answer_duration
        case _:
            return None


def adverse_value(measure: Measure, outcome: Outcome) -> float | None:
    """Return the value of a ``measure`` such that higher is worse; ``None`` if it was not measured.

    A time is in seconds, and a speed is in seconds for each token.
    """
    value = measured_value(measure, outcome)
    if measure is not Measure.TOKENS_PER_SECOND or value is None:
        return value
    return 1 / value if value > 0 else None


def certificate_remaining(outcome: Outcome) -> float | None:
    """Return the seconds from the end of the run until the first certificate expires; negative if one has expired."""
    if outcome.certificate_expiry is None:
        return None
    return outcome.certificate_expiry - (outcome.started + outcome.duration)


def _sample_by_limit(rule: Rule, outcome: Outcome) -> Sample:
    value, limit = measured_value(rule.measure, outcome), rule.limit
    if value is None or limit is None:
        return Sample.NEUTRAL
    if rule.measure.is_timed:
        is_good, is_good_without_lag = value <= limit, value - outcome.lag <= limit
    else:
        is_good, is_good_without_lag = value >= limit, _speed_without_lag(rule.measure, outcome) >= limit
    if is_good:
        return Sample.GOOD
    # Without the lag of the daemon, the value may have been within the limit.
    return Sample.NEUTRAL if is_good_without_lag else Sample.BAD


def _adverse_value_without_lag(measure: Measure, outcome: Outcome, value: float) -> float:
    """Return the adverse ``value`` of a run if all of the lag of the daemon fell into its measurement."""
    if measure.is_timed:
        return value - outcome.lag
    speed = _speed_without_lag(measure, outcome)
    return 1 / speed if speed > 0 else value


def _speed_without_lag(measure: Measure, outcome: Outcome) -> float:
    """Return the output speed if all of the lag of the daemon fell into its measurement; 0 for another measure."""
    speed = outcome.output_speed
    if measure is not Measure.TOKENS_PER_SECOND or speed is None:
        return 0.0
    tokens, seconds = speed.tokens_per_second * speed.seconds, speed.seconds - outcome.lag
    return tokens / seconds if seconds > 0 else math.inf


def _sample_by_blame(fault: Fault | None, blame: Collection[Blame]) -> Sample:
    if fault is None:  # failed for an unknown reason: a false alert is better than a missed one
        return Sample.BAD
    if fault.kind in CALLER_FAULTS:
        return Sample.NEUTRAL
    return Sample.BAD if fault.blame in blame else Sample.NEUTRAL
