"""What a probe may require of its runs."""

import re

import pytest

from streamcanary.cli.commands.probing.requirements import failing_kinds, parse_requirement, violations
from streamcanary.cli.measurements.run_statistics import RunStatistics
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from support.store.builders import make_outcome


def run(number: int, *, first_token: float = 0.5, kind: OutcomeKind = OutcomeKind.OK, rescued: bool = False) -> Outcome:
    """Return a run; a ``rescued`` one failed at first, a failed one has no first token."""
    fault = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s")
    has_failed = kind is OutcomeKind.FAILED
    attempt = Attempt(number=1, route="m", started=0.0, duration=2.0, fault=fault if rescued or has_failed else None)
    return make_outcome(
        number,
        kind=kind,
        attempts=(attempt,),
        fault=fault if has_failed else None,
        time_to_first_token=None if has_failed else first_token,
        output_speed=None if has_failed else OutputSpeed(tokens_per_second=20 / first_token, seconds=1.0),
    )


def statistics(*runs: Outcome) -> RunStatistics:
    """Return the statistics of ``runs``."""
    result = RunStatistics()
    for each in runs:
        result.add(each)
    return result


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("first_token p95 <= 1.9s", None),
        ("first_token max <= 1.9s", "first_token max <= 1.9s: it is 2s"),
        (" first_token  p50<=400ms ", "first_token  p50<=400ms: it is 500ms"),
        ("first_token min >= 1s", "first_token min >= 1s: it is 500ms"),
        ("tokens_per_second p50 >= 40", None),
        ("tokens_per_second p50 >= 40.5", "tokens_per_second p50 >= 40.5: it is 40"),
        ("tokens_per_second min >= 40", "tokens_per_second min >= 40: it is 10"),
        ("tokens_per_second p99 >= 40", "tokens_per_second p99 >= 40: it is 10"),
        ("max_gap p99 <= 1s", "max_gap p99 <= 1s: not measured, because no run was answered"),
        ("errors <= 1%", "errors <= 1%: it is 4.76%"),
        ("errors <= 5%", None),
        ("errors <= 0", "errors <= 0: it is 4.76%"),
        ("first_attempts <= 5%", "first_attempts <= 5%: it is 9.52%"),
    ],
)
def test_a_requirement_is_met_or_not(text: str, violation: str | None) -> None:
    """So many of the runs are as good as a percentile or better; a measure without values is not met."""
    runs = [run(number) for number in range(18)]
    runs += [run(18, first_token=2.0), run(19, rescued=True), run(20, kind=OutcomeKind.FAILED)]
    assert violation == parse_requirement(text).violation(statistics(*runs))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a requirement; write for example 'first_token p95 <= 2s'"),
        ("fast", "not a requirement"),
        ("first_token p95 < 2s", "not a requirement"),
        ("first_token <= 2s", "first_token needs a percentile: 'first_token p95 <= 2s'"),
        ("first_token p95 <= 2", "not a duration"),
        ("first_token p195 <= 2s", "not a requirement"),
        ("latency p95 <= 2s", "unknown measure latency; there are errors, first_attempts, first_token"),
        ("errors p95 <= 2%", "errors is one rate with an upper limit"),
        ("errors >= 2%", "errors is one rate with an upper limit"),
        ("errors <= 200%", "at most 100%"),
        ("tokens_per_second p5 >= nan", "not a number of tokens per second: nan"),
        ("first_token p95 <= 2s" + " " * 100_000 + "x", "not a requirement"),
    ],
)
def test_an_invalid_requirement_says_what_would_be_right(text: str, problem: str) -> None:
    """A typing error is an error, not a requirement that is always met."""
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_requirement(text)


@pytest.mark.parametrize(
    ("fail_on", "violated"),
    [
        ("slow", ["1 of 4 runs slow", "1 of 4 runs failed_over", "1 of 4 runs failed"]),
        ("failed_over", ["1 of 4 runs failed_over", "1 of 4 runs failed"]),
        ("failed", ["1 of 4 runs failed"]),
        ("never", []),
    ],
)
def test_fail_on_names_the_least_bad_outcome(fail_on: str, violated: list[str]) -> None:
    """Everything worse fails the probe, too."""
    kinds = (OutcomeKind.OK, OutcomeKind.SLOW, OutcomeKind.FAILED_OVER, OutcomeKind.FAILED)
    runs = statistics(*(run(number, kind=kind) for number, kind in enumerate(kinds)))
    assert violated == list(violations(runs, failing_kinds(fail_on, ()), ()))


def test_a_requirement_on_errors_allows_single_ones() -> None:
    """With ``errors <= 50%`` one failed run of two is no failure; an internal error still is."""
    requirement = parse_requirement("errors <= 50%")
    runs = statistics(run(1), run(2, kind=OutcomeKind.FAILED))
    assert [] == list(violations(runs, failing_kinds("slow", [requirement]), [requirement]))
    runs.add(run(3, kind=OutcomeKind.SLOW))
    assert ["1 of 3 runs slow"] == list(violations(runs, failing_kinds("slow", [requirement]), [requirement]))
    assert [] == list(violations(runs, failing_kinds("failed_over", [requirement]), [requirement]))
    runs.add(run(4, kind=OutcomeKind.INTERNAL_ERROR))
    assert ["1 of 4 runs internal_error"] == list(violations(runs, failing_kinds("never", []), [requirement]))
