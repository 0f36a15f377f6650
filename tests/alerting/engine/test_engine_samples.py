"""Test how a run becomes a sample of a rule."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.evaluation.samples import Sample, sample_of
from streamcanary.alerting.rules import Rule
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from streamcanary.model.rate_limit import Quota, RateLimits
from support.alerting.builders import NOON, a_fault, a_run

GOOD, BAD, NEUTRAL = Sample.GOOD, Sample.BAD, Sample.NEUTRAL
STALLED, AUTH, CANCELLED = a_fault(), a_fault(FaultKind.AUTH_FAILED), a_fault(FaultKind.CANCELLED)
DELAYED = a_fault(FaultKind.CLIENT_DELAYED)

OK = a_run()
SLOW = a_run(kind=OutcomeKind.SLOW)
FAILED = a_run(kind=OutcomeKind.FAILED, fault=STALLED)
FAILED_OVER = a_run(kind=OutcomeKind.FAILED_OVER, fault=STALLED)
REJECTED = a_run(kind=OutcomeKind.FAILED, fault=AUTH)
REJECTED_OVER = a_run(kind=OutcomeKind.FAILED_OVER, fault=AUTH)
INTERNAL = a_run(kind=OutcomeKind.INTERNAL_ERROR)
SKIPPED = a_run(kind=OutcomeKind.SKIPPED)


def rule(measure: str, **more: Any) -> Rule:
    """Build a rule with ``measure``."""
    return Rule.model_validate({"measure": measure, **more})


def tried_twice(first: Any, **changes: Any) -> Outcome:
    """Build a good run whose first attempt ended with fault ``first`` and whose second attempt succeeded."""
    attempts = (
        Attempt(number=1, route="primary", started=NOON, duration=1.0, fault=first),
        Attempt(number=2, route="primary", started=NOON + 1, duration=1.0),
    )
    return a_run(attempts=attempts, **changes)


def with_quota(outcome: Outcome = OK, **quota: int) -> Outcome:
    """Build a run whose response reports a quota of tokens."""
    limits = RateLimits(tokens=Quota(**quota))
    attempts = (Attempt(number=1, route="primary", started=NOON, duration=1.0, rate_limits=limits),)
    return msgspec.structs.replace(outcome, attempts=attempts)


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
        ("errors", a_run(kind=OutcomeKind.FAILED, fault=DELAYED), NEUTRAL),
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
        ("model_changes", OK, NEUTRAL),
        ("model_changes", a_run(model="b"), GOOD),
        ("model_changes", a_run(model="b", previous_model="a"), BAD),
        ("model_changes", a_run(kind=OutcomeKind.FAILED, fault=STALLED, model="b", previous_model="a"), BAD),
        ("model_changes", a_run(kind=OutcomeKind.FAILED_OVER, fault=STALLED, model="b", degraded="fallback"), NEUTRAL),
        ("model_changes", FAILED, NEUTRAL),
        ("model_changes", INTERNAL, None),
        ("model_changes", SKIPPED, None),
    ],
)
def test_a_run_is_one_sample_or_none(measure: str, outcome: Outcome, expected: Sample | None) -> None:
    """A run is one sample or none, for each cell of the table (blame: network, provider, quota and content)."""
    assert sample_of(rule(measure), outcome) == expected


def test_delay_of_the_client_is_never_a_bad_sample() -> None:
    """A rule that selects every blame, ``local`` included, takes no evidence from a run that the client delayed."""
    every_blame = rule("errors", blame=["config", "local", "network", "provider", "quota", "content"])
    assert NEUTRAL == sample_of(every_blame, a_run(kind=OutcomeKind.FAILED, fault=DELAYED))


@pytest.mark.parametrize(("seconds", "lag", "expected"), [(1.9, 0.5, GOOD), (2.4, 0.3, BAD), (2.4, 0.5, NEUTRAL)])
def test_time_over_its_limit_is_no_sample_while_the_event_loop_is_late(
    seconds: float, lag: float, expected: Sample
) -> None:
    """A time over the limit says nothing if the event loop was late enough to cause it."""
    assert expected == sample_of(rule("first_token", limit="2s"), a_run(time_to_first_token=seconds, lag=lag))


@pytest.mark.parametrize(
    ("measure", "outcome", "expected"),
    [
        ("first_token", a_run(time_to_first_token=2.4, lag=0.3), BAD),
        ("first_token", a_run(time_to_first_token=2.4, lag=0.5), NEUTRAL),
        ("first_token", a_run(time_to_first_token=1.9, lag=0.5), GOOD),
        ("tokens_per_second", a_run(output_speed=OutputSpeed(tokens_per_second=0.4, seconds=2.0), lag=0.3), BAD),
        ("tokens_per_second", a_run(output_speed=OutputSpeed(tokens_per_second=0.4, seconds=2.0), lag=0.5), NEUTRAL),
        ("tokens_per_second", a_run(output_speed=OutputSpeed(tokens_per_second=0.4, seconds=2.0), lag=2.0), NEUTRAL),
    ],
)
def test_a_value_worse_than_learned_is_no_sample_while_the_event_loop_is_late(
    measure: str, outcome: Outcome, expected: Sample
) -> None:
    """A value beyond the learned limit (2 s; 0.5 tokens/s) says nothing if the event loop may have caused it."""
    assert sample_of(rule(measure, detector={"type": "shift"}), outcome, 2.0) is expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (a_run(output_speed=OutputSpeed(tokens_per_second=20.0, seconds=2.0)), GOOD),
        (a_run(output_speed=OutputSpeed(tokens_per_second=19.9, seconds=2.0)), BAD),
        (a_run(output_speed=OutputSpeed(tokens_per_second=19.9, seconds=2.0, is_estimated=True)), BAD),
        (a_run(output_speed=OutputSpeed(tokens_per_second=16.0, seconds=2.0), lag=0.3), BAD),
        (a_run(output_speed=OutputSpeed(tokens_per_second=16.0, seconds=2.0), lag=0.4), NEUTRAL),
        (a_run(output_speed=OutputSpeed(tokens_per_second=0.1, seconds=2.0), lag=2.0), NEUTRAL),
        (OK, NEUTRAL),
        (FAILED_OVER, NEUTRAL),
        (INTERNAL, None),
    ],
)
def test_an_output_speed_below_its_limit_is_bad(outcome: Outcome, expected: Sample | None) -> None:
    """Fewer tokens a second than the limit are bad, unless the event loop was late enough to cause it."""
    assert expected is sample_of(rule("tokens_per_second", limit=20), outcome)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (with_quota(remaining=100, limit=1000), GOOD),
        (with_quota(remaining=99, limit=1000), BAD),
        (with_quota(remaining=0), BAD),
        (with_quota(remaining=5), NEUTRAL),
        (with_quota(FAILED, remaining=0, limit=10), BAD),
        (with_quota(FAILED, remaining=9, limit=10), GOOD),
        (OK, NEUTRAL),
        (FAILED, NEUTRAL),
        (with_quota(INTERNAL, remaining=0, limit=10), None),
    ],
)
def test_a_headroom_below_its_limit_is_bad(outcome: Outcome, expected: Sample | None) -> None:
    """Any response of the primary reports headroom, also one that is a fault; without a report there is no evidence."""
    assert expected is sample_of(rule("ratelimit_headroom", limit="10%"), outcome)


def test_headroom_is_that_of_the_last_attempt_on_the_primary() -> None:
    """A retry knows better, and a fallback has other rate limits."""
    quotas = [("primary", 9), ("primary", 0), ("fallback", 9)]
    attempts = tuple(
        Attempt(
            number=number,
            route=route,
            started=NOON,
            duration=1.0,
            rate_limits=RateLimits(requests=Quota(remaining=remaining, limit=10)),
        )
        for number, (route, remaining) in enumerate(quotas, 1)
    )
    assert BAD is sample_of(rule("ratelimit_headroom", limit="10%"), a_run(attempts=attempts))


def test_silence_after_the_answer_is_not_its_duration() -> None:
    """A run that waits for a server to close the stream is as long as its answer."""
    timed = rule("duration", limit="2.5s")
    assert GOOD == sample_of(timed, tried_twice(STALLED, started=NOON, duration=7.0))


@pytest.mark.parametrize(
    ("measure", "field"), [("first_token", "time_to_first_token"), ("max_gap", "max_gap"), ("duration", "duration")]
)
def test_measured_time_is_compared_with_its_limit(measure: str, field: str) -> None:
    """A time up to its limit is a good sample and over it a bad one; a run without a primary answer is neither."""
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


def test_time_that_was_not_measured_is_neutral() -> None:
    """A time that was not measured is a neutral sample, such as the gap of an answer of one token."""
    assert sample_of(rule("max_gap", limit="1s"), a_run(max_gap=None)) == NEUTRAL


def test_rule_selects_the_blame() -> None:
    """The same failure is bad for a rule that selects its blame, and neutral for another rule."""
    assert sample_of(rule("errors", blame=["config"]), REJECTED) == BAD
    assert sample_of(rule("errors", blame=["config"]), FAILED) == NEUTRAL


def test_failure_without_a_fault_is_bad() -> None:
    """A failure without a fault is bad, because a false alert is better than a missed outage."""
    assert sample_of(rule("errors"), a_run(kind=OutcomeKind.FAILED)) == BAD


def test_run_without_attempts_is_classified_by_its_fault() -> None:
    """A run without attempts is classified by its fault, because a request that was not sent has no first attempt."""
    assert sample_of(rule("first_attempts"), a_run(kind=OutcomeKind.FAILED, fault=STALLED, attempts=())) == BAD
