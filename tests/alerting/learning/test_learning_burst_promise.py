"""The promise of ``spike`` holds for errors in bursts: with known parameters, and with those of a week of runs."""

import math
from functools import cache
from random import Random
from statistics import median

import pytest

from streamcanary.alerting.detectors import SampleStream, Spike
from streamcanary.alerting.detectors.cusum import cusum_for
from streamcanary.alerting.detectors.cusum_run_length import bad_probabilities, runs_to_fire
from streamcanary.alerting.learning.base_rate import estimate_base_rate
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.history import learning_cusum
from streamcanary.model.schedules.schedule import Every, Pooled
from support.alerting.histories import bursty_samples

WEEK = 20_160  # runs, one each 30 s
HISTORIES = 50


def simulated_runs(step: int, threshold: int, rate: float, autocorrelation: float, count: int) -> float:
    """Return the mean number of samples of a Markov chain until a CUSUM reaches its threshold, from zero each time."""
    random, (after_good, after_bad) = Random(1), bad_probabilities(rate, autocorrelation)  # noqa: S311 - a simulation
    scale, runs = 1 / math.log1p(-after_good), 0
    for _ in range(count):
        total, again = 0, rate  # nothing is known of the sample before the first
        while total < threshold:
            gap = 1 if random.random() < again else 2 + int(math.log(1 - random.random()) * scale)
            total, again = max(0, total - gap + 1) + step, after_bad
            runs += gap
    return runs / count


@pytest.mark.parametrize("intervals", [[30.0], [10.0, 30.0, 60.0, 120.0] * 2, [30.0, 60.0, 60.0, 300.0] * 25], ids=len)
@pytest.mark.parametrize("autocorrelation", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("rate", "spike"), [(0.003, 0.3), (0.02, 0.3), (0.2, 0.6)])
def test_known_bursts_page_as_often_as_computed(
    rate: float, spike: float, autocorrelation: float, intervals: list[float]
) -> None:
    """Of one to a hundred canaries, 1,500 pages are within 10 % of the exact rate, and that is at most the promise."""
    stream = SampleStream("", Pooled(1 / sum(1 / each for each in intervals), len(intervals)))
    promised = 3_000 * stream.interval
    found = cusum_for(rate, spike, stream.interval, promised, autocorrelation)
    exact = runs_to_fire(found.step, found.threshold, rate, autocorrelation)

    simulated = simulated_runs(found.step, found.threshold, rate, autocorrelation, 1_500)

    assert simulated == pytest.approx(exact, rel=0.1)
    assert exact * stream.interval >= promised


def pages_compared_with_promise(detector: Spike, rate: float, autocorrelation: float, count: int) -> list[float]:
    """Return the pages as a multiple of those promised, with what is learned from each of some histories."""
    unlearned = SampleStream("", Every(30.0))

    @cache
    def cusum(rate: float, learned: float) -> tuple[int, int]:
        return learning_cusum(detector, unlearned._replace(base_rate=rate, autocorrelation=learned))

    found = []
    for seed in range(HISTORIES):
        samples = FailureSeries(bursty_samples(rate, autocorrelation, count, seed))
        learned = estimate_base_rate(samples, cusum, detector.max_base_rate)
        assert learned is not None
        step, threshold = cusum(learned.usable_rate, learned.usable_autocorrelation)
        runs = runs_to_fire(step, threshold, rate, autocorrelation)
        found.append(detector.false_pages.mean_interval / 30.0 / runs)
    return sorted(found)


@pytest.mark.parametrize("normal", ["learned", "2%"])
@pytest.mark.parametrize("autocorrelation", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("rate", [0.003, 0.01, 0.02])
def test_learned_bursts_page_as_often_as_promised(rate: float, autocorrelation: float, normal: str) -> None:
    """A week of runs leads to the promised pages in the median, and seldom to more than 1.5 times as many."""
    detector = Spike.model_validate({"type": "spike", "normal": normal})

    found = pages_compared_with_promise(detector, rate, autocorrelation, WEEK)

    assert median(found) < 1.1
    assert found[int(0.9 * HISTORIES) - 1] < 1.5


@pytest.mark.parametrize("rate", [0.003, 0.02])
def test_independent_failures_do_not_delay_a_full_outage(rate: float) -> None:
    """With what a week of independent failures teaches, a full outage fires at the fifth run, as without it."""
    detector, unlearned = Spike(type="spike"), SampleStream("", Every(30.0))
    fires = []
    for seed in range(HISTORIES):
        samples = bursty_samples(rate, 0.0, WEEK, seed)
        learned = estimate_base_rate(
            FailureSeries(samples),
            lambda base, found: learning_cusum(detector, unlearned._replace(base_rate=base, autocorrelation=found)),
        )
        assert learned is not None
        stream = unlearned._replace(base_rate=learned.usable_rate, autocorrelation=learned.usable_autocorrelation)
        found = detector.for_stream(stream)
        fires.append(math.ceil(found.threshold / found.step))

    assert sorted(fires)[int(0.9 * HISTORIES)] == 5
