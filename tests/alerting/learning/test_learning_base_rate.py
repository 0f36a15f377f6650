"""The base rate is learned outside incidents, with an upper bound and the autocorrelation of errors."""

from statistics import mean

import pytest

from streamcanary.alerting.detectors import SampleStream, Spike
from streamcanary.alerting.learning.base_rate import (
    MAX_AUTOCORRELATION,
    MIN_SAMPLES,
    estimate_autocorrelation,
    estimate_base_rate,
    upper_bound,
)
from streamcanary.alerting.learning.baseline import PRIOR_AUTOCORRELATION, LearnedRate, round_up
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.model.schedules.schedule import Every
from support.alerting.histories import bursty_samples

WEEK = 20_160  # runs, one each 30 s
HOUR = 120


def cusum(rate: float, autocorrelation: float) -> tuple[int, int]:
    """Return the steps of the ``spike`` detector, with a threshold that grows with the autocorrelation."""
    found = Spike(type="spike", normal=max(rate, 0.001)).for_stream(SampleStream("", Every(30.0)))
    return found.step, round(found.threshold * (1 + 2 * autocorrelation))


def learn(samples: list[bool]) -> LearnedRate:
    """Return what is learned from ``samples``."""
    learned = estimate_base_rate(FailureSeries(samples), cusum)
    assert learned is not None
    return learned


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.03])
def test_an_outage_is_not_normal(rate: float) -> None:
    """Two outages of an hour, and half a day at 8 %, change the learned rate by less than a quarter."""
    samples = bursty_samples(rate, 0.0, WEEK)
    for start in (3_000, 9_000):
        samples[start : start + HOUR] = [True] * HOUR
    samples[12_000 : 12_000 + 12 * HOUR] = bursty_samples(rate + 0.08, 0.0, 12 * HOUR, seed=1)

    learned = learn(samples)

    assert learned.rate == pytest.approx(rate, rel=0.25)
    assert learned.in_incidents >= 2 * HOUR + 11 * HOUR


def test_an_outage_that_goes_on_is_not_normal() -> None:
    """An outage that has not ended yet, at the end of the history, is left out."""
    learned = learn([*bursty_samples(0.01, 0.0, 2_000), *[True] * 500])

    assert learned.upper_bound < 0.02


def test_many_short_outages_are_not_normal() -> None:
    """A minute of outage each five minutes, for six hours, is left out."""
    samples = bursty_samples(0.01, 0.0, WEEK)
    for start in range(6_000, 6_000 + 6 * HOUR, 10):
        samples[start : start + 2] = [True, True]

    assert learn(samples).rate == pytest.approx(0.01, rel=0.2)


def test_failing_most_of_the_time_is_normal() -> None:
    """If more than half of the samples are in incidents, all of them count."""
    learned = learn(bursty_samples(0.5, 0.0, 2_000))

    assert (learned.rate, learned.in_incidents) == (pytest.approx(0.5, abs=0.05), 0)


def test_an_outage_longer_than_the_history_before_it_is_no_burst() -> None:
    """If more than half of the samples are in incidents, their autocorrelation would delay every later alert."""
    learned = learn([*bursty_samples(0.01, 0.0, 300), *[True] * 400, *bursty_samples(0.01, 0.0, 50)])

    assert (learned.total, learned.autocorrelation) == (750, PRIOR_AUTOCORRELATION)


def test_too_few_samples_teach_nothing() -> None:
    """Fewer than 200 samples are no base rate, and 200 are."""
    assert estimate_base_rate(FailureSeries([False] * (MIN_SAMPLES - 1)), cusum) is None
    assert learn([False] * MIN_SAMPLES).upper_bound == pytest.approx(0.0133, abs=0.0001)


@pytest.mark.parametrize("autocorrelation", [0.0, 0.2, 0.4])
def test_the_autocorrelation_is_learned(autocorrelation: float) -> None:
    """The autocorrelation of neighbours is found to 0.05 in a week of runs, and seldom underestimated."""
    found = [learn(bursty_samples(0.03, autocorrelation, WEEK, seed)).autocorrelation for seed in range(10)]

    assert mean(found) == pytest.approx(autocorrelation, abs=0.05)
    assert sum(each >= autocorrelation - 0.01 for each in found) >= 8


def test_independent_failures_are_no_bursts() -> None:
    """Chance pairs of independent failures teach no bursts, so that they delay no alert."""
    found = [learn(bursty_samples(0.02, 0.0, WEEK, seed)).autocorrelation for seed in range(20)]

    assert sum(each == 0 for each in found) >= 18
    assert max(found) < 0.06


def test_few_errors_say_little_about_their_autocorrelation() -> None:
    """One error that went on in the next run, or did not, does not change the autocorrelation much."""
    alone = FailureSeries([False] * 500 + [True] + [False] * 500)
    twice = FailureSeries([False] * 500 + [True, True] + [False] * 500)

    assert estimate_autocorrelation(FailureSeries()) == PRIOR_AUTOCORRELATION
    assert estimate_autocorrelation(alone) == PRIOR_AUTOCORRELATION
    assert estimate_autocorrelation(twice) == pytest.approx(0.3, abs=0.15)


def test_long_bursts_are_incidents() -> None:
    """No autocorrelation over 0.6 is learned."""
    assert estimate_autocorrelation(FailureSeries(bursty_samples(0.02, 0.9, WEEK))) == MAX_AUTOCORRELATION


@pytest.mark.parametrize(("rate", "autocorrelation"), [(0.003, 0.0), (0.02, 0.0), (0.02, 0.3)])
def test_the_upper_bound_holds(rate: float, autocorrelation: float) -> None:
    """The upper bound is above the true rate in at least 90 % of histories, for clustered errors, too."""
    bounds = [learn(bursty_samples(rate, autocorrelation, WEEK, seed)).upper_bound for seed in range(50)]

    assert sum(bound >= rate for bound in bounds) >= 45


def test_the_upper_bound_without_errors() -> None:
    """The bound without a bad sample falls with the number of samples; without a sample, nothing is known."""
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(0, 1_000) == pytest.approx(0.0027, abs=0.0001)
    assert upper_bound(0, 1_000, 0.5) == pytest.approx(0.0081, abs=0.0001)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.0), (0.0123, 0.013), (0.013, 0.013), (0.099999, 0.1)])
def test_rates_are_rounded_up(rate: float, expected: float) -> None:
    """A rate is rounded up to two digits."""
    assert round_up(rate) == pytest.approx(expected)


def test_bursts_need_not_be_neighbours() -> None:
    """Bad samples in every other run for a while cluster as much as neighbours do."""
    samples = [False] * WEEK
    for start in range(0, WEEK, 400):
        samples[start : start + 20 : 2] = [True] * 10

    assert FailureSeries(samples).repeats == 0
    assert estimate_autocorrelation(FailureSeries(samples)) == MAX_AUTOCORRELATION
