"""What was learned, as people read it."""

import pytest

from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.learning.description import describe_baseline
from streamcanary.alerting.measures import Measure

RATE = LearnedRate(bad=75, total=5760, upper_bound=0.0176, autocorrelation=0.124)
ABOVE = LearnedRate(bad=576, total=5760, upper_bound=0.1067, autocorrelation=0.2)


def values(*limits: float) -> LearnedValues:
    """Return usual values with ``limits``."""
    return LearnedValues(limits={"chat": limits}, days=2.0, above=ABOVE)


@pytest.mark.parametrize(
    ("measure", "baseline", "expected"),
    [
        (Measure.ERRORS, RATE, "1.3% of 5,760 runs (at most 1.76%), autocorrelation at most 0.12"),
        (
            Measure.FIRST_TOKEN,
            values(0.73),
            "usually 730ms or less; 10% of 5,760 runs (at most 10.7%) have more, autocorrelation at most 0.20",
        ),
        (
            Measure.DURATION,
            values(1.0, 1.0, 2.0, 1.5),
            "usually 1s to 2s or less; 10% of 5,760 runs (at most 10.7%) have more, autocorrelation at most 0.20",
        ),
        (
            Measure.TOKENS_PER_SECOND,
            values(0.05),
            "usually 20 tokens/s or more; 10% of 5,760 runs (at most 10.7%) have less, autocorrelation at most 0.20",
        ),
    ],
)
def test_a_baseline_is_described(measure: Measure, baseline: LearnedBaseline, expected: str) -> None:
    """The text has the rate with its number of runs and bound, or the limit in the unit of the measure."""
    assert describe_baseline(measure, baseline) == expected


def test_bursts_of_few_failures_are_uncertain() -> None:
    """Bursts that were learned from fewer than 30 failures are said to be uncertain; independent failures are not."""
    bursty = LearnedRate(bad=20, total=20_000, upper_bound=0.002, autocorrelation=0.3)
    independent = LearnedRate(bad=20, total=20_000, upper_bound=0.002, autocorrelation=0.0)

    assert "(only 20 failures: more false pages are possible)" in describe_baseline(Measure.ERRORS, bursty)
    assert describe_baseline(Measure.ERRORS, independent).endswith(", no bursts")
