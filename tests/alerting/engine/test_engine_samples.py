from typing import Any

import pytest

from streamcanary.alerting.engine.samples import Sample, sample_of
from streamcanary.alerting.rules import Rule
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.builders import NOON, a_fault, a_run

GOOD, BAD, NEUTRAL = Sample.GOOD, Sample.BAD, Sample.NEUTRAL
STALLED, AUTH, CANCELLED = a_fault(), a_fault(FaultKind.AUTH_FAILED), a_fault(FaultKind.CANCELLED)

OK = a_run()
SLOW = a_run(kind=OutcomeKind.SLOW)
FAILED = a_run(kind=OutcomeKind.FAILED, fault=STALLED)
FAILED_OVER = a_run(kind=OutcomeKind.FAILED_OVER, fault=STALLED)
REJECTED = a_run(kind=OutcomeKind.FAILED, fault=AUTH)
REJECTED_OVER = a_run(kind=OutcomeKind.FAILED_OVER, fault=AUTH)
INTERNAL = a_run(kind=OutcomeKind.INTERNAL_ERROR)
SKIPPED = a_run(kind=OutcomeKind.SKIPPED)


def rule(measure: str, **more: Any) -> Rule:
    """Build a rule that looks at ``measure``."""
    return Rule.model_validate({"measure": measure, **more})


def tried_twice(first: Any, **changes: Any) -> Outcome:
    """Build a good run whose first attempt ended as ``first`` and whose second answered."""
    attempts = (
        Attempt(number=1, route="primary", started=NOON, duration=1.0, fault=first),
        Attempt(number=2, route="primary", started=NOON + 1, duration=1.0),
    )
    return a_run(attempts=attempts, **changes)


@pytest.mark.parametrize(
    ("measure", "outcome", "expected"),
    [
        ("errors", OK, GOOD),
        ("errors", SLOW, GOOD),
        ("errors", FAILED, BAD),
        ("errors", FAILED_OVER, BAD),
        ("errors", REJECTED, NEUTRAL),
        ("errors", REJECTED_OVER, NEUTRAL),
        ("errors", a_run(kind=OutcomeKind.FAILED, fault=CANCELLED), NEUTRAL),
        ("errors", tried_twice(STALLED), GOOD),
        ("errors", INTERNAL, None),
        ("errors", SKIPPED, None),
        ("first_attempts", OK, GOOD),
        ("first_attempts", SLOW, GOOD),
        ("first_attempts", tried_twice(STALLED), BAD),
        ("first_attempts", tried_twice(AUTH), NEUTRAL),
        ("first_attempts", FAILED, BAD),
        ("first_attempts", FAILED_OVER, BAD),
        ("first_attempts", INTERNAL, None),
        ("first_attempts", SKIPPED, None),
        ("slow", OK, GOOD),
        ("slow", SLOW, BAD),
        ("slow", FAILED, NEUTRAL),
        ("slow", FAILED_OVER, NEUTRAL),
        ("slow", INTERNAL, None),
        ("slow", SKIPPED, None),
    ],
)
def test_a_run_is_one_sample_or_none(measure: str, outcome: Outcome, expected: Sample | None) -> None:
    """Each cell of the table: what a run says to a rule that blames network, provider, quota and content."""
    assert sample_of(rule(measure), outcome) == expected


@pytest.mark.parametrize(
    ("measure", "field"), [("first_token", "time_to_first_token"), ("max_gap", "max_gap"), ("duration", "duration")]
)
def test_a_time_is_held_against_its_limit(measure: str, field: str) -> None:
    """Up to the limit is good, over it is bad, and a run without an answer of the primary says nothing."""
    timed = rule(measure, limit="2s")
    runs = [
        a_run(**{field: 2.0}),
        a_run(**{field: 2.1}),
        a_run(kind=OutcomeKind.SLOW, **{field: 2.1}),
        a_run(kind=OutcomeKind.FAILED, fault=STALLED, **{field: 0.1}),
        a_run(kind=OutcomeKind.FAILED_OVER, fault=STALLED, **{field: 0.1}),
        INTERNAL,
        SKIPPED,
    ]
    assert [sample_of(timed, run) for run in runs] == [GOOD, BAD, BAD, NEUTRAL, NEUTRAL, None, None]


def test_a_time_that_was_not_measured_says_nothing() -> None:
    """An answer of one token has no gap between two."""
    assert sample_of(rule("max_gap", limit="1s"), a_run(max_gap=None)) == NEUTRAL


def test_the_rule_says_who_is_blamed() -> None:
    """The same failure is bad for a rule that blames config, and neutral for one that does not."""
    assert sample_of(rule("errors", blame=["config"]), REJECTED) == BAD
    assert sample_of(rule("errors", blame=["config"]), FAILED) == NEUTRAL


def test_a_failure_that_nobody_explains_is_bad() -> None:
    """Rather a page too many than an outage that is called neutral."""
    assert sample_of(rule("errors"), a_run(kind=OutcomeKind.FAILED)) == BAD


def test_a_run_without_attempts_is_judged_by_its_fault() -> None:
    """A request that could not even be sent has no first attempt."""
    assert sample_of(rule("first_attempts"), a_run(kind=OutcomeKind.FAILED, fault=STALLED, attempts=())) == BAD
