"""The promise of ``spike`` with what was learned holds in a simulation: bursts of a canary, also in a pooled rule."""

from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from streamcanary.alerting.detectors import SampleStream, Spike
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire
from streamcanary.alerting.learning.base_rate import estimate_base_rate
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.history import learning_cusum
from streamcanary.model.schedules.schedule import Every
from support.alerting.histories import bursty_samples

RATE = 0.02
PROMISED = 5_000  # samples between two false pages


def chain(autocorrelation: float, random: Random) -> Iterator[bool]:
    """Yield samples of one canary whose failures come in bursts."""
    bad = random.random() < RATE
    while True:
        yield bad
        bad = random.random() < (RATE + autocorrelation * (1 - RATE) if bad else RATE * (1 - autocorrelation))


def pooled(canaries: int, autocorrelation: float, seed: int) -> Iterator[bool]:
    """Yield samples of several canaries in turn."""
    random = Random(seed)  # noqa: S311 - a simulation
    chains = [chain(autocorrelation, random) for _ in range(canaries)]
    while True:
        yield from (next(one) for one in chains)


def test_the_bursts_of_a_canary_that_seldom_fails_are_not_underestimated() -> None:
    """After two weeks with some 40 failures, a promised page a year is one at most in the mean."""
    unlearned, rate, autocorrelation = SampleStream("", Every(300.0)), 0.01, 0.3
    detector = Spike.model_validate({"type": "spike", "normal": "learned"})

    def cusum(rate: float, learned: float) -> tuple[int, int]:
        return learning_cusum(detector, unlearned._replace(base_rate=rate, autocorrelation=learned))

    pages = []
    for seed in range(15):
        learned = estimate_base_rate(FailureSeries(bursty_samples(rate, autocorrelation, 4032, seed)), cusum)
        assert learned is not None
        step, threshold = cusum(learned.usable_rate, learned.usable_autocorrelation)
        pages.append(365 * 288 / runs_to_fire(step, threshold, rate, autocorrelation))

    assert sum(pages) / len(pages) < 1


@pytest.mark.parametrize(("canaries", "autocorrelation"), [(1, 0.0), (1, 0.3), (8, 0.3), (8, 0.6)])
def test_false_pages_are_at_most_those_promised(canaries: int, autocorrelation: float) -> None:
    """With the rate and the autocorrelation of a week of a canary, the detector fires no more often than promised."""
    interval = 30.0 / canaries
    hours = round(PROMISED * interval / 3600)
    unlearned = SampleStream("", Every(interval))
    detector = Spike.model_validate({"type": "spike", "normal": "learned", "false_pages": f"1 per {hours}h"})

    def cusum(rate: float, learned: float) -> tuple[int, int]:
        return learning_cusum(detector, unlearned._replace(base_rate=rate, autocorrelation=learned))

    samples = pooled(canaries, autocorrelation, seed=7)
    learned = estimate_base_rate(FailureSeries(islice(samples, 20_160)), cusum)
    assert learned is not None
    stream = unlearned._replace(base_rate=learned.usable_rate, autocorrelation=learned.usable_autocorrelation)
    found = detector.for_stream(stream)

    fires, state, count = 0, None, 100 * round(hours * 3600 / interval)
    for number in range(count):
        state, is_firing, _ = found.feed(state, bad=next(samples), at=number * interval, firing=False)
        if is_firing:
            fires, state = fires + 1, None
    # if 100 are promised, their number has a standard deviation of a tenth
    assert fires < 120
